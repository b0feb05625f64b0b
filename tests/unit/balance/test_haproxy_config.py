"""HAProxy's configuration as text: what must be in it, whatever HAProxy makes of it (that is tests/conformance/)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from backstay.balance.engines.haproxy.config import CONFIG, Host, render, shape_in
from backstay.balance.engines.haproxy.pool import weight_of
from backstay.balance.model import (
    Backend,
    BackendState,
    Desired,
    DesiredPool,
    DesiredRoute,
    DesiredTls,
    HttpService,
    TcpService,
)
from backstay.estate.model import Balance, Check, EngineKind, Fastcgi, Protocol, TlsProfile

HOST = Host(ipv6=False)
TLS = DesiredTls(
    certificate_file="/etc/app.crt",
    key_file="/etc/app.key",
    fingerprint="f1f2",
    profile=TlsProfile.INTERMEDIATE,
    hsts_max_age_s=3600,
)


def a_pool(name: str = "web", **changes: Any) -> DesiredPool:
    backends = tuple(Backend(name=f"{name}{n}", address=f"10.0.0.{n}", port=8000) for n in (1, 2))
    pool = DesiredPool(
        name=name,
        protocol=Protocol.HTTP,
        balance=Balance.LEAST_TIME,
        backends=backends,
        check=Check(path="/healthz", port=8001),
        slow_start_s=30.0,
        connect_timeout_s=2.0,
        response_timeout_s=60.0,
    )
    return replace(pool, **changes)


def a_service(name: str = "app", **changes: Any) -> HttpService:
    service = HttpService(
        name=name,
        hostnames=(f"{name}.example.com",),
        http_port=80,
        https_port=443,
        tls=None,
        redirect_http=False,
        header_limit_kb=16,
        body_limit_mb=100,
        routes=(DesiredRoute(path="/", pool="web", websocket=False),),
    )
    return replace(service, **changes)


def a_desired(**changes: Any) -> Desired:
    desired = Desired(
        estate="example",
        lb="lb1",
        engine=EngineKind.HAPROXY,
        listen=("*",),
        services=(a_service(),),
        pools=(a_pool(),),
        revision="r1",
    )
    return replace(desired, **changes)


def config(desired: Desired, host: Host = HOST) -> str:
    return render(desired, host)[CONFIG]


def section(text: str, head: str) -> list[str]:
    """Lines of the section that begins with `head`."""
    lines = text.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(head))
    return [line.strip() for line in lines[start:][: next((n for n, x in enumerate(lines[start:]) if not x), None)]]


def with_backend(desired: Desired, **changes: Any) -> Desired:
    pool, *others = desired.pools
    first, *rest = pool.backends
    return replace(desired, pools=(replace(pool, backends=(replace(first, **changes), *rest)), *others))


def test_equal_desires_give_equal_bytes() -> None:
    assert render(a_desired(), HOST) == render(a_desired(), HOST)


@pytest.mark.parametrize(
    "changes", [{"share": 0.4}, {"state": BackendState.DRAINING}, {"state": BackendState.DOWN}, {"reason": "kernel"}]
)
def test_shares_states_and_reasons_keep_the_shape(changes: dict[str, Any]) -> None:
    before, after = render(a_desired(), HOST), render(with_backend(a_desired(), **changes), HOST)
    assert shape_in(before) == shape_in(after)


@pytest.mark.parametrize(
    "other",
    [
        with_backend(a_desired(), port=8002),
        a_desired(lb="lb2"),
        a_desired(services=(a_service(body_limit_mb=7),)),
        a_desired(services=(a_service(hostnames=("other.example.com",)),)),
        a_desired(services=(a_service(tls=TLS),)),
        a_desired(pools=(a_pool(slow_start_s=1.0),)),
    ],
    ids=["port", "load balancer", "limit", "host name in a map", "certificate", "slow start"],
)
def test_everything_else_is_another_shape(other: Desired) -> None:
    assert shape_in(render(a_desired(), HOST)) != shape_in(render(other, HOST))


def test_a_renewed_certificate_is_another_shape() -> None:
    first = a_desired(services=(a_service(tls=TLS),))
    renewed = a_desired(services=(a_service(tls=replace(TLS, fingerprint="f3f4")),))
    assert shape_in(render(first, HOST)) != shape_in(render(renewed, HOST))


@pytest.mark.parametrize(
    ("share", "weight"), [(1.0, 64), (0.05, 3), (3.0, 192), (0.001, 1), (9.0, 256), (0.5, 32), (0.995, 64)]
)
def test_a_share_is_a_weight_within_haproxys_bounds(share: float, weight: int) -> None:
    assert weight_of(Backend(name="n", address="10.0.0.1", port=1, share=share)) == weight


@pytest.mark.parametrize("state", [BackendState.DRAINING, BackendState.DOWN])
def test_who_takes_no_requests_has_weight_0_and_so_has_its_unchecked_twin(state: BackendState) -> None:
    lines = section(config(with_backend(a_desired(), state=state)), "backend web")
    assert "server web1 10.0.0.1:8000 weight 0 check" in lines
    assert "server web1:open 10.0.0.1:8000 weight 0 backup" in lines


def test_a_pool_without_checks_has_no_twins() -> None:
    assert "backup" not in config(a_desired(pools=(a_pool(check=None),)))


def test_the_longest_wildcard_is_asked_first() -> None:
    services = (
        a_service("wide", hostnames=("*.example.com",)),
        a_service("narrow", hostnames=("*.deep.example.com", "plain.example.com")),
    )
    files = render(a_desired(services=services), HOST)
    assert files["hosts-80.wild.map"] == ".deep.example.com narrow\n.example.com wide\n"
    assert files["hosts-80.map"] == "plain.example.com narrow\n"


def test_routes_say_pool_websocket_and_path() -> None:
    routes = (
        DesiredRoute(path="/", pool="web", websocket=False),
        DesiredRoute(path="/live:now", pool="web", websocket=True),
    )
    files = render(a_desired(services=(a_service(routes=routes),)), HOST)
    assert files["routes-80.map"] == "app/ web:-:/\napp/live:now web:w:/live:now\n"


def test_services_of_one_port_share_a_frontend_and_keep_their_own_limits() -> None:
    services = (a_service("a", header_limit_kb=8), a_service("b", header_limit_kb=32), a_service("c"))
    lines = section(config(a_desired(services=services)), "frontend http:80")
    limits = [line for line in lines if "req.hdrs,length" in line]
    assert [line.rpartition("if ")[2] for line in limits] == [
        "{ var(txn.service) -m str a } { req.hdrs,length gt 8192 }",
        "{ var(txn.service) -m str b } { req.hdrs,length gt 32768 }",
        "{ var(txn.service) -m str c } { req.hdrs,length gt 16384 }",
    ]
    assert f"tune.bufsize {32 * 1024 * 4}" in config(a_desired(services=services))


def test_only_services_that_ask_for_it_are_sent_on_to_https() -> None:
    services = (
        a_service("on", tls=TLS, redirect_http=True, https_port=8443),
        a_service("off", tls=replace(TLS, fingerprint="f9"), redirect_http=False, https_port=8443),
    )
    lines = section(config(a_desired(services=services)), "frontend http:80")
    [redirect] = [line for line in lines if "redirect" in line]
    assert redirect == (
        "http-request redirect location https://%[var(txn.host)]:8443%[var(txn.uri)] code 308"
        " if { var(txn.service) -m str on }"
    )


def test_each_certificate_has_the_profile_of_its_service() -> None:
    old = replace(TLS, fingerprint="0ld", profile=TlsProfile.OLD)
    services = (a_service("new", tls=replace(TLS, profile=TlsProfile.MODERN)), a_service("old", tls=old))
    files = render(a_desired(services=services), HOST)
    modern, legacy = files["certs-443.list"].splitlines()
    assert modern.startswith("tls/f1f2.pem [alpn h2,http/1.1 ssl-min-ver TLSv1.3 ")
    assert modern.endswith("] new.example.com")
    assert legacy.startswith("tls/0ld.pem [alpn h2,http/1.1 ssl-min-ver TLSv1.0 ")
    assert "no-tls-tickets" in files[CONFIG]


@pytest.mark.parametrize(
    ("listen", "ipv6", "bind"),
    [
        (("*",), True, "bind :::80 v4v6"),
        (("*",), False, "bind *:80"),
        (("10.1.1.1",), True, "bind 10.1.1.1:80"),
        (("2001:db8::1",), True, "bind [2001:db8::1]:80"),
    ],
)
def test_it_binds_where_the_tier_says(listen: tuple[str, ...], ipv6: bool, bind: str) -> None:
    lines = section(config(a_desired(listen=listen), Host(ipv6=ipv6)), "frontend http:80")
    assert [line for line in lines if line.startswith("bind")] == [bind]


def test_checks_ask_the_health_port_and_then_the_serving_port() -> None:
    lines = section(config(a_desired()), "backend web")
    steps = [line for line in lines if line.startswith("http-check")]
    assert steps == [
        "http-check connect port 8001",
        "http-check send meth GET uri /healthz ver HTTP/1.1 hdr Host app.example.com",
        "http-check expect status 200-399",
        "http-check connect default",
    ]


def test_a_tcp_service_has_a_frontend_and_a_pool_of_its_own_mode() -> None:
    pool = a_pool("queue", protocol=Protocol.TCP, balance=Balance.SOURCE, check=Check(port=9000))
    text = config(a_desired(services=(TcpService(name="amqp", port=5672, pool="queue"),), pools=(pool,)))
    assert "default_backend queue" in section(text, "frontend tcp:5672 from tcp")
    lines = section(text, "backend queue from tcp")
    assert {"balance source", "hash-type consistent", "tcp-check connect port 9000"} <= set(lines)


def test_fastcgi_has_its_application() -> None:
    pool = a_pool(protocol=Protocol.FASTCGI, fastcgi=Fastcgi(document_root="/srv/www"))
    text = config(a_desired(pools=(pool,)))
    assert "docroot /srv/www" in section(text, "fcgi-app web")
    assert any(line.endswith("proto fcgi check") for line in section(text, "backend web from http"))


def test_workers_drop_to_the_user_that_the_machine_has() -> None:
    assert "    user haproxy\n    group haproxy\n" in config(a_desired(), Host(user="haproxy", group="haproxy"))
    assert "\n    user " not in config(a_desired(), HOST)


def test_the_old_worker_is_given_time_for_the_slowest_answer() -> None:
    assert "hard-stop-after 28800s" in config(a_desired())
    patient = a_pool(response_timeout_s=40_000.0)
    assert "hard-stop-after 40060s" in config(a_desired(pools=(patient,)))


def test_reloads_are_those_that_lose_nothing() -> None:
    text = config(a_desired())
    assert "option idle-close-on-response" in text
    assert not any(line.strip().startswith("close-spread-time") for line in text.splitlines())
