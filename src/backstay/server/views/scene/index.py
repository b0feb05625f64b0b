"""An estate's cross references, both ways, made once an estate: a page asks them a thousand times. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from backstay.estate.model import Estate
from backstay.estate.select import members, services_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """Names to names; orders are those of the file."""

    zones: Mapping[str, tuple[str, ...]]  # region -> zones
    nodes: Mapping[str, tuple[str, ...]]  # zone -> nodes
    region_of: Mapping[str, str]  # zone -> region
    members: Mapping[str, tuple[str, ...]]  # cluster -> nodes
    clusters_of: Mapping[str, tuple[str, ...]]  # node -> clusters
    pools_of: Mapping[str, tuple[str, ...]]  # node -> pools that it serves in
    pools_on: Mapping[str, frozenset[str]]  # load balancer -> pools that it carries
    carriers: Mapping[str, tuple[str, ...]]  # pool -> load balancers that carry it
    services_of: Mapping[str, tuple[str, ...]]  # pool -> services that route to it
    tier_of: Mapping[str, str]  # load balancer -> tier
    ips_of: Mapping[str, tuple[str, ...]]  # load balancer -> global IPs that it may hold


def index(estate: Estate) -> Index:
    """Linear in the estate, but for globs over its nodes."""
    nodes: dict[str, list[str]] = {zone: [] for region in estate.regions.values() for zone in region.zones}
    for name, node in estate.nodes.items():
        nodes[node.zone].append(name)
    of_cluster = {name: members(estate, name) for name in estate.clusters}
    pools_on: dict[str, frozenset[str]] = {}
    services: dict[str, list[str]] = {pool: [] for pool in estate.pools}
    for tier_name, tier in estate.tiers.items():
        carried: set[str] = set()
        for service_name, service in services_of(estate, tier_name).items():
            routed = [route.pool for route in service.routes]
            for pool in dict.fromkeys([*routed, *([service.pool] if service.pool else [])]):
                carried.add(pool)
                services[pool].append(service_name)
        pools_on |= dict.fromkeys(tier.members, frozenset(carried))
    return Index(
        zones={name: tuple(region.zones) for name, region in estate.regions.items()},
        nodes={zone: tuple(names) for zone, names in nodes.items()},
        region_of={zone: name for name, region in estate.regions.items() for zone in region.zones},
        members=of_cluster,
        clusters_of=_turned(of_cluster),
        pools_of=_turned({name: of_cluster[pool.cluster] for name, pool in estate.pools.items()}),
        pools_on=pools_on,
        carriers=dict.fromkeys(estate.pools, ()) | _turned({lb: tuple(sorted(on)) for lb, on in pools_on.items()}),
        services_of={pool: tuple(dict.fromkeys(names)) for pool, names in services.items()},
        tier_of={lb: name for name, tier in estate.tiers.items() for lb in tier.members},
        ips_of=_turned({name: ip.candidates for name, ip in estate.global_ips.items()}),
    )


def _turned(groups: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Group -> names becomes name -> groups."""
    turned: dict[str, list[str]] = {}
    for group, names in groups.items():
        for name in names:
            turned.setdefault(name, []).append(group)
    return {name: tuple(found) for name, found in turned.items()}
