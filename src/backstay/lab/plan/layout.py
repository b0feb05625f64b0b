"""What to build for an estate, and the estate as the lab runs it. Pure.

The lab's estate is the declared one with the lab's own certificates and secrets (it never uses yours), with the lab's
provider and pager in place of yours, and, on the loopback fabric, with 127.x addresses, ports that need no privilege
and `listen: node`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from backstay.estate import select
from backstay.estate.model import Estate, Pool, Protocol, Service
from backstay.lab.machines.parts import ALIKE, TICK_S, UNLIKE, Machine, metric_of
from backstay.lab.model import INTERNET, SERVER, WITNESS, FabricKind, Front, Host, LabError, LabIp, Layout, WebServer

WITNESS_ADDRESS = "198.51.100.10"  # TEST-NET-2 (RFC 5737): the internet side
SERVER_ADDRESS = "198.51.100.20"
PORT_OFFSET = 8000  # 443 becomes 8443 where low ports need privilege
SECRET_FILE = "secrets/lab"  # noqa: S105 - a path
PROVIDER_PORT = 8088  # of the provider's API, and of the pager, on the witness's host
PAGER_PORT = 8089
FACTS_FOLDER = "facts"  # in the lab's folder
FACTS_MAX_AGE_S = 366 * 86_400  # they are written when they change, and a lab may stay up
NODE_PORT = 19100  # of what tells of a machine; 9100, on loopback, may be this machine's own
WORK = "work_units"  # unit of work of a cluster that says none
HOSTS_MAX = 250  # a zone; the last octet of 127.slot.zone.host
IPS_MAX = 200

Addresses = dict[str, str]


def tls_files(service: str) -> tuple[str, str]:
    """Certificate and key of a service, relative to the lab's estate file."""
    return f"tls/{service}.crt", f"tls/{service}.key"


def loopback_addresses(estate: Estate, slot: int) -> tuple[Addresses, Addresses]:
    """Addresses of the nodes (and the witness) and of the global IPs inside 127.`slot`.0.0/16.

    Raises LabError for an estate too large for it.
    """
    zones = {zone: index for index, zone in enumerate(sorted({n.zone for n in estate.nodes.values()}), start=1)}
    if len(zones) >= HOSTS_MAX or len(estate.global_ips) > IPS_MAX:
        raise LabError(f"The loopback fabric holds at most {HOSTS_MAX - 1} zones and {IPS_MAX} global IPs.")
    nodes: Addresses = {WITNESS: f"127.{slot}.251.1", SERVER: f"127.{slot}.251.2"}
    counts = dict.fromkeys(zones, 0)
    for name, node in estate.nodes.items():
        counts[node.zone] += 1
        if counts[node.zone] > HOSTS_MAX:
            raise LabError(f"The loopback fabric holds at most {HOSTS_MAX} nodes a zone; {node.zone} has more.")
        nodes[name] = f"127.{slot}.{zones[node.zone]}.{counts[node.zone]}"
    ips = {name: f"127.{slot}.250.{index}" for index, name in enumerate(estate.global_ips, start=1)}
    return nodes, ips


def declared_addresses(estate: Estate) -> tuple[Addresses, Addresses]:
    """The estate's own addresses. Raises LabError for IPv6, which the lab does not build yet."""
    outside = {WITNESS: WITNESS_ADDRESS, SERVER: SERVER_ADDRESS}
    nodes = {name: str(node.address) for name, node in estate.nodes.items()} | outside
    ips = {name: str(ip.address) for name, ip in estate.global_ips.items()}
    for name, address in (nodes | ips).items():
        if ":" in address:
            raise LabError(
                f"{name}: {address} is an IPv6 address, which the lab builds on loopback only: --fabric loopback."
            )
    return nodes, ips


