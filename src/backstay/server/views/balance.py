"""Pools and their backends over all load balancers: states, shares with their reasons, latencies, in flight. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from backstay.server.model import ServerChange
from backstay.server.views.nodes import NodeRow, changes_by_node, load_balancer, merged, node_row, words_by_node
from backstay.server.views.scene import Scene
from backstay.server.views.scene.said import Backend, Pool, Said, Scale
from backstay.server.views.scene.words import Standing, Tone, counted, listed, severity


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRow:
    """A pool in a list: the sum over the load balancers that carry it."""

    name: str
    cluster: str
    protocol: str
    balance: str
    services: tuple[str, ...]
    backends: int
    active: int  # on all of them
    draining: int
    down: int  # somewhere
    needed: int  # members minus spare
    in_flight: int | None
    p95_ms: float | None  # the worst load balancer's
    standing: Standing
    carriers: tuple[str, ...]
    silent: tuple[str, ...]  # carriers that are not heard


@dataclass(frozen=True, slots=True, kw_only=True)
class OnLb:
    """One backend by the word of one load balancer."""

    lb: str
    standing: Standing
    share: float
    health: str
    in_flight: int | None
    reason: str
    scale: Scale | None  # the rescaler's last step; None: this pool is not rescaled there

    @property
    def serves(self) -> bool:
        return self.standing.tone is Tone.OK


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendRow:
    """One backend over all load balancers."""

    node: str
    zone: str
    address: str
    standing: Standing
    why: str
    share_least: float | None  # of the load balancers that have it active; None: none has
    share_most: float | None
    in_flight: int | None
    latency_ms: float | None  # trimmed mean to the response's header, mean over the load balancers by their samples
    unloaded_ms: float | None
    error_rate: float | None
    share_why: str
    changes: tuple[ServerChange, ...]
    on: tuple[OnLb, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Carrier:
    """One load balancer's view of the pool."""

    lb: str
    standing: Standing
    active: int
    backends: int
    p95_ms: float | None
    frozen: str  # why no share moves
    fail_open: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPage:
    row: PoolRow
    carriers: tuple[Carrier, ...]
    backends: tuple[BackendRow, ...]  # what matters most first

    @property
    def sentence(self) -> str:
        row = self.row
        return (
            f"{row.active} of {counted(row.backends, 'backend')} active everywhere, {row.draining} draining, "
            f"{row.down} down; {row.needed} are needed with the spare that is declared."
        )


def pools(scene: Scene, names: Iterable[str]) -> list[PoolRow]:
    """These pools, in this order."""
    return [_pool_row(scene, name, _by_node(scene, name)) for name in names]


def _by_node(scene: Scene, pool: str) -> dict[str, list[tuple[str, str, Backend]]]:
    """Every backend that is declared, with what each connected load balancer says of it."""
    declared = scene.index.members[scene.estate.pools[pool].cluster]
    found: dict[str, list[tuple[str, str, Backend]]] = {node: [] for node in declared}
    for lb in scene.index.carriers[pool]:
        said = scene.fresh.get(lb)
        view = said.pools.get(pool) if said is not None else None
        for member in view.members if view is not None else ():
            found.setdefault(member.backend, []).append((lb, pool, member))
    return found


def _pool_row(scene: Scene, name: str, by_node: dict[str, list[tuple[str, str, Backend]]]) -> PoolRow:
    declared = scene.estate.pools[name]
    carriers = scene.index.carriers[name]
    views = [said.pools[name] for lb in carriers if (said := scene.fresh.get(lb)) and name in said.pools]
    p95s = [
        explain.p95_ms
        for lb in carriers
        if (said := scene.fresh.get(lb)) and (explain := said.explains.get(name)) and explain.p95_ms is not None
    ]
    words = Counter(_class(merged(said)[0]) for said in by_node.values())
    in_flight = [member.in_flight for said in by_node.values() for _, _, member in said if member.in_flight is not None]
    needed = len(scene.index.members[declared.cluster]) - scene.estate.clusters[declared.cluster].spare
    return PoolRow(
        name=name,
        cluster=declared.cluster,
        protocol=declared.protocol.value,
        balance=declared.balance.value.replace("_", " "),
        services=scene.index.services_of.get(name, ()),
        backends=len(by_node),
        active=words["active"],
        draining=words["draining"],
        down=words["down"],
        needed=needed,
        in_flight=sum(in_flight) if in_flight else None,
        p95_ms=max(p95s, default=None),
        standing=_standing(views, words, needed),
        carriers=tuple(carriers),
        silent=tuple(lb for lb in carriers if lb not in scene.fresh),
    )


def _class(standing: Standing) -> str:
    """active, draining, down, unknown: "active on 4 of 6" counts as down, for it is down somewhere."""
    return {Tone.OK: "active", Tone.INFO: "draining", Tone.IDLE: "unknown"}.get(standing.tone, "down")


def _standing(views: Sequence[Pool], words: Counter[str], needed: int) -> Standing:
    if not views:
        return Standing("not seen", Tone.IDLE)
    if any(view.fail_open for view in views):
        return Standing("fails open", Tone.BAD)
    if words["active"] < needed:
        return Standing("below N+1", Tone.BAD)
    if words["down"]:
        return Standing(f"{words['down']} down", Tone.WARN)
    return Standing("serving", Tone.OK)


