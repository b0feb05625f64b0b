"""Temporary: changes in force and ended, as they were asked for; where each arrived; the proof of drains. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from backstay.change import ChangeKind
from backstay.server.model import EndedChange, ServerChange
from backstay.server.views.nodes import change_words
from backstay.server.views.scene import Scene
from backstay.server.views.scene.said import Change, Proof
from backstay.server.views.scene.words import Standing, Tone, counted, listed

DRAINS = (ChangeKind.DRAIN, ChangeKind.MAINTENANCE)
_ICON = {"drain": "drain", "weight": "weight", "maintenance": "maintenance", "parameter": "parameter"}


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRow:
    """What was asked for in one go: one change, or many of a group."""

    batch: str
    what: str  # "drain", "weight 0.5"
    icon: str
    selector: str
    pool: str  # "": all
    nodes: tuple[str, ...]  # in force; of an ended batch, all of it
    of: int  # nodes that it had
    actor: str
    reason: str
    created_at: datetime
    expires_at: datetime | None  # None: until undone
    forced: bool
    ended: EndedChange | None  # None: some of it is in force
    standing: Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalRow:
    """A change that somebody put at load balancers directly: the server shows it, and cannot undo it."""

    change: Change
    on: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One node's change on one load balancer."""

    lb: str
    standing: Standing
    why: str
    proof: Proof | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeChange:
    change: ServerChange
    standing: Standing
    arrivals: tuple[Arrival, ...]
    proven: Standing | None  # of drains
    in_flight_at_start: int
    in_flight: int
    finished: int
    lost: int
    started_after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPage:
    row: BatchRow
    nodes: tuple[NodeChange, ...]
    drains: bool

    @property
    def open(self) -> tuple[str, ...]:
        """Ids that an undo would end."""
        return tuple(one.change.id for one in self.nodes if one.change.ended is None)

    @property
    def sentence(self) -> str:
        """How far it came, in one sentence."""
        arrivals = [arrival for node in self.nodes for arrival in node.arrivals]
        there = sum(arrival.standing.tone is Tone.OK for arrival in arrivals)
        if self.row.ended is not None:
            return f"It is over: {self.row.ended.by.value} by {self.row.ended.actor} ({self.row.ended.reason})."
        words = f"In force on {there} of {counted(len(arrivals), 'load balancer')}."
        if self.row.what.startswith("parameter"):
            return "Puppet and Ansible read it from the server the next time that they run."
        if len(self.nodes) > 1:
            words = f"In force on {there} of {len(arrivals)} pairs of a node and a load balancer."
        if not self.drains:
            return words
        lost, left = sum(node.lost for node in self.nodes), sum(node.in_flight for node in self.nodes)
        proven = all(node.proven is not None and node.proven.tone is Tone.OK for node in self.nodes)
        end = "Proven: nothing is in flight any more." if proven else f"{left} in flight."
        return f"{words} {counted(lost, 'request')} cut or refused. {end}"


def in_force(scene: Scene) -> list[BatchRow]:
    """The newest first."""
    return _batches(scene.snapshot.changes, scene, ended=False)


def ended(scene: Scene) -> list[BatchRow]:
    """Lately ended: the newest end first."""
    open_batches = {change.batch for change in scene.snapshot.changes}
    over = [change for change in scene.snapshot.ended if change.batch not in open_batches]
    return _batches(over, scene, ended=True)


def _batches(changes: Iterable[ServerChange], scene: Scene, *, ended: bool) -> list[BatchRow]:
    groups: dict[str, list[ServerChange]] = {}
    for change in changes:
        groups.setdefault(change.batch, []).append(change)
    rows = [_row(group, scene) for group in groups.values()]
    if ended:
        return sorted(rows, key=lambda row: row.ended.at if row.ended else row.created_at, reverse=True)
    return sorted(rows, key=lambda row: row.created_at, reverse=True)


def _row(group: Sequence[ServerChange], scene: Scene) -> BatchRow:
    first = group[0]
    refused = {lb for lb, said in scene.fresh.items() if any(change.id in said.refusals for change in group)}
    over = all(change.ended is not None for change in group)
    if over:
        standing = Standing(first.ended.by.value if first.ended else "ended", Tone.IDLE, "clock")
    elif refused:
        standing = Standing(f"refused by {listed(refused)}", Tone.BAD)
    else:
        standing = Standing("in force", Tone.INFO, _ICON[first.kind.value])
    return BatchRow(
        batch=first.batch,
        what=change_words(first),
        icon=_ICON[first.kind.value],
        selector=first.selector,
        pool=first.pool or "",
        nodes=tuple(change.node for change in group),
        of=len(group),
        actor=first.actor,
        reason=first.reason,
        created_at=first.created_at,
        expires_at=max((change.expires_at for change in group if change.expires_at), default=None),
        forced=first.forced,
        ended=max((change.ended for change in group if change.ended), key=lambda end: end.at) if over else None,
        standing=standing,
    )


