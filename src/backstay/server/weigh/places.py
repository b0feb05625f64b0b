"""An estate, indexed for questions that are asked a thousand times: who serves where, what a selector means. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from backstay.change import ChangeInvalid
from backstay.estate import Estate
from backstay.estate.select import matching, members

_SHOWN = 12
WORDS = ("node", "nodes", "zone", "region", "cluster", "path")  # of a selector


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """One estate, and `estate`: the same with its clusters' globs written out, so that looking one up costs nothing."""

    declared: Estate
    estate: Estate
    pools_of: Mapping[str, tuple[str, ...]]  # node -> pools that it serves in
    nodes_of: Mapping[str, tuple[str, ...]]  # pool -> its backends
    tier_of: Mapping[str, str]  # load balancer -> tier
    carriers: Mapping[str, tuple[str, ...]]  # pool -> tiers that carry it

    def nodes(self, selector: str) -> tuple[str, ...]:
        """The nodes that `selector` means, in the order of the file. Raises ChangeInvalid when it means none."""
        word, slash, name = selector.partition("/")
        choose = _CHOOSE.get(word)
        if choose is None or not slash or not name:
            raise ChangeInvalid(
                f'selector: "{selector[:80]}" is none. Write node/web2, nodes/web*, zone/NAME, region/NAME, '
                "cluster/NAME or path/NAME."
            )
        found = choose(self, name)
        if not found:
            raise ChangeInvalid(f'selector: "{selector[:80]}" means no node of estate {self.estate.estate}.')
        return found

    def tiers(self, node: str, pool: str | None) -> tuple[str, ...]:
        """The tiers whose load balancers have to do with a change of `node` (in `pool` only, when given)."""
        carry = (self.carriers.get(name, ()) for name in self.pools_of.get(node, ()) if pool in (None, name))
        return tuple(dict.fromkeys(tier for tiers in carry for tier in tiers))


def index(estate: Estate) -> Places:
    """The places of `estate`. Linear in its size, but for globs: each is matched once."""
    nodes_of: dict[str, tuple[str, ...]] = {name: members(estate, pool.cluster) for name, pool in estate.pools.items()}
    pools_of: dict[str, list[str]] = {}
    for pool, nodes in nodes_of.items():
        for node in nodes:
            pools_of.setdefault(node, []).append(pool)
    written_out = {
        name: cluster.model_copy(update={"members": members(estate, name)}) for name, cluster in estate.clusters.items()
    }
    return Places(
        declared=estate,
        estate=estate.model_copy(update={"clusters": written_out}),
        pools_of={node: tuple(pools) for node, pools in pools_of.items()},
        nodes_of=nodes_of,
        tier_of={lb: name for name, tier in estate.tiers.items() for lb in tier.members},
        carriers=_carriers(estate),
    )


def _carriers(estate: Estate) -> dict[str, tuple[str, ...]]:
    found: dict[str, dict[str, None]] = {}
    for service in estate.services.values():
        pools = [*(route.pool for route in service.routes), *([service.pool] if service.pool else [])]
        for pool in pools:
            found.setdefault(pool, {}).update(dict.fromkeys(estate.tiers if service.tiers is None else service.tiers))
    return {pool: tuple(tiers) for pool, tiers in found.items()}


def _node(places: Places, name: str) -> tuple[str, ...]:
    _known("node", name, places.estate.nodes)
    return (name,)


def _nodes(places: Places, glob: str) -> tuple[str, ...]:
    return matching(glob, places.estate.nodes)


def _zone(places: Places, name: str) -> tuple[str, ...]:
    _known("zone", name, {zone for region in places.estate.regions.values() for zone in region.zones})
    return tuple(node for node, entry in places.estate.nodes.items() if entry.zone == name)


def _region(places: Places, name: str) -> tuple[str, ...]:
    _known("region", name, places.estate.regions)
    zones = places.estate.regions[name].zones
    return tuple(node for node, entry in places.estate.nodes.items() if entry.zone in zones)


def _cluster(places: Places, name: str) -> tuple[str, ...]:
    _known("cluster", name, places.estate.clusters)
    return members(places.estate, name)


def _path(places: Places, name: str) -> tuple[str, ...]:
    """A failure path; "zone/path" where two zones have one of that name."""
    zone, slash, path = name.rpartition("/")
    return tuple(
        node
        for node, entry in places.estate.nodes.items()
        if path in entry.paths and (not slash or entry.zone == zone)
    )  # fmt: skip


_CHOOSE: Mapping[str, Callable[[Places, str], tuple[str, ...]]] = {
    "node": _node,
    "nodes": _nodes,
    "zone": _zone,
    "region": _region,
    "cluster": _cluster,
    "path": _path,
}
assert tuple(_CHOOSE) == WORDS


def _known(word: str, name: str, names: object) -> None:
    known = list(names)  # type: ignore[call-overload]
    if name not in known:
        shown = ", ".join(known[:_SHOWN]) + (f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else "")
        raise ChangeInvalid(f'selector: "{name[:64]}" is no {word}. There is: {shown or "none"}.')
