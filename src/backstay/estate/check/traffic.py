"""What users reach: services, routes and pools must fit together, and on each tier a port has one use. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from backstay.estate.check.finding import Declared, Finding, listed, quoted
from backstay.estate.model import EngineKind, Estate, Pool, Protocol, Service
from backstay.estate.select import members, services_of
from backstay.estate.tree import KeyPath

_HTTP_ONLY = (
    "hostnames", "http_port", "https_port", "tls", "redirect_http", "header_limit_kb", "body_limit_mb", "routes",
)  # fmt: skip


def services(declared: Declared) -> Iterator[Finding]:
    """Each service by itself: HTTP or TCP, never both; routes to pools that speak what is needed."""
    for name, service in declared.estate.services.items():
        path = ("services", name)
        if service.tcp_port is not None or service.pool is not None:
            yield from _tcp(path, service, declared.estate)
        else:
            yield from _http(path, service, declared.estate)


def _tcp(path: KeyPath, service: Service, estate: Estate) -> Iterator[Finding]:
    for key in _HTTP_ONLY:
        if key in service.model_fields_set:
            message = f"A TCP service (tcp_port, pool) has no {key}. Remove it, or make two services."
            yield Finding(path=(*path, key), message=message, at_key=True)
    if service.tcp_port is None:
        message = "pool is for a TCP service, and tcp_port is missing. Add it; HTTP services name pools in routes."
        yield Finding(path=(*path, "pool"), message=message)
    if service.pool is None:
        yield Finding(path=(*path, "tcp_port"), message="pool is missing: who serves this port? Add it.")
        return
    pool = estate.pools.get(service.pool)
    if pool is not None and pool.protocol is not Protocol.TCP:
        message = (
            f"The pool {quoted(service.pool)} speaks {pool.protocol}, and a TCP service needs a tcp pool. "
            f"Write protocol: tcp in the pool, or name another one."
        )
        yield Finding(path=(*path, "pool"), message=message)


def _http(path: KeyPath, service: Service, estate: Estate) -> Iterator[Finding]:
    if not service.routes:
        message = "It carries nothing: add hostnames and routes (HTTP), or tcp_port and pool (TCP)."
        yield Finding(path=(*path, "routes") if "routes" in service.model_fields_set else path, message=message)
    elif not service.hostnames:
        message = "hostnames are missing: requests for other hosts never reach a backend. Add at least one."
        yield Finding(path=(*path, "hostnames") if "hostnames" in service.model_fields_set else path, message=message)
    if service.tls is None and "https_port" in service.model_fields_set:
        message = "https_port without tls: HTTPS needs a certificate. Add tls, or remove https_port."
        yield Finding(path=(*path, "https_port"), message=message)
    if service.tls is not None and service.http_port == service.https_port:
        key = "https_port" if "https_port" in service.model_fields_set else "http_port"
        message = f"Port {service.http_port} is both http_port and https_port. Give each its own."
        yield Finding(path=(*path, key), message=message)
    seen: dict[str, int] = {}
    for index, route in enumerate(service.routes):
        where = (*path, "routes", index)
        if seen.setdefault(route.path, index) != index:
            message = f"{quoted(route.path)} is the path of routes[{seen[route.path]}] already. Remove one of them."
            yield Finding(path=(*where, "path"), message=message)
        pool = estate.pools.get(route.pool)
        if pool is None:
            continue  # reported by references
        if pool.protocol is Protocol.TCP:
            message = f"The pool {quoted(route.pool)} speaks tcp, and a route needs http, fastcgi or uwsgi."
            yield Finding(path=(*where, "pool"), message=message)
        elif route.websocket and pool.protocol is not Protocol.HTTP:
            message = (
                f"A websocket route needs an http pool; {quoted(route.pool)} speaks {pool.protocol}. "
                "Remove websocket, or name another pool."
            )
            yield Finding(path=(*where, "websocket"), message=message)


def pools(declared: Declared) -> Iterator[Finding]:
    """Each pool by itself, and with the engines of the tiers that carry it."""
    estate = declared.estate
    for name, pool in estate.pools.items():
        yield from _pool(("pools", name), pool)
    for tier_name, tier in estate.tiers.items():
        if tier.engine is not EngineKind.HAPROXY:
            continue
        for service_name, service in services_of(estate, tier_name).items():
            for index, route in enumerate(service.routes):
                target = estate.pools.get(route.pool)
                if target is not None and target.protocol is Protocol.UWSGI:
                    message = (
                        f"The pool {quoted(route.pool)} speaks uwsgi, which HAProxy (tier {quoted(tier_name)}) cannot. "
                        "Name nginx tiers in services.*.tiers, or use http."
                    )
                    yield Finding(path=("services", service_name, "routes", index, "pool"), message=message)


def _pool(path: KeyPath, pool: Pool) -> Iterator[Finding]:
    if pool.protocol is Protocol.FASTCGI and pool.fastcgi is None:
        message = "protocol: fastcgi needs the section fastcgi with document_root. Add it."
        yield Finding(path=(*path, "protocol"), message=message)
    if pool.protocol is not Protocol.FASTCGI and pool.fastcgi is not None:
        message = f"The section fastcgi is for protocol: fastcgi; this pool speaks {pool.protocol}. Remove one of them."
        yield Finding(path=(*path, "fastcgi"), message=message)
    check = pool.check
    if check is None or check.path is None or pool.protocol not in (Protocol.FASTCGI, Protocol.UWSGI):
        return
    if check.port is None or check.port == pool.port:
        message = (
            f"An HTTP check cannot ask a {pool.protocol} port. "
            "Give check.port, a port that speaks HTTP, or remove path: then it is a TCP connect."
        )
        yield Finding(path=(*path, "check", "path"), message=message)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Use:
    """What a port of a tier is for; uses of one kind share it, others do not."""

    kind: str
    path: KeyPath


def ports(declared: Declared) -> Iterator[Finding]:
    """On each tier: one use a port, and one service a hostname and port."""
    estate = declared.estate
    reported: set[tuple[KeyPath, str]] = set()  # a pair of services that shares several tiers is one fault
    for tier in estate.tiers:
        for finding in _ports_of_tier(estate, tier):
            if (finding.path, finding.message) not in reported:
                reported.add((finding.path, finding.message))
                yield finding


def _ports_of_tier(estate: Estate, tier: str) -> Iterator[Finding]:
    uses: dict[int, _Use] = {estate.agents.port: _Use(kind="agent", path=("agents", "port"))}
    hosts: dict[tuple[int, str], str] = {}
    for name, service in services_of(estate, tier).items():
        path = ("services", name)
        for key, port in listening(service):
            use = uses.setdefault(port, _Use(kind=key, path=(*path, key)))
            # HTTP services share a port and are told apart by hostname; everything else has it alone.
            if use.path[:2] != path and (use.kind != key or key == "tcp_port"):
                message = (
                    f"Port {port} is {'.'.join(map(str, use.path))} already, on the same tier. "
                    "Give each its own port, or name different tiers."
                )
                yield Finding(path=(*path, key) if key in service.model_fields_set else path, message=message)
            if key == "tcp_port":
                continue
            for index, hostname in enumerate(service.hostnames):
                owner = hosts.setdefault((port, hostname), name)
                if owner != name:
                    message = (
                        f"{quoted(hostname)} is a hostname of services.{owner} too, on the same port and tier. "
                        "Remove it from one of them."
                    )
                    yield Finding(path=(*path, "hostnames", index), message=message)


def listening(service: Service) -> list[tuple[str, int]]:
    """The ports that a service opens on its load balancers, with their keys."""
    if service.tcp_port is not None:
        return [("tcp_port", service.tcp_port)]
    if service.tls is not None:
        return [("http_port", service.http_port), ("https_port", service.https_port)]
    return [("http_port", service.http_port)]


def hostnames(declared: Declared) -> Iterator[Finding]:
    """A hostname twice in one service."""
    for name, service in declared.estate.services.items():
        seen: set[str] = set()
        for index, hostname in enumerate(service.hostnames):
            if hostname in seen:
                message = f"{quoted(hostname)} is in this list twice. Remove one of them."
                yield Finding(path=("services", name, "hostnames", index), message=message)
            seen.add(hostname)


def cycles(declared: Declared) -> Iterator[Finding]:
    """Traffic that comes round to a load balancer which has handled it: tier -> service -> pool -> node -> tier.

    A load balancer may be a backend of another tier; it must not lead back. Each pool that closes a cycle is one fault.
    """
    estate = declared.estate
    homes = {lb: name for name, tier in estate.tiers.items() for lb in tier.members}
    opened = {t: {p for s in services_of(estate, t).values() for _, p in listening(s)} for t in estate.tiers}
    edges: dict[str, dict[str, tuple[str, str]]] = {}  # tier -> next tier -> (pool, the load balancer in it)
    for tier in estate.tiers:
        steps = edges.setdefault(tier, {})
        for pool_name in _pools_of_tier(estate, tier):
            pool = estate.pools[pool_name]
            for node in members(estate, pool.cluster) if pool.cluster in estate.clusters else ():
                home = homes.get(node)
                if home is not None and pool.port in opened[home]:
                    steps.setdefault(home, (pool_name, node))
    for tier, steps in edges.items():
        for home, (pool_name, node) in steps.items():
            way = _way(edges, home, tier)
            if way is not None:
                rounds = " -> ".join(quoted(t) for t in (tier, *way))
                message = (
                    f"Traffic would go round: {node} in this pool is a load balancer that listens on port "
                    f"{estate.pools[pool_name].port} itself (tiers {rounds}). Remove it from the cluster."
                )
                yield Finding(path=("pools", pool_name, "cluster"), message=message)


def _pools_of_tier(estate: Estate, tier: str) -> list[str]:
    """Pools that the tier's services use, each once, without those that are not declared."""
    named = (
        name
        for service in services_of(estate, tier).values()
        for name in (*(route.pool for route in service.routes), service.pool)
    )
    return list(dict.fromkeys(name for name in named if name is not None and name in estate.pools))


def _way(edges: dict[str, dict[str, tuple[str, str]]], start: str, goal: str) -> list[str] | None:
    """Tiers from `start` to `goal` along `edges`, both included; None when there is no way. Breadth first."""
    came: dict[str, str | None] = {start: None}
    queue = [start]
    for tier in queue:
        if tier == goal:
            way = [tier]
            while (before := came[way[-1]]) is not None:
                way.append(before)
            return way[::-1]
        for after in edges.get(tier, {}):
            if after not in came:
                came[after] = tier
                queue.append(after)
    return None


def unused(declared: Declared) -> Iterator[Finding]:
    """Warnings, no faults: what is declared and carries nothing."""
    estate = declared.estate
    used = {route.pool for service in estate.services.values() for route in service.routes}
    used |= {service.pool for service in estate.services.values() if service.pool is not None}
    for name in estate.pools:
        if name not in used:
            yield Finding(path=("pools", name), message="No service uses this pool. Route to it, or remove it.")
    if estate.services and not estate.tiers:
        message = f"No tier would carry them: {listed(estate.services)}. Declare tiers."
        yield Finding(path=("services",), message=message)