def lab_estate(
    estate: Estate, fabric: FabricKind, nodes: Addresses, ips: Addresses, folder: str = "."
) -> dict[str, Any]:
    """The estate file of the lab, as plain data. `folder`: the lab's, which the server's paths are not relative to."""
    data: dict[str, Any] = estate.model_dump(mode="json", exclude_unset=True)
    outside = nodes[WITNESS]
    secret = {"file": SECRET_FILE}
    # Whoever routes the addresses in production: here it is the lab, by SoftLayer's protocol, and only its pager rings.
    endpoint_url = f"http://{outside}:{PROVIDER_PORT}/rest/v3.1"
    data["providers"] = {
        name: {"kind": "softlayer", "username": secret, "api_key": secret, "endpoint_url": endpoint_url}
        for name in data.get("providers", {})
    }
    data["notify"] = {"pagerduty": {"routing_key": secret, "endpoint_url": f"http://{outside}:{PAGER_PORT}"}}
    for name, service in data.get("services", {}).items():
        if service.get("tls"):
            certificate, key = tls_files(name)
            service["tls"] |= {"certificate": certificate, "key": {"file": key}, "ca": "tls/ca.crt"}
    _own_agents(data.get("agents"))
    data["audit"] = _own_audit(estate, f"{folder}/{FACTS_FOLDER}")
    if fabric is FabricKind.LOOPBACK:
        _onto_loopback(data, estate, nodes, ips)
    return data


def _own_audit(estate: Estate, facts: str) -> dict[str, Any]:
    """Facts and indicators of the lab's machines. How often, and what hurts, is as declared."""
    works = sorted({cluster.work or WORK for cluster in estate.clusters.values()})
    kept = estate.audit.model_dump(mode="json", exclude_unset=True, exclude={"facts", "indicators"})
    return (
        {"every_s": TICK_S}
        | kept
        | {
            "facts": [{"kind": "facter", "path": facts, "max_age_s": FACTS_MAX_AGE_S}],
            "indicators": [
                {"kind": "exporter", "port": NODE_PORT, "metrics": {work: metric_of(work) for work in works}}
            ],
        }
    )


def _own_agents(agents: dict[str, Any] | None) -> None:
    if not agents:
        return
    if agents.get("token"):
        agents["token"] = {"file": SECRET_FILE}
    if agents.get("certificate"):
        certificate, key = tls_files("agents")
        agents |= {"certificate": certificate, "key": {"file": key}}
    if agents.get("ca"):
        agents["ca"] = "tls/ca.crt"


def _onto_loopback(data: dict[str, Any], estate: Estate, nodes: Addresses, ips: Addresses) -> None:
    for name, node in data["nodes"].items():
        node["address"] = nodes[name]
    for name, ip in data.get("global_ips", {}).items():
        ip["address"] = ips[name]
        ip.pop("handover", None)  # it would be the machine's own firewall
    for tier in data.get("tiers", {}).values():
        tier["listen"] = "node"
    for name, service in data.get("services", {}).items():
        declared = estate.services[name]
        if declared.tcp_port is not None:
            service["tcp_port"] = unprivileged(declared.tcp_port)
        else:
            service["http_port"] = unprivileged(declared.http_port)
            service["https_port"] = unprivileged(declared.https_port)
    for name, pool in data.get("pools", {}).items():
        declared_pool = estate.pools[name]
        pool["port"] = unprivileged(declared_pool.port)
        if declared_pool.check and declared_pool.check.port:
            pool["check"]["port"] = unprivileged(declared_pool.check.port)


def unprivileged(port: int) -> int:
    """A port that needs no privilege: 443 becomes 8443."""
    return port if port >= 1024 else port + PORT_OFFSET


