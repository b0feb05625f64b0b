"""What needs a person, the gravest first. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from backstay.server.views.nodes import Word, load_balancer, merged
from backstay.server.views.scene import Scene
from backstay.server.views.scene.said import Ip, Said
from backstay.server.views.scene.words import DEATH, REASON, Tone, counted, listed, severity

ORDERS_FOR = timedelta(hours=1)  # an order that failed longer ago is history


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing that somebody should look at."""

    tone: Tone
    what: str  # what, where
    why: str  # in the words of who saw it
    href: str  # where to look
    act: str  # the link's words
    since: datetime | None = None  # UTC


def items(scene: Scene) -> list[Item]:
    """All of them; nothing when all is well."""
    found = [*_agents(scene), *_pools(scene), *_addresses(scene), *_changes(scene), *_orders(scene)]
    return sorted(found, key=lambda item: -severity(item.tone))


def _agents(scene: Scene) -> Iterator[Item]:
    for lb in scene.index.tier_of:
        standing, why = load_balancer(scene, lb)
        record = scene.agent(lb)
        if standing.tone in (Tone.WARN, Tone.BAD):
            since = record.seen_at if record is not None and standing.word == "not connected" else None
            href, act = ("/agents", "Enrol") if record is None else (f"/nodes/{lb}", "Look")
            yield Item(tone=standing.tone, what=f"{lb}: {standing.word}", why=why, href=href, act=act, since=since)
    for lb, said in scene.fresh.items():
        if said.unreadable:
            why = "; ".join(said.unreadable[:3])
            what = f"{lb}: a part of its report cannot be read"
            yield Item(tone=Tone.WARN, what=what, why=why, href="/agents", act="Look")


def _pools(scene: Scene) -> Iterator[Item]:
    """Pools that serve with fewer backends than they need, or with none that is up."""
    for name, pool in scene.estate.pools.items():
        carriers = [said for lb in scene.index.carriers[name] if (said := scene.fresh.get(lb)) is not None]
        open_on = [said.lb for said in carriers if name in said.pools and said.pools[name].fail_open]
        href = f"/balance/{name}"
        if open_on:
            why = f"fails open on {listed(open_on)}: the last set is kept serving"
            yield Item(tone=Tone.BAD, what=f"pool {name}: every backend is down", why=why, href=href, act="Look")
            continue
        down, active = _counts(name, carriers)
        needed = len(scene.index.members[pool.cluster]) - scene.estate.clusters[pool.cluster].spare
        if carriers and active < needed:
            why = f"{counted(active, 'active backend')}, {needed} needed with the spare that is declared"
            yield Item(tone=Tone.BAD, what=f"pool {name}: below N+1", why=why, href=href, act="Look")
        if down:
            what = f"pool {name}: {counted(len(down), 'backend')} down"
            yield Item(tone=Tone.WARN, what=what, why=listed(down), href=href, act="Look")


def _counts(pool: str, carriers: list[Said]) -> tuple[list[str], int]:
    """Backends that are down somewhere, with why when there is one; and how many are active everywhere."""
    by_node: dict[str, list[Word]] = {}
    for said in carriers:
        for member in said.pools[pool].members if pool in said.pools else ():
            by_node.setdefault(member.backend, []).append((said.lb, pool, member))
    down: list[str] = []
    active = 0
    for node, words in by_node.items():
        standing, _ = merged(words)
        active += standing.word == "active"
        if standing.tone in (Tone.WARN, Tone.BAD):
            down.append(node)
    return down, active


def _addresses(scene: Scene) -> Iterator[Item]:
    for name, declared in scene.estate.global_ips.items():
        for lb in declared.candidates:
            said = scene.fresh.get(lb)
            if said is not None and name in said.ips:
                yield from _candidate(name, lb, said.ips[name])


def _candidate(name: str, lb: str, ip: Ip) -> Iterator[Item]:
    """What one candidate's word of the address asks for."""
    href, rearm = f"/failover/{name}", f"/failover/{name}/rearm?lb={lb}"
    reason = REASON.get(ip.reason, ip.reason)
    if ip.owner_error:
        yield Item(tone=Tone.BAD, what=f"{name}: the provider does not answer {lb}", why=ip.owner_error, href=href,
                   act="Look")  # fmt: skip
    if ip.state == "suspecting":
        seen = [one for one in ip.candidates_seen if one.evidence is not None]
        why = "; ".join(
            f"{one.lb}: {DEATH.get(one.evidence.death, one.evidence.death)}" for one in seen if one.evidence
        )
        yield Item(tone=Tone.BAD, what=f"{name}: {lb} suspects the holder", why=why or reason, href=href, act="Look")
    elif ip.state == "quarantined":
        yield Item(tone=Tone.WARN, what=f"{name}: {lb} is quarantined", why="it may not take the address until rearmed",
                   href=rearm, act="Rearm", since=ip.quarantined)  # fmt: skip
    elif ip.state == "holding" or ip.took:
        yield Item(tone=Tone.WARN, what=f"{name}: {lb} took it over", why="nobody has looked yet", href=rearm,
                   act="Rearm")  # fmt: skip
    if ip.verified.startswith("not verified"):
        yield Item(tone=Tone.BAD, what=f"{name}: does not answer through {lb}", why=ip.verified, href=href, act="Look")
    if not ip.on_disk:
        yield Item(tone=Tone.WARN, what=f"{name}: {lb} cannot save what it knows", why="its disk takes nothing",
                   href=f"/nodes/{lb}", act="Look")  # fmt: skip


def _changes(scene: Scene) -> Iterator[Item]:
    for change in scene.snapshot.changes:
        refused = {lb: said.refusals[change.id] for lb, said in scene.fresh.items() if change.id in said.refusals}
        if refused:
            what = f"{change.kind} of {change.node}: not in force on {listed(refused)}"
            why = next(iter(refused.values()))
            yield Item(tone=Tone.BAD, what=what, why=why, href=f"/changes/{change.batch}", act="Look")


def _orders(scene: Scene) -> Iterator[Item]:
    for one in scene.snapshot.orders:
        failed = one.outcome is not None and not one.outcome.done
        if failed and scene.now - one.created_at < ORDERS_FOR and one.outcome is not None:
            what = f"{one.order.ip}: the {one.order.kind} asked of {one.lb} failed"
            yield Item(tone=Tone.WARN, what=what, why=one.outcome.detail, href=f"/failover/{one.order.ip}", act="Look",
                       since=one.created_at)  # fmt: skip
