"""What is asked of a candidate, and of the address itself."""

from __future__ import annotations

import asyncio
from pathlib import PurePath
from typing import Any

import pytest

from backstay.estate.model import Estate
from backstay.failover.model import Death, Seen, Suspicion
from backstay.failover.suspect import take_in, weigh
from backstay.failover.targets import NOBODYS_HOST, targets_of, through_of
from backstay.failover.verify import see
from backstay.look.model import Outcome, ProbeKind, Target

HERE = PurePath("estate")
TLS = {"certificate": "app.crt", "key": {"file": "app.key"}, "ca": "ca.crt"}


def estate(**service: Any) -> Estate:
    pool = "queue" if "tcp_port" in service else "web"
    route = {"pool": pool} if pool == "queue" else {"routes": [{"path": "/", "pool": pool}]}
    protocol = {"protocol": "tcp"} if pool == "queue" else {}
    return Estate.model_validate(
        {
            "estate": "t",
            "providers": {"own": {"kind": "command", "owner": ["owner"], "assign": ["assign"]}},
            "regions": {"r": {"provider": "own", "zones": {"z": {}}}},
            "nodes": {name: {"zone": "z", "address": f"10.0.0.{n}"} for n, name in enumerate(("lb1", "lb2", "s1"), 1)},
            "clusters": {"c": {"members": ["s1"], "spare": 0}},
            "tiers": {"t": {"engine": "haproxy", "members": ["lb1", "lb2"], "global_ip": "ip"}},
            "global_ips": {"ip": {"address": "203.0.113.1", "provider": "own", "candidates": ["lb1", "lb2"]}},
            "services": {"s": service | route},
            "pools": {pool: {"cluster": "c", "port": 9000} | protocol},
        }
    )


def test_an_engine_with_http_and_tls_is_asked_by_ping_http_and_https() -> None:
    found = targets_of(estate(hostnames=["*.example.com"], tls=TLS), "lb1", HERE)
    assert set(found) == {ProbeKind.ICMP, ProbeKind.HTTP, ProbeKind.HTTPS}
    https = found[ProbeKind.HTTPS]
    assert (https.host, https.server_name, https.ca_file) == (NOBODYS_HOST, "www.example.com", "estate/ca.crt")


def test_an_engine_that_serves_tcp_alone_is_asked_whether_its_port_accepts() -> None:
    found = targets_of(estate(tcp_port=5672), "lb1", HERE)
    assert found[ProbeKind.TCP] == Target(kind=ProbeKind.TCP, address="10.0.0.1", port=5672)
    assert set(found) == {ProbeKind.ICMP, ProbeKind.TCP}


@pytest.mark.parametrize(
    ("service", "kind", "port"),
    [
        ({"tcp_port": 5672}, ProbeKind.TCP, 5672),
        ({"hostnames": ["a.example.com"], "http_port": 8080}, ProbeKind.HTTP, 8080),
        ({"hostnames": ["a.example.com"], "tls": TLS}, ProbeKind.HTTPS, 443),
    ],
)
def test_the_address_is_asked_at_the_port_that_tells_most(service: dict[str, Any], kind: ProbeKind, port: int) -> None:
    target = through_of(estate(**service), "ip", "lb2")
    assert (target.kind, target.address, target.port) == (kind, "203.0.113.1", port)


@pytest.mark.parametrize(
    ("outcome", "death"), [(Outcome.REFUSED, Death.REFUSED), (Outcome.TIMED_OUT, Death.HUNG)], ids=str
)
def test_a_tcp_port_that_does_not_accept_convicts_though_pings_answer(outcome: Outcome, death: Death) -> None:
    suspicion = Suspicion()
    for second in range(600):
        for kind in (ProbeKind.ICMP, ProbeKind.TCP):
            suspicion = take_in(suspicion, Seen(at_s=float(second), kind=kind, outcome=Outcome.ANSWERED, rtt_s=0.001))
    for step in range(200):
        now_s = 600 + step / 20
        for kind, seen in ((ProbeKind.ICMP, Outcome.ANSWERED), (ProbeKind.TCP, outcome)):
            suspicion = take_in(suspicion, Seen(at_s=now_s, kind=kind, outcome=seen, rtt_s=0.001))
    found = weigh(suspicion, 610.0, false_takeovers_per_year=0.1)
    assert found is not None
    assert found.death is death
    assert found.convincing


async def test_through_tcp_it_is_seen_that_somebody_accepts_and_not_who() -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    target = Target(kind=ProbeKind.TCP, address="127.0.0.1", port=port)
    async with server:
        seen = await see(target)
    assert (seen.lb, seen.nameless) == (None, True)
    assert not (await see(target)).nameless
