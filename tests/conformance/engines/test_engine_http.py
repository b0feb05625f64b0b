"""HTTP: hosts, routes, headers, limits, retries. The same on every engine."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from engine_site import ADDRESS, HOST, LB, Site, add_pool, free_port, make_pool, with_backend, with_pool, with_service

from backstay.balance.model import Backend, DesiredTls


async def test_a_request_reaches_a_backend_and_its_answer_the_client(site: Site) -> None:
    await site.apply()
    answer = await site.get("/cart?item=7")
    assert answer.status == 200
    assert answer.said["path"] == "/cart?item=7"


async def test_the_backend_is_told_who_asked_and_which_load_balancer_carried_it(site: Site) -> None:
    await site.apply()
    spoofed = {"X-Backstay-LB": "evil", "X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "gopher"}
    answer = await site.get(headers=spoofed)
    told = answer.said["headers"]
    for name, value in {
        "host": HOST,
        "x-backstay-lb": LB,
        "x-forwarded-for": "127.0.0.1",
        "x-forwarded-proto": "http",
        "x-forwarded-host": HOST,
    }.items():
        assert [v for n, v in told if n == name] == [value], name
    assert answer.headers.getall("X-Backstay-LB") == [LB]


async def test_a_sane_request_id_is_kept_and_given_back(site: Site) -> None:
    await site.apply()
    answer = await site.get(headers={"X-Request-Id": "order-4711.retry_2"})
    assert ["x-request-id", "order-4711.retry_2"] in answer.said["headers"]
    assert answer.headers.getall("X-Request-Id") == ["order-4711.retry_2"]


@pytest.mark.parametrize("bad", ["", "short", "has space in it", 'quote"quote"quote', "x" * 500])
async def test_a_request_id_that_is_missing_or_odd_is_replaced(site: Site, bad: str) -> None:
    await site.apply()
    answer = await site.get(headers={"X-Request-Id": bad} if bad else {})
    [given] = [value for name, value in answer.said["headers"] if name == "x-request-id"]
    assert given != bad
    assert len(given) >= 16
    assert answer.headers.getall("X-Request-Id") == [given]


async def test_a_host_that_is_not_configured_never_reaches_a_backend(site: Site) -> None:
    await site.apply()
    for host in ("other.example.com", "example.com", ADDRESS, f"x{HOST}"):
        assert (await site.get(host=host)).status == 421, host
    assert sum(sum(backend.seen.values()) for backend in site.backends) == 0


async def test_a_wildcard_host_name_serves_its_subdomains_alone(site: Site) -> None:
    await site.apply(with_service(site.desired, hostnames=("*.wild.example.com",)))
    assert (await site.get(host="a.wild.example.com")).status == 200
    assert (await site.get(host="wild.example.com")).status == 421
    assert (await site.get(host=HOST)).status == 421


async def test_plain_http_is_sent_on_to_https_with_its_path_and_method(site: Site, certificates) -> None:
    tls: DesiredTls = certificates("app")
    await site.apply(with_service(site.desired, tls=tls))
    answer = await site.get("/cart?item=7&size=%20", method="POST", data=b"x")
    assert answer.status == 308
    assert answer.headers["Location"] == f"https://{HOST}:{site.https_port}/cart?item=7&size=%20"
    assert (await site.get(host="other.example.com")).status == 421


async def test_the_longest_prefix_wins(site: Site) -> None:
    two = Backend(name="web2", address=ADDRESS, port=site.backends[1].port)
    three = Backend(name="web3", address=ADDRESS, port=site.backends[2].port)
    desired = with_pool(site.desired, backends=site.desired.pools[0].backends[:1])
    desired = add_pool(desired, make_pool("api", two), path="/api")
    await site.apply(add_pool(desired, make_pool("admin", three), path="/api/admin/"))
    for path, backend in {
        "/": "web1",
        "/ap": "web1",
        "/api": "web2",
        "/api/admin": "web2",  # without the slash it is the shorter prefix, and no redirect
        "/api/admin/": "web3",
        "/api/admin/users": "web3",
    }.items():
        assert (await site.get(path)).backend == backend, path


async def test_a_path_without_a_route_is_not_found(site: Site) -> None:
    first = site.desired.services[0]
    await site.apply(with_service(site.desired, routes=(replace(first.routes[0], path="/app"),)))
    assert (await site.get("/app/x")).status == 200
    assert (await site.get("/other")).status == 404


@pytest.mark.parametrize("fields", [1, 16, 100])
async def test_sixteen_kilobytes_of_headers_pass(site: Site, fields: int) -> None:
    await site.apply()
    size = 16_000 // fields - 10
    answer = await site.get(headers={f"X-{number:03}": "v" * size for number in range(fields)})
    assert answer.status == 200
    assert sum(1 for name, value in answer.said["headers"] if name.startswith("x-") and value == "v" * size) == fields


@pytest.mark.parametrize(("fields", "size"), [(1, 20_000), (40, 500), (3, 15_000), (1, 60_000)])
async def test_more_headers_than_the_limit_are_answered_with_431(site: Site, fields: int, size: int) -> None:
    await site.apply()
    answer = await site.get(headers={f"X-{number:03}": "v" * size for number in range(fields)})
    assert answer.status == 431
    assert (await site.get()).status == 200


async def test_a_large_body_passes_and_one_over_the_limit_is_answered_with_413(site: Site) -> None:
    await site.apply()
    answer = await site.get(method="POST", data=b"x" * 7_000_000)
    assert answer.said["body_bytes"] == 7_000_000
    assert (await site.get(method="POST", data=b"x" * 9_000_000)).status == 413


async def test_a_get_is_tried_again_where_the_backend_refuses_the_connection(site: Site) -> None:
    await site.backends[0].stop()
    await site.apply()
    answers = await asyncio.gather(*(site.get() for _ in range(12)))
    assert {answer.status for answer in answers} == {200}
    assert {answer.backend for answer in answers} == {"web2", "web3"}


async def test_a_post_that_was_sent_is_never_sent_twice(site: Site) -> None:
    await site.apply()
    answers = [await site.get("/abort", method="POST", data=b"charge 100") for _ in range(6)]
    assert {answer.status for answer in answers} == {502}
    assert sum(backend.seen["/abort"] for backend in site.backends) == 6


async def test_a_backend_that_refuses_is_a_5xx_of_the_load_balancer(site: Site) -> None:
    await site.apply(
        with_backend(with_pool(site.desired, backends=site.desired.pools[0].backends[:1]), "web1", port=free_port())
    )
    answer = await site.get()
    assert answer.status in {502, 503}
    assert answer.headers["X-Backstay-LB"] == LB


async def test_a_backend_that_is_too_slow_is_answered_with_504(site: Site) -> None:
    await site.apply(with_pool(site.desired, response_timeout_s=0.5, connect_timeout_s=0.3))
    assert (await site.get("/hold")).status == 504
    assert sum(backend.seen["/hold"] for backend in site.backends) == 1
