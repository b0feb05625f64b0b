"""The access log, as samples: what the rescaler, the ejection and the drain proof read."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from engine_site import ADDRESS, Site, add_pool, eventually, free_port, make_pool, with_backend, with_pool

from backstay.balance.model import Backend, Sample


def _of(path_id: str):  # type: ignore[no-untyped-def]
    return lambda samples: any(sample.request_id == path_id for sample in samples)


async def test_each_request_is_one_sample_with_its_backend_and_times(site: Site) -> None:
    started = datetime.now(UTC)
    await site.apply()
    answer = await site.get("/cart", headers={"X-Request-Id": "request-0001"})
    [sample] = await site.logged(_of("request-0001"))
    assert (sample.service, sample.route, sample.pool, sample.backend) == ("app", "/", "web", answer.backend)
    assert (sample.status, sample.final, sample.cut, sample.error) == (200, True, False, False)
    assert sample.connect_time_s is not None and 0 <= sample.connect_time_s < 5
    assert sample.header_time_s is not None and 0 <= sample.header_time_s < 5
    assert 0 <= sample.total_time_s < 5
    assert started - timedelta(seconds=2) <= sample.time <= datetime.now(UTC) + timedelta(seconds=2)


async def test_the_route_and_the_status_are_told(site: Site) -> None:
    await site.apply(add_pool(site.desired, make_pool("api", *site.desired.pools[0].backends), path="/api"))
    await site.get("/api/users", headers={"X-Request-Id": "request-0001"})
    await site.get("/status/503", headers={"X-Request-Id": "request-0002"})
    samples = await site.logged(lambda samples: len(samples) == 2)
    seen = {(one.request_id, one.route, one.pool, one.status, one.error) for one in samples}
    assert seen == {("request-0001", "/api", "api", 200, False), ("request-0002", "/", "web", 503, True)}


async def test_what_reached_no_backend_is_no_sample(site: Site) -> None:
    await site.apply()
    await site.get(host="other.example.com")
    await site.get(headers={"X-Large": "v" * 30_000})
    await site.get(headers={"X-Request-Id": "request-0001"})
    assert len(await site.logged(_of("request-0001"))) == 1


async def test_a_backend_that_refuses_is_an_error_without_a_status(site: Site) -> None:
    only = site.desired.pools[0].backends[:1]
    await site.apply(with_backend(with_pool(site.desired, backends=only), "web1", port=free_port()))
    await site.get(method="POST", data=b"x", headers={"X-Request-Id": "request-0001"})
    samples = await site.logged(_of("request-0001"))
    assert samples[-1].final
    assert {(one.backend, one.status, one.header_time_s, one.error) for one in samples} == {("web1", 0, None, True)}


async def test_a_backend_that_is_too_slow_is_an_error_without_a_status(site: Site) -> None:
    only = site.desired.pools[0].backends[:1]
    await site.apply(with_pool(site.desired, backends=only, response_timeout_s=0.5, connect_timeout_s=0.3))
    assert (await site.get("/hold", headers={"X-Request-Id": "request-0001"})).status == 504
    samples = await site.logged(_of("request-0001"))
    assert (samples[-1].status, samples[-1].header_time_s, samples[-1].error) == (0, None, True)


async def test_an_answer_that_the_backend_broke_off_is_told_from_a_whole_one(site: Site) -> None:
    await site.apply()
    with pytest.raises(aiohttp.ClientError):
        await site.get("/cut", headers={"X-Request-Id": "request-0001"})
    [sample] = await site.logged(_of("request-0001"))
    assert (sample.status, sample.cut, sample.error) == (200, True, True)


async def test_a_client_that_leaves_is_no_error_of_the_backend(site: Site) -> None:
    await site.apply()
    leaving = asyncio.create_task(site.get("/hold", headers={"X-Request-Id": "request-0001"}))

    async def holding() -> int:
        return sum(backend.holding for backend in site.backends)

    await eventually(holding, lambda count: count == 1)
    leaving.cancel()
    # An engine may wait for the answer all the same, and log then.
    await asyncio.sleep(0)
    for backend in site.backends:
        backend.release.set()
    [sample] = await site.logged(_of("request-0001"))
    assert not sample.error


async def test_a_web_socket_and_its_end_are_no_error(site: Site) -> None:
    pool = site.desired.pools[0]
    await site.apply(add_pool(site.desired, make_pool("live", *pool.backends), path="/ws", websocket=True))
    url = f"http://{ADDRESS}:{site.http_port}/ws"
    headers = {"Host": "app.example.com", "X-Request-Id": "request-0001"}
    async with aiohttp.ClientSession() as session, session.ws_connect(url, headers=headers) as peer:
        await peer.send_str("hello")
        assert (await peer.receive_str()).endswith(":hello")
    [sample] = await site.logged(_of("request-0001"))
    assert (sample.pool, sample.status, sample.error) == ("live", 101, False)


async def test_a_try_at_a_dead_backend_does_not_hide_the_one_that_served(site: Site) -> None:
    await site.backends[0].stop()
    await site.apply()
    answers = [await site.get(headers={"X-Request-Id": f"request-{number:04}"}) for number in range(6)]
    samples = await site.logged(lambda samples: sum(one.final for one in samples) == 6)
    served = {one.request_id: (one.backend, one.status) for one in samples if one.final}
    assert served == {f"request-{number:04}": (answer.backend, 200) for number, answer in enumerate(answers)}
    assert {one.backend for one in samples if not one.final} <= {"web1"}


async def test_samples_are_told_once_and_lines_are_json_of_the_shared_shape(site: Site) -> None:
    await site.apply()
    odd = '/caf%C3%A9/"quoted"?a=\\x&b=\x7f'
    reader, writer = await asyncio.open_connection(ADDRESS, site.http_port)
    lines = (f"GET {odd} HTTP/1.1", "Host: app.example.com", "X-Request-Id: request-0001", "Connection: close")
    writer.write("".join(f"{line}\r\n" for line in (*lines, "")).encode())
    await asyncio.wait_for(reader.read(), 20)
    writer.close()
    await site.get(headers={"X-Request-Id": "request-0002"})
    await site.logged(_of("request-0002"))
    assert await site.engine.samples() == []
    entries = [json.loads(line) for line in _log_lines(site.folder)]
    assert {entry["v"] for entry in entries} == {1}
    assert {entry["engine"] for entry in entries} == {site.capabilities.version.kind.value}
    assert set(entries[0]) >= {
        *("v", "engine", "time", "id", "connection", "service", "route", "pool", "client", "method", "host", "uri"),
        *("protocol", "tls", "status", "bytes", "total", "peers", "statuses", "connects", "headers", "times", "end"),
    }


def _log_lines(folder: Path) -> list[str]:
    return (folder / "log" / "access.log").read_text(errors="replace").splitlines()


async def test_tcp_sessions_are_samples_too(site: Site) -> None:
    from engine_backends import StreamBackend, echo_lines
    from engine_site import add_tcp

    from backstay.estate.model import Protocol

    port = free_port()
    backend = StreamBackend(ADDRESS, echo_lines)
    await backend.start()
    pool = make_pool("queue", Backend(name="queue1", address=ADDRESS, port=backend.port), protocol=Protocol.TCP)
    await site.apply(add_tcp(site.desired, pool, port))
    reader, writer = await asyncio.open_connection(ADDRESS, port)
    writer.write(b"one\n")
    assert await asyncio.wait_for(reader.readline(), 20) == b"echo one\n"
    writer.close()

    def told(samples: list[Sample]) -> bool:
        return any(one.pool == "queue" for one in samples)

    [sample] = await site.logged(told)
    assert (sample.service, sample.backend, sample.status, sample.error) == ("queue", "queue1", 200, False)
    await backend.stop()
