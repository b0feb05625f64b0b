"""Selectors: questions that every room asks of an estate. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import translate

from backstay.estate.model import Estate, Service, Tier


def members(estate: Estate, cluster: str) -> tuple[str, ...]:
    """Node names of `cluster`, in the order of the file; a glob is expanded. Empty when the glob matches none."""
    declared = estate.clusters[cluster].members
    return matching(declared, estate.nodes) if isinstance(declared, str) else declared


def matching(glob: str, names: Iterable[str]) -> tuple[str, ...]:
    """The names that a glob matches, in their order. Linear in the names: an estate has 500 globs over 2,000 nodes."""
    match = re.compile(translate(glob)).match
    return tuple(name for name in names if match(name))


def tier_of(estate: Estate, lb: str) -> tuple[str, Tier] | None:
    """The tier that load balancer `lb` belongs to, with its name; None when `lb` is in no tier."""
    return next(((name, tier) for name, tier in estate.tiers.items() if lb in tier.members), None)


def load_balancers(estate: Estate) -> tuple[str, ...]:
    """All load balancers, in the order of the tiers."""
    return tuple(lb for tier in estate.tiers.values() for lb in tier.members)


def services_of(estate: Estate, tier: str) -> dict[str, Service]:
    """The services that `tier` carries."""
    return {name: s for name, s in estate.services.items() if s.tiers is None or tier in s.tiers}


def pools_of_node(estate: Estate, node: str) -> tuple[str, ...]:
    """The pools that `node` serves in."""
    return tuple(name for name, pool in estate.pools.items() if node in members(estate, pool.cluster))


def zone_of(estate: Estate, node: str) -> str:
    return estate.nodes[node].zone


def region_of(estate: Estate, zone: str) -> str:
    """The region that holds `zone`. Raises KeyError for a zone of no region."""
    for name, region in estate.regions.items():
        if zone in region.zones:
            return name
    raise KeyError(zone)
