"""The plan of what was asked: the guard over every node, each with the ones before it in force. Pure.

The rules are those of one node's guard (change/guard.py). What several nodes add: the second is weighed as if the first
were drained already, so that a group is never more than its pools bear. All of it is allowed, or nothing is done.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from backstay.change import (
    Allowed,
    BackendLoad,
    Change,
    ChangeInvalid,
    ChangeKind,
    ClockReading,
    Deadline,
    Refusal,
    Refused,
    Verdict,
    decide_guard,
)
from backstay.server.model import AgentRecord, ServerChange, Snapshot
from backstay.server.weigh.asked import Asked, Weighed, WeighedNode
from backstay.server.weigh.places import Places
from backstay.server.weigh.seen import Key, Seen, seen

NODES_LIMIT = 2_000  # of one request
CHANGES_LIMIT = 5_000  # in force at once


def weigh(asked: Asked, actor: str, snapshot: Snapshot, places: Places | None, now: datetime) -> Weighed:
    """What comes of `asked`. Raises ChangeInvalid for what fits no estate, or not this one.

    The same request gives the same ids of its changes, at any server.
    """
    asked.check()
    if places is None:
        raise ChangeInvalid("No estate was given to this server yet. First: adopt one (console, or --estate FILE).")
    chosen = places.nodes(asked.selector)
    applies, left_out = _sort_out(asked, chosen, places)
    if len(applies) > NODES_LIMIT:
        raise ChangeInvalid(f"{asked.selector} means {len(applies)} nodes, at most {NODES_LIMIT} go at once.")
    if len(snapshot.changes) + len(applies) > CHANGES_LIMIT:
        raise ChangeInvalid(
            f"{len(snapshot.changes)} changes are in force, at most {CHANGES_LIMIT} may be. Undo some: backstay changes"
        )
    changes = [_change(asked, actor, node, place, now) for place, node in enumerate(applies)]
    if asked.kind is ChangeKind.PARAMETER:
        verdicts = [_weigh_parameter(change, snapshot.changes) for change in changes]
    else:
        verdicts = _weigh_all(changes, snapshot, places, now)
    return Weighed(
        asked=asked,
        nodes=tuple(WeighedNode(change=c, verdict=v) for c, v in zip(changes, verdicts, strict=True)),
        left_out=left_out,
        revision=snapshot.revision,
    )


def repeats(asked: Asked, stored: Iterable[ServerChange]) -> bool:
    """Is `asked` what `stored`, the batch of its id, was made of? Else its id is taken by something else."""
    return all(
        (one.selector, one.kind, one.pool, one.factor, one.parameter, one.value)
        == (asked.selector, asked.kind, asked.pool, asked.factor, asked.parameter, asked.value)
        for one in stored
    )


def _sort_out(
    asked: Asked, chosen: tuple[str, ...], places: Places
) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """The nodes that a change applies to, and those of a group that it does not, with the reason."""
    if asked.kind is ChangeKind.PARAMETER or asked.selector.startswith("node/"):
        return chosen, ()
    reasons = {node: _why_not(asked, node, places) for node in chosen}
    applies = tuple(node for node in chosen if not reasons[node])
    if not applies:
        raise ChangeInvalid(
            f"A {asked.kind} applies to none of the {len(chosen)} nodes of {asked.selector}: they {reasons[chosen[0]]}."
        )
    return applies, tuple((node, reason) for node, reason in reasons.items() if reason)


def _why_not(asked: Asked, node: str, places: Places) -> str:
    if node in places.tier_of:
        return "are load balancers: move their addresses instead"
    serving = places.pools_of.get(node, ())
    if not serving:
        return "serve in no pool"
    return "" if asked.pool is None or asked.pool in serving else f"do not serve in pool {asked.pool}"


def _change(asked: Asked, actor: str, node: str, place: int, now: datetime) -> ServerChange:
    digest = hashlib.sha256(f"{asked.id}/{node}".encode()).hexdigest()[:32]
    return ServerChange(
        id=asked.id if place == 0 else digest,
        batch=asked.id,
        selector=asked.selector,
        kind=asked.kind,
        node=node,
        pool=asked.pool,
        factor=asked.factor,
        parameter=asked.parameter,
        value=asked.value,
        actor=actor,
        reason=asked.reason.strip(),
        created_at=now,
        expires_at=None if asked.duration_s is None else now + timedelta(seconds=asked.duration_s),
        forced=asked.forced,
    )


def _weigh_parameter(change: ServerChange, in_force: Iterable[ServerChange]) -> Verdict:
    """A parameter takes nothing from anybody. The newest of one name counts, which the asker should know."""
    notes = tuple(
        f"{change.node} has {other.parameter} by {other.actor} ({other.reason}) already; this one stands above it: "
        f"{other.id}"
        for other in in_force
        if other.node == change.node and other.parameter == change.parameter is not None
    )
    return Allowed(notes=notes)


def _weigh_all(changes: list[ServerChange], snapshot: Snapshot, places: Places, now: datetime) -> list[Verdict]:
    reading = ClockReading(wall=now, boot_id="", boottime_s=0.0)  # no boot is shared: deadlines go by the wall
    saw = seen(snapshot.agents.values(), now)
    by_node: dict[str, list[Change]] = {}
    for other in snapshot.changes:
        if other.kind is not ChangeKind.PARAMETER:
            by_node.setdefault(other.node, []).append(as_change(other))
    # A change that the server ended is in the reports until the agents have followed: it is no change of theirs.
    for unknown in _of_agents(snapshot.agents.values(), (*snapshot.changes, *snapshot.ended)):
        by_node.setdefault(unknown.node, []).append(unknown)
    verdicts: list[Verdict] = []
    for change in changes:
        verdict = _weigh_one(change, places, saw, by_node, reading)
        verdicts.append(verdict)
        if isinstance(verdict, Allowed):
            by_node.setdefault(change.node, []).append(as_change(change))
    return verdicts


def _weigh_one(
    one: ServerChange, places: Places, saw: Seen, by_node: Mapping[str, list[Change]], reading: ClockReading
) -> Verdict:
    if one.node in places.tier_of:
        return _balancer(one.node, places)
    change = as_change(one)
    scope = [pool for pool in places.pools_of.get(one.node, ()) if one.pool in (None, pool)]
    beside = dict.fromkeys([one.node, *(node for pool in scope for node in places.nodes_of[pool])])
    in_force = [other for node in beside for other in by_node.get(node, ())]
    # Others count as out when one load balancer says so; the node itself only when all do: who still sends it
    # requests loses it.
    health: dict[Key, bool] = {
        (pool, node): saw.for_some(pool, node) if node == one.node else saw.for_all(pool, node)
        for pool in scope
        for node in places.nodes_of[pool]
    }
    load: dict[Key, BackendLoad] = {
        (pool, node): saw.load[pool, node]
        for pool in scope
        for node in places.nodes_of[pool]
        if (pool, node) in saw.load
    }  # fmt: skip
    return decide_guard(places.estate, in_force, health, load, change, reading)


def _balancer(node: str, places: Places) -> Refused:
    ips = [name for name, ip in places.estate.global_ips.items() if node in ip.candidates]
    move = f"Move what it holds: backstay ip move {ips[0]} --to OTHER" if ips else "It holds no global IP."
    return Refused(
        reason=Refusal.LOAD_BALANCER,
        sentence=f"{node} is a load balancer of tier {places.tier_of[node]}, and no backend. {move}",
    )


def _of_agents(agents: Iterable[AgentRecord], known: Iterable[ServerChange]) -> list[Change]:
    """Changes that somebody put on load balancers without the server (their control API), each once."""
    mine = {change.id for change in known}
    found: dict[str, Change] = {}
    for agent in agents:
        for view in agent.report.changes if agent.report else ():
            identity = str(view.get("id"))
            if "ended" in view or identity in mine or identity in found:
                continue
            change = _of_view(view)
            if change is not None:
                found[identity] = change
    return list(found.values())


def _of_view(view: Mapping[str, object]) -> Change | None:
    """A ChangeView as a change; None for what an agent of another version says differently."""
    try:
        factor = view.get("factor")
        return Change(
            id=str(view["id"]),
            kind=ChangeKind(str(view["kind"])),
            node=str(view["node"]),
            pool=None if view.get("pool") is None else str(view["pool"]),
            factor=float(factor) if isinstance(factor, int | float) else None,
            actor=str(view["actor"]),
            reason=str(view["reason"]),
            created_at=datetime.fromisoformat(str(view["created_at"])),
        )
    except (KeyError, ValueError):
        return None


def as_change(one: ServerChange) -> Change:
    """As the change room knows it. Its deadline goes by the wall clock."""
    deadline = None if one.expires_at is None else Deadline(wall=one.expires_at, boot_id="", boottime_s=0.0)
    return Change(
        id=one.id,
        kind=one.kind,
        node=one.node,
        pool=one.pool,
        factor=one.factor,
        actor=one.actor,
        reason=one.reason,
        created_at=one.created_at,
        deadline=deadline,
        forced=one.forced,
    )
