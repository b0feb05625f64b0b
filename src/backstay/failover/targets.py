"""What is asked of a candidate: its host by ICMP, its engine by HTTP and HTTPS, on its own address. Pure.

An engine that serves TCP alone is asked whether its port accepts. A hang does not show by that: the kernel accepts.

The engine is to answer by itself: a backend that is slow, or down, is down behind every load balancer alike, and no
reason to move an address. So the probe asks for a host name that nobody serves, which both engines answer themselves
(421), and whatever the status, an answer is an answer. TLS is asked for by the service's own name, so that a
certificate which ended is seen as a user would see it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath

from backstay.estate.model import Estate, Service
from backstay.estate.select import services_of, tier_of
from backstay.look.model import ProbeKind, Target

NOBODYS_HOST = "backstay-probe.invalid"  # RFC 2606: a name that nobody has
ANY_STATUS = (100, 599)


def targets_of(estate: Estate, lb: str, folder: PurePath) -> Mapping[ProbeKind, Target]:
    """The targets of load balancer `lb`; `folder`: what `tls.ca` is relative to."""
    address = str(estate.nodes[lb].address)
    found = {ProbeKind.ICMP: Target(kind=ProbeKind.ICMP, address=address)}
    front = front_of(estate, lb)
    if front is None:
        port = tcp_port_of(estate, lb)
        if port is not None:
            found[ProbeKind.TCP] = Target(kind=ProbeKind.TCP, address=address, port=port)
        return found
    found[ProbeKind.HTTP] = Target(
        kind=ProbeKind.HTTP,
        address=address,
        port=front.http_port,
        host=NOBODYS_HOST,
        expect_status=ANY_STATUS,
    )
    if front.tls is not None:
        found[ProbeKind.HTTPS] = Target(
            kind=ProbeKind.HTTPS,
            address=address,
            port=front.https_port,
            host=NOBODYS_HOST,
            server_name=hostname_of(front),
            ca_file=str(folder / front.tls.ca) if front.tls.ca else None,
            expect_status=ANY_STATUS,
        )
    return found


def through_of(estate: Estate, ip: str, lb: str) -> Target:
    """The global IP itself, as `lb` asks it: at the port of the service behind it that tells most."""
    address, first = str(estate.global_ips[ip].address), estate.global_ips[ip].candidates[0]
    front = front_of(estate, first) or front_of(estate, lb)
    if front is None:
        port = tcp_port_of(estate, first)
        return (
            Target(kind=ProbeKind.TCP, address=address, port=port)
            if port
            else Target(kind=ProbeKind.HTTP, address=address)
        )
    if front.tls is not None:
        name = hostname_of(front)
        return Target(kind=ProbeKind.HTTPS, address=address, port=front.https_port, server_name=name, verify=False)
    return Target(kind=ProbeKind.HTTP, address=address, port=front.http_port)


def tcp_port_of(estate: Estate, lb: str) -> int | None:
    """Of the first TCP service of `lb`; None without one."""
    found = tier_of(estate, lb)
    services = services_of(estate, found[0]).values() if found else ()
    return next((service.tcp_port for service in services if service.tcp_port is not None), None)


def front_of(estate: Estate, lb: str) -> Service | None:
    """The HTTP service that stands for the engine of `lb`: the first with TLS, else the first."""
    found = tier_of(estate, lb)
    services = [s for s in services_of(estate, found[0]).values() if s.hostnames] if found else []
    return next((s for s in services if s.tls), services[0] if services else None)


def hostname_of(service: Service) -> str:
    """A name that its certificate is for."""
    return service.hostnames[0].replace("*", "www", 1)