def pool_page(scene: Scene, name: str) -> PoolPage:
    """One pool. Raises KeyError for one that is not declared."""
    by_node = _by_node(scene, name)
    changes = changes_by_node(scene)
    scales = _scales(scene, name)
    rows = [
        _backend_row(scene, node, said, tuple(c for c in changes.get(node, ()) if c.pool in (None, name)), scales)
        for node, said in by_node.items()
    ]
    rows.sort(key=lambda row: -severity(row.standing.tone))
    return PoolPage(
        row=_pool_row(scene, name, by_node),
        carriers=tuple(_carrier(scene, lb, name) for lb in scene.index.carriers[name]),
        backends=tuple(rows),
    )


def _scales(scene: Scene, pool: str) -> dict[tuple[str, str], Scale]:
    return {
        (lb, scale.backend): scale
        for lb in scene.index.carriers[pool]
        if (said := scene.fresh.get(lb)) is not None and (explain := said.explains.get(pool)) is not None
        for scale in explain.rows
    }


def _carrier(scene: Scene, lb: str, pool: str) -> Carrier:
    said: Said | None = scene.fresh.get(lb)
    view = said.pools.get(pool) if said else None
    explain = said.explains.get(pool) if said else None
    return Carrier(
        lb=lb,
        standing=load_balancer(scene, lb)[0],
        active=sum(member.state == "active" for member in view.members) if view else 0,
        backends=len(view.members) if view else 0,
        p95_ms=explain.p95_ms if explain else None,
        frozen=explain.frozen if explain else "",
        fail_open=view.fail_open if view else False,
    )


def _backend_row(
    scene: Scene,
    node: str,
    said: Sequence[tuple[str, str, Backend]],
    changes: tuple[ServerChange, ...],
    scales: dict[tuple[str, str], Scale],
) -> BackendRow:
    standing, why = merged(said)
    on = tuple(_on_lb(lb, member, scales.get((lb, node))) for lb, _, member in said)
    steps = [one.scale for one in on if one.scale is not None]
    flying = [one.in_flight for one in on if one.in_flight is not None]
    declared = scene.estate.nodes.get(node)
    shares = [one.share for one in on if one.serves]
    # The load balancer whose share is furthest from full tells why best.
    furthest = max(on, key=lambda one: (not one.serves, abs(one.share - 1.0)), default=None)
    return BackendRow(
        node=node,
        zone=declared.zone if declared else "",
        address=str(declared.address) if declared else "",
        standing=standing,
        why=why,
        share_least=min(shares, default=None),
        share_most=max(shares, default=None),
        in_flight=sum(flying) if flying else None,
        latency_ms=_mean([(step.signal_ms, step.samples) for step in steps]),
        unloaded_ms=_mean([(step.unloaded_ms, step.samples) for step in steps]),
        error_rate=_mean([(step.error_rate, step.samples) for step in steps]),
        share_why=_share_why(furthest),
        changes=changes,
        on=on,
    )


def _on_lb(lb: str, member: Backend, scale: Scale | None) -> OnLb:
    return OnLb(
        lb=lb,
        standing=merged([(lb, "", member)])[0],
        share=member.share,
        health=member.health,
        in_flight=member.in_flight,
        reason=member.reason,
        scale=scale,
    )


def _share_why(one: OnLb | None) -> str:
    """Why the share is what it is, in the agent's words (a change) or the rescaler's."""
    if one is None or (abs(one.share - 1.0) < 0.005 and not one.reason):
        return ""
    why = one.reason or (one.scale.why if one.scale is not None else "")
    return f"{one.lb}: {why}" if why else ""


def _mean(weighed: Sequence[tuple[float | None, int]]) -> float | None:
    """The mean by the numbers of samples; None when nothing was measured."""
    known = [(value, samples) for value, samples in weighed if value is not None and samples > 0]
    total = sum(samples for _, samples in known)
    return sum(value * samples for value, samples in known) / total if total else None


@dataclass(frozen=True, slots=True, kw_only=True)
class InPool:
    pool: str
    row: BackendRow


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePage:
    """A node: how it stands, in which pools, under which changes, on which failure paths."""

    row: NodeRow
    paths: tuple[str, ...]
    region: str
    pools: tuple[InPool, ...]
    said: Said | None  # a load balancer's own report
    addresses: tuple[str, ...]  # global IPs that it may hold
    shares_fate: str  # who falls with its failure paths, in words


def node_page(scene: Scene, node: str) -> NodePage:
    """One node. Raises KeyError for one that is not declared."""
    declared, index = scene.estate.nodes[node], scene.index
    changes = changes_by_node(scene).get(node, ())
    if node in index.tier_of:
        stand = load_balancer(scene, node)
    elif node in index.pools_of:
        stand = merged(words_by_node(scene).get(node, ()))
    else:
        stand = Standing("no pool", Tone.IDLE), "it serves in no pool: nothing watches it yet"
    found: list[InPool] = []
    for pool in index.pools_of.get(node, ()):
        said = _by_node(scene, pool).get(node, [])
        mine = tuple(change for change in changes if change.pool in (None, pool))
        found.append(InPool(pool=pool, row=_backend_row(scene, node, said, mine, _scales(scene, pool))))
    return NodePage(
        row=node_row(scene, node, stand, changes),
        paths=declared.paths,
        region=index.region_of[declared.zone],
        pools=tuple(found),
        said=scene.said.get(node),
        addresses=index.ips_of.get(node, ()),
        shares_fate=_shares_fate(scene, node),
    )


def _shares_fate(scene: Scene, node: str) -> str:
    declared = scene.estate.nodes[node]
    words = []
    for path in declared.paths:
        others = [
            other
            for other in scene.index.nodes[declared.zone]
            if other != node and path in scene.estate.nodes[other].paths
        ]
        words.append(f"{path}: {listed(others)}")
    return "; ".join(words)
