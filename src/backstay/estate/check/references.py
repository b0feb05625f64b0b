"""Every name that refers to something must find it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from backstay.estate.check.finding import Declared, Finding, dangling, listed, quoted, suggestion, twice
from backstay.estate.model import Cluster
from backstay.estate.select import matching


def references(declared: Declared) -> Iterator[Finding]:
    """All dangling references, in the order of the file's sections."""
    yield from _regions(declared)
    yield from _nodes(declared)
    yield from _clusters(declared)
    yield from _tiers(declared)
    yield from _global_ips(declared)
    yield from _services(declared)
    for name, pool in declared.estate.pools.items():
        yield from dangling(("pools", name, "cluster"), pool.cluster, "cluster", "clusters", declared)


def _regions(declared: Declared) -> Iterator[Finding]:
    homes: dict[str, str] = {}
    for name, region in declared.estate.regions.items():
        if region.provider is not None:
            path = ("regions", name, "provider")
            yield from dangling(path, region.provider, "provider", "providers", declared)
        for zone, entry in region.zones.items():
            where = ("regions", name, "zones", zone)
            if (home := homes.setdefault(zone, name)) != name:
                message = f"{quoted(zone)} is a zone of the region {quoted(home)} too. Rename one of them."
                yield Finding(path=where, message=message, at_key=True)
            yield from twice((*where, "paths"), entry.paths)


def _nodes(declared: Declared) -> Iterator[Finding]:
    paths = {zone: entry.paths for region in declared.estate.regions.values() for zone, entry in region.zones.items()}
    for name, node in declared.estate.nodes.items():
        yield from dangling(("nodes", name, "zone"), node.zone, "zone", "zones", declared)
        yield from twice(("nodes", name, "paths"), node.paths)
        known = paths.get(node.zone)
        if known is None:
            continue  # the zone is reported already
        for index, path in enumerate(node.paths):
            if path not in known:
                yield Finding(
                    path=("nodes", name, "paths", index),
                    message=f"{quoted(path)} is no failure path of the zone {quoted(node.zone)}."
                    f"{suggestion(path, known)} Failure paths: {listed(known)}. Add it there, or remove it here.",
                )


def _clusters(declared: Declared) -> Iterator[Finding]:
    nodes = declared.names.get("nodes")
    for name, cluster in declared.estate.clusters.items():
        path = ("clusters", name, "members")
        if isinstance(cluster.members, str):
            if nodes is None:
                continue  # the whole section is unreadable
            size = len(matching(cluster.members, nodes))
            if size == 0:
                message = f"{quoted(cluster.members)} matches no node, so the cluster is empty. Nodes: {listed(nodes)}."
                yield Finding(path=path, message=message)
        else:
            size = len(cluster.members)
            if size == 0:
                yield Finding(path=path, message="The cluster is empty. Name its members, or remove the cluster.")
            yield from twice(path, cluster.members)
            for index, member in enumerate(cluster.members):
                yield from dangling((*path, index), member, "node", "nodes", declared)
        if size:
            yield from _spare(name, cluster, size)


def _spare(name: str, cluster: Cluster, size: int) -> Iterator[Finding]:
    if cluster.spare < size:
        return
    given = "spare" in cluster.model_fields_set
    message = f"{cluster.spare} spare of {size} member{'s' * (size > 1)} leaves none to carry the load. " + (
        f"At most {size - 1}." if given else f"The default is 1: add members, or write spare: {size - 1}."
    )
    yield Finding(path=("clusters", name, "spare") if given else ("clusters", name), message=message)


def _tiers(declared: Declared) -> Iterator[Finding]:
    homes: dict[str, str] = {}
    for name, tier in declared.estate.tiers.items():
        path = ("tiers", name, "members")
        yield from twice(path, tier.members)
        for index, member in enumerate(tier.members):
            yield from dangling((*path, index), member, "node", "nodes", declared)
            if (home := homes.setdefault(member, name)) != name:
                message = f"{quoted(member)} is in the tier {quoted(home)} already. A node is in one tier at most."
                yield Finding(path=(*path, index), message=message)
        if tier.global_ip is not None:
            where = ("tiers", name, "global_ip")
            yield from dangling(where, tier.global_ip, "global IP", "global_ips", declared)


def _global_ips(declared: Declared) -> Iterator[Finding]:
    tiers = declared.names.get("tiers")
    # Members of a tier whose entry is faulty are unknown, so nobody can be said to be outside every tier.
    known = tiers is not None and set(tiers) == set(declared.estate.tiers)
    balancing = [member for tier in declared.estate.tiers.values() for member in tier.members]
    for name, ip in declared.estate.global_ips.items():
        yield from dangling(("global_ips", name, "provider"), ip.provider, "provider", "providers", declared)
        path = ("global_ips", name, "candidates")
        yield from twice(path, ip.candidates)
        for index, candidate in enumerate(ip.candidates):
            lost = list(dangling((*path, index), candidate, "node", "nodes", declared))
            yield from lost
            if known and not lost and candidate not in balancing:
                message = (
                    f"{quoted(candidate)} is a node, but in no tier, so it runs no load balancer. "
                    f"Load balancers: {listed(balancing)}. Add it to a tier, or remove it here."
                )
                yield Finding(path=(*path, index), message=message)


def _services(declared: Declared) -> Iterator[Finding]:
    for name, service in declared.estate.services.items():
        path = ("services", name)
        if service.tiers is not None:
            if not service.tiers:
                message = "No tier would carry it. Name tiers, or remove the key: then all of them do."
                yield Finding(path=(*path, "tiers"), message=message)
            yield from twice((*path, "tiers"), service.tiers)
            for index, tier in enumerate(service.tiers):
                yield from dangling((*path, "tiers", index), tier, "tier", "tiers", declared)
        for index, route in enumerate(service.routes):
            yield from dangling((*path, "routes", index, "pool"), route.pool, "pool", "pools", declared)
        if service.pool is not None:
            yield from dangling((*path, "pool"), service.pool, "pool", "pools", declared)