def local(scene: Scene) -> list[LocalRow]:
    """Changes in force that the server did not put."""
    ours = {change.id for change in (*scene.snapshot.changes, *scene.snapshot.ended)}
    found: dict[str, tuple[Change, list[str]]] = {}
    for lb, said in scene.fresh.items():
        for change in said.changes:
            if change.ended is None and change.id not in ours:
                found.setdefault(change.id, (change, []))[1].append(lb)
    return [LocalRow(change=change, on=tuple(lbs)) for change, lbs in found.values()]


def batch_page(scene: Scene, batch: str) -> BatchPage | None:
    """What was asked for as `batch` (also by the id of one of its changes); None when it is not known any more."""
    known = [*scene.snapshot.changes, *scene.snapshot.ended]
    batch = next((change.batch for change in known if change.id == batch), batch)
    group = [change for change in known if change.batch == batch]
    if not group:
        return None
    proofs = _proofs(scene, {change.id for change in group})
    group.sort(key=lambda change: change.id)
    return BatchPage(
        row=_row([change for change in group if change.ended is None] or group, scene),
        nodes=tuple(_node(scene, change, proofs.get(change.id, {})) for change in group),
        drains=group[0].kind in DRAINS,
    )


def _proofs(scene: Scene, ids: set[str]) -> dict[str, dict[str, Proof]]:
    """Change -> load balancer -> its proof."""
    found: dict[str, dict[str, Proof]] = {}
    for lb, said in scene.said.items():
        for proof in said.proofs:
            if proof.change in ids:
                found.setdefault(proof.change, {})[lb] = proof
    return found


def _node(scene: Scene, change: ServerChange, proofs: dict[str, Proof]) -> NodeChange:
    arrivals = tuple(_arrival(scene, change, lb, proofs.get(lb)) for lb in _carriers(scene, change))
    told = list(proofs.values())
    lost = sum(proof.lost for proof in told)
    proven: Standing | None = None
    if change.kind in DRAINS:
        done = bool(told) and all(one.proof is not None and one.proof.done for one in arrivals)
        left = sum(proof.in_flight for proof in told)
        if lost:
            proven = Standing(f"{lost} lost", Tone.BAD)
        elif done:
            proven = Standing("proven", Tone.OK)
        else:
            proven = Standing(f"{left} in flight" if told else "not begun", Tone.INFO, "clock")
    over = change.ended is not None
    return NodeChange(
        change=change,
        standing=Standing("over", Tone.IDLE, "clock") if over else Standing("in force", Tone.INFO, _ICON[change.kind]),
        arrivals=arrivals,
        proven=proven,
        in_flight_at_start=sum(proof.in_flight_at_start for proof in told),
        in_flight=sum(proof.in_flight for proof in told),
        finished=sum(proof.finished for proof in told),
        lost=lost,
        started_after=sum(proof.started_after for proof in told),
    )


def _carriers(scene: Scene, change: ServerChange) -> list[str]:
    """The load balancers that have to do with it; none with a parameter."""
    if change.kind is ChangeKind.PARAMETER:
        return []
    pools = [pool for pool in scene.index.pools_of.get(change.node, ()) if change.pool in (None, pool)]
    return list(dict.fromkeys(lb for pool in pools for lb in scene.index.carriers[pool]))


def _arrival(scene: Scene, change: ServerChange, lb: str, proof: Proof | None) -> Arrival:
    said = scene.fresh.get(lb)
    if said is None:
        return Arrival(lb=lb, standing=Standing("not heard", Tone.WARN, "idle"), proof=proof,
                       why="its agent is not connected; it follows when it is back")  # fmt: skip
    if change.id in said.refusals:
        return Arrival(lb=lb, standing=Standing("refused", Tone.BAD), why=said.refusals[change.id], proof=proof)
    there = next((one for one in said.changes if one.id == change.id), None)
    if change.ended is not None:
        gone = there is None or there.ended is not None
        standing = Standing("ended", Tone.OK) if gone else Standing("still in force", Tone.WARN)
        return Arrival(lb=lb, standing=standing, why="" if gone else "its agent has not followed yet", proof=proof)
    if there is None or there.ended is not None:
        why = said.error or "its agent has not followed yet"
        return Arrival(lb=lb, standing=Standing("not yet", Tone.WARN, "clock"), why=why, proof=proof)
    return Arrival(lb=lb, standing=Standing("in force", Tone.OK), why="", proof=proof)