def layout_of(estate: Estate, witness_address: str, server_address: str | None = None) -> Layout:
    """What to build, from the lab's own estate (`lab_estate`). `server_address`: None for a lab without a server.

    Raises LabError when a node has the name of one of the lab's own hosts.
    """
    outside = [Host(name=WITNESS, zone=INTERNET, address=witness_address)]
    if server_address is not None:
        outside.append(Host(name=SERVER, zone=INTERNET, address=server_address))
    for host in outside:
        if host.name in estate.nodes:
            raise LabError(f'A node is called "{host.name}", as one of the lab\'s own hosts. Rename the node.')
    lbs = select.load_balancers(estate)
    web, unserved = _web_servers(estate)
    served = {server.host for server in web} | set(lbs)
    in_cluster = {node for cluster in estate.clusters for node in select.members(estate, cluster)}
    return Layout(
        estate=estate.estate,
        hosts=(*_hosts(estate), *outside),
        ips=tuple(_ip(estate, name) for name in estate.global_ips),
        load_balancers=lbs,
        web=web,
        queue=tuple(node for node in estate.nodes if node in in_cluster and node not in served),
        unserved=unserved,
        server=server_address,
        machines=tuple(_machines(estate)),
    )


def _machines(estate: Estate) -> Iterator[Machine]:
    """Every node: alike, but for clusters that no load balancer deals work to. Those have CPUs V1, V2, V2, V3."""
    balanced = {pool.cluster for pool in estate.pools.values()}
    clusters = {node: cluster for cluster in reversed(estate.clusters) for node in select.members(estate, cluster)}
    seats = Counter[str]()
    for name, node in estate.nodes.items():
        cluster = clusters.get(name, "")
        seat = seats[cluster]
        seats[cluster] += 1
        yield Machine(
            name=name,
            cluster=cluster,
            seat=seat,
            work=(estate.clusters[cluster].work if cluster else None) or WORK,
            cpu=UNLIKE[seat % len(UNLIKE)] if cluster and cluster not in balanced else ALIKE,
            switch=next((path for path in node.paths if "switch" in path), node.zone),
            serves=cluster in balanced or not cluster,
        )


def _hosts(estate: Estate) -> Iterator[Host]:
    for name, node in estate.nodes.items():
        holds = tuple(ip for ip, declared in estate.global_ips.items() if name in declared.candidates)
        yield Host(name=name, zone=node.zone, address=str(node.address), paths=node.paths, holds=holds)


def ports_of(service: Service) -> tuple[int, ...]:
    """TCP ports that a service listens on."""
    if service.tcp_port is not None:
        return (service.tcp_port,)
    return (service.http_port, service.https_port) if service.tls else (service.http_port,)


def _ip(estate: Estate, name: str) -> LabIp:
    tiers = [tier for tier, declared in estate.tiers.items() if declared.global_ip == name]
    services = {s: service for tier in tiers for s, service in select.services_of(estate, tier).items()}
    declared = estate.global_ips[name]
    return LabIp(
        name=name,
        address=str(declared.address),
        candidates=declared.candidates,
        ports=tuple(sorted({port for service in services.values() for port in ports_of(service)})),
        front=next((_front(service) for service in services.values() if service.tcp_port is None), None),
    )


def _front(service: Service) -> Front:
    return Front(
        hostname=service.hostnames[0].replace("*", "www") if service.hostnames else "localhost",
        port=service.https_port if service.tls else service.http_port,
        tls=service.tls is not None,
        websocket_path=next((route.path for route in service.routes if route.websocket), None),
    )


def _web_servers(estate: Estate) -> tuple[tuple[WebServer, ...], tuple[str, ...]]:
    pools: dict[str, list[Pool]] = {}
    unserved = []
    for name, pool in estate.pools.items():
        if pool.protocol in (Protocol.FASTCGI, Protocol.UWSGI):
            unserved.append(f"{name}: the lab has no {pool.protocol} server, so nothing answers on port {pool.port}")
            continue
        for node in select.members(estate, pool.cluster):
            pools.setdefault(node, []).append(pool)
    return tuple(_web_server(node, serving) for node, serving in pools.items()), tuple(unserved)


def _web_server(node: str, pools: list[Pool]) -> WebServer:
    checks = [pool.check for pool in pools if pool.check]
    serve = {pool.port for pool in pools}
    return WebServer(
        host=node,
        serve=tuple(sorted(serve)),
        health=tuple(sorted({check.port for check in checks if check.port} - serve)),
        health_path=next((check.path for check in checks if check.path), "/healthz"),
    )
