"""Every prober against real sockets: the same suite of targets, well and badly behaved."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from probe_targets import (
    Authority,
    Handler,
    Serve,
    drips,
    endless_body,
    floods,
    free_port,
    ok,
    resets,
    says,
    silent,
)

from backstay.look.model import Observation, Outcome, ProbeKind, Target
from backstay.look.prober import NetworkProber

LOCAL = "127.0.0.1"


def http(port: int, **fields: Any) -> Target:
    return Target(kind=ProbeKind.HTTP, address=LOCAL, port=port, **fields)


def https(port: int, **fields: Any) -> Target:
    return Target(kind=ProbeKind.HTTPS, address=LOCAL, port=port, **fields)


async def seen(prober: NetworkProber, target: Target, timeout_s: float = 10.0) -> Observation:
    """One probe; it must return by itself, whatever the target does. Again when a busy machine let us stand still."""
    async with asyncio.timeout(60):
        while "stood still" in (found := await prober.probe(target, timeout_s=timeout_s)).detail:
            pass
        return found


# name: (handler, timeout_s, outcome, words of the detail)
PLAIN: dict[str, tuple[Handler, float, Outcome, str]] = {
    "answers": (says(ok()), 10, Outcome.ANSWERED, ""),
    "redirects": (says(b"HTTP/1.1 301 Moved\r\nLocation: http://192.0.2.1/\r\n\r\n"), 10, Outcome.ANSWERED, ""),
    "fails": (
        says(b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno"),
        10,
        Outcome.BAD_STATUS,
        "status 503, expected 200",
    ),
    "is silent": (silent, 0.3, Outcome.TIMED_OUT, "no answer within 0.3 s"),
    "resets": (resets, 10, Outcome.RESET, "reset"),
    "says nothing and closes": (says(b""), 10, Outcome.RESET, "without an answer"),
    "closes within the header": (says(b"HTTP/1.1 200 OK\r\nX: "), 10, Outcome.RESET, ""),
    "closes within the body": (says(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf"), 10, Outcome.RESET, "body"),
    "stalls in the body": (
        says(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf", close=False),
        0.5,
        Outcome.TIMED_OUT,
        "status 200, then the body stalled",
    ),
    "drips": (drips, 0.5, Outcome.TIMED_OUT, "no answer"),
    "floods headers": (floods, 10, Outcome.BAD_ANSWER, ""),
    "has one giant header": (
        says(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", close=False),
        10,
        Outcome.BAD_ANSWER,
        "",
    ),
    "has an endless body": (endless_body, 10, Outcome.ANSWERED, ""),
    "speaks another protocol": (says(b"SSH-2.0-OpenSSH_9.2\r\n"), 10, Outcome.BAD_ANSWER, "no HTTP answer"),
    "sends nonsense": (says(bytes(range(256)) * 20), 10, Outcome.BAD_ANSWER, "no HTTP answer"),
    "has a nonsense length": (says(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n"), 10, Outcome.BAD_ANSWER, ""),
}


@pytest.mark.parametrize("name", PLAIN)
async def test_an_http_target_that(name: str, prober: NetworkProber, serve: Serve) -> None:
    handler, timeout_s, outcome, words = PLAIN[name]
    found = await seen(prober, http(await serve(handler)), timeout_s)
    assert (found.outcome, words in found.detail) == (outcome, True), found
    assert found.rtt_s >= 0
    assert found.ok is (outcome is Outcome.ANSWERED)
    assert "\n" not in found.detail


@pytest.mark.parametrize("name", ["answers", "is silent", "says nothing and closes", "sends nonsense", "drips"])
async def test_an_https_target_that(name: str, prober: NetworkProber, serve: Serve, authority: Authority) -> None:
    handler, timeout_s, outcome, words = PLAIN[name]
    port = await serve(handler, authority.server("www.example.com"))
    target = https(port, host="www.example.com", ca_file=authority.ca_file)
    found = await seen(prober, target, max(timeout_s, 1.0))
    assert (found.outcome, words.replace("0.3", "1") in found.detail) == (outcome, True), found


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [(ProbeKind.TCP, Outcome.REFUSED), (ProbeKind.HTTP, Outcome.REFUSED), (ProbeKind.HTTPS, Outcome.REFUSED)],
)
async def test_a_port_that_nobody_listens_on_refuses(kind: ProbeKind, outcome: Outcome, prober: NetworkProber) -> None:
    found = await seen(prober, Target(kind=kind, address=LOCAL, port=free_port()))
    assert (found.outcome, found.detail, found.connected) == (outcome, "connection refused", False)


@pytest.mark.parametrize("kind", [ProbeKind.HTTP, ProbeKind.HTTPS])
async def test_a_target_that_takes_the_connection_and_says_nothing_is_told_from_one_that_takes_none(
    kind: ProbeKind, prober: NetworkProber, serve: Serve
) -> None:
    found = await seen(prober, Target(kind=kind, address=LOCAL, port=await serve(silent), verify=False), 0.3)
    assert (found.outcome, found.connected) == (Outcome.TIMED_OUT, True)


async def test_a_tcp_target_answers_by_accepting(prober: NetworkProber, serve: Serve) -> None:
    found = await seen(prober, Target(kind=ProbeKind.TCP, address=LOCAL, port=await serve(silent), source="127.0.0.5"))
    assert found.outcome is Outcome.ANSWERED


async def test_the_body_is_kept_up_to_its_limit_and_no_more_is_waited_for(prober: NetworkProber, serve: Serve) -> None:
    port = await serve(says(ok(b"drain 50% and more")))
    assert (await seen(prober, http(port, body_limit_bytes=5))).body == b"drain"
    assert (await seen(prober, http(port, body_limit_bytes=0))).body == b""
    assert (await seen(prober, http(port))).body == b"drain 50% and more"
    stalling = await serve(says(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nready", close=False))
    assert (await seen(prober, http(stalling, body_limit_bytes=5))).body == b"ready"


async def test_host_path_and_source_are_what_the_target_says(prober: NetworkProber, serve: Serve) -> None:
    asked: list[bytes] = []
    sources: list[str] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        sources.append(writer.get_extra_info("peername")[0])
        writer.write(ok())
        await writer.drain()

    port = await serve(handler)
    target = http(port, host="www.example.com", path="/healthz?deep=1&x=%20", source="127.0.0.77")
    assert (await seen(prober, target)).ok
    assert (await seen(prober, http(port))).ok
    assert asked[0].startswith(b"GET /healthz?deep=1&x=%20 HTTP/1.1\r\n")
    assert b"Host: www.example.com\r\n" in asked[0]
    assert b"Host: 127.0.0.1:%d\r\n" % port in asked[1]
    assert sources == ["127.0.0.77", "127.0.0.1"]


async def test_each_probe_is_a_new_connection(prober: NetworkProber, serve: Serve) -> None:
    ports: set[int] = set()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ports.add(writer.get_extra_info("peername")[1])
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(ok())

    target = http(await serve(handler))
    assert [(await seen(prober, target)).ok for _ in range(3)] == [True] * 3
    assert len(ports) == 3


async def test_a_status_can_be_expected(prober: NetworkProber, serve: Serve) -> None:
    port = await serve(says(b"HTTP/1.1 401 Who\r\nContent-Length: 0\r\n\r\n"))
    assert (await seen(prober, http(port, expect_status=(401, 401)))).ok
    refused = await seen(prober, http(port))
    assert (refused.outcome, refused.status) == (Outcome.BAD_STATUS, 401)


# name: (names, days valid, trusted by the probe, words of the detail)
CERTIFICATES: dict[str, tuple[tuple[str, ...], tuple[int, int], bool, str]] = {
    "has expired": (("www.example.com",), (-30, -1), True, "certificate expired on 20"),
    "is not valid yet": (("www.example.com",), (10, 30), True, "not valid yet before 20"),
    "is for another name": (("a.example.com", "10.0.0.1"), (-1, 30), True, "but for a.example.com, 10.0.0.1"),
    "is of an unknown authority": (("www.example.com",), (-1, 30), False, "unknown authority: CN=trusted"),
}


@pytest.mark.parametrize("name", CERTIFICATES)
async def test_a_certificate_that(
    name: str, prober: NetworkProber, serve: Serve, authority: Authority, stranger: Authority
) -> None:
    names, days, trusted, words = CERTIFICATES[name]
    port = await serve(says(ok()), authority.server(*names, days=days))
    ca_file = (authority if trusted else stranger).ca_file
    found = await seen(prober, https(port, host="www.example.com", ca_file=ca_file))
    assert (found.outcome, words in found.detail) == (Outcome.BAD_CERTIFICATE, True), found
    assert (await seen(prober, https(port, host="www.example.com", verify=False))).ok


async def test_a_certificate_for_the_address_needs_no_host_name(
    prober: NetworkProber, serve: Serve, authority: Authority
) -> None:
    port = await serve(says(ok()), authority.server(LOCAL))
    assert (await seen(prober, https(port, ca_file=authority.ca_file))).ok


async def test_an_authority_that_was_replaced_is_read_again(
    prober: NetworkProber, serve: Serve, authority: Authority, stranger: Authority, tmp_path: Path
) -> None:
    port = await serve(says(ok()), authority.server(LOCAL))
    file = tmp_path / "ca.pem"
    file.write_bytes(Path(stranger.ca_file).read_bytes())
    assert (await seen(prober, https(port, ca_file=str(file)))).outcome is Outcome.BAD_CERTIFICATE
    replacement = tmp_path / "new.pem"
    replacement.write_bytes(Path(authority.ca_file).read_bytes())
    replacement.rename(file)
    assert (await seen(prober, https(port, ca_file=str(file)))).ok


@pytest.mark.parametrize("content", [None, b"", b"no certificate"], ids=["missing", "empty", "nonsense"])
async def test_an_authority_that_cannot_be_read_is_our_own_fault(
    content: bytes | None, prober: NetworkProber, tmp_path: Path
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    found = await seen(prober, https(free_port(), ca_file=str(file)))
    assert (found.outcome, str(file) in found.detail) == (Outcome.NOT_SENT, True), found


async def test_tls_on_a_plain_port_is_a_bad_answer(prober: NetworkProber, serve: Serve, authority: Authority) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        await reader.read()

    found = await seen(prober, https(await serve(handler), ca_file=authority.ca_file))
    assert (found.outcome, found.detail) == (Outcome.BAD_ANSWER, "no TLS: WRONG_VERSION_NUMBER")


async def test_a_port_that_accepts_and_never_shakes_hands_times_out(prober: NetworkProber, serve: Serve) -> None:
    found = await seen(prober, https(await serve(silent), verify=False), 0.3)
    assert (found.outcome, found.detail) == (Outcome.TIMED_OUT, "no answer within 0.3 s")


async def test_ipv6_targets_are_probed_as_well(prober: NetworkProber) -> None:
    asked: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(1000))
        writer.write(ok())
        writer.close()

    try:
        server = await asyncio.start_server(handler, "::1", 0)
    except OSError as error:
        pytest.skip(f"needs IPv6 on loopback: {error}")
    async with server:
        port = server.sockets[0].getsockname()[1]
        for kind in (ProbeKind.TCP, ProbeKind.HTTP):
            assert (await seen(prober, Target(kind=kind, address="::1", port=port))).ok
    assert b"Host: [::1]:%d\r\n" % port in b"".join(asked)


async def test_plain_http_on_a_tls_port_is_no_answer(prober: NetworkProber, serve: Serve, authority: Authority) -> None:
    found = await seen(prober, http(await serve(says(ok()), authority.server(LOCAL))))
    assert found.outcome in (Outcome.RESET, Outcome.BAD_ANSWER)


@pytest.mark.parametrize(
    "target",
    [
        Target(kind=ProbeKind.HTTP, address="www.example.com", port=80),
        Target(kind=ProbeKind.TCP, address=LOCAL),
        Target(kind=ProbeKind.TCP, address=LOCAL, port=70_000),
        Target(kind=ProbeKind.HTTP, address=LOCAL, port=80, path="healthz"),
        Target(kind=ProbeKind.HTTP, address=LOCAL, port=80, path="/a b"),
        Target(kind=ProbeKind.HTTP, address=LOCAL, port=80, host="x\r\nInjected: 1"),
        Target(kind=ProbeKind.TCP, address=LOCAL, port=80, source="192.0.2.1"),
        Target(kind=ProbeKind.HTTP, address=LOCAL, port=80, source="192.0.2.1"),
        Target(kind=ProbeKind.ICMP, address=LOCAL, source="192.0.2.1"),
    ],
)
async def test_what_cannot_be_sent_is_our_own_fault(target: Target, prober: NetworkProber) -> None:
    found = await seen(prober, target)
    assert found.outcome is Outcome.NOT_SENT
    assert found.detail


async def test_beyond_the_limit_probes_wait_and_then_say_that_it_was_us(serve: Serve) -> None:
    narrow = NetworkProber(concurrency=1)
    port = await serve(silent)
    first = asyncio.ensure_future(narrow.probe(http(port), timeout_s=60))
    await asyncio.sleep(0)  # it takes the only slot
    second = await narrow.probe(http(port), timeout_s=0.2)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await narrow.close()
    assert (second.outcome, second.detail) == (Outcome.NOT_SENT, "1 probes are in flight already")


async def test_a_process_that_stood_still_blames_itself(prober: NetworkProber, serve: Serve) -> None:
    probing = asyncio.ensure_future(prober.probe(http(await serve(silent)), timeout_s=0.2))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(time.sleep, 1.0)  # as a paused virtual machine does
    found = await probing
    assert (found.outcome, "stood still" in found.detail) == (Outcome.NOT_SENT, True), found


async def test_a_process_that_is_overloaded_all_the_time_blames_itself_too(prober: NetworkProber, serve: Serve) -> None:
    probing = asyncio.ensure_future(prober.probe(http(await serve(silent)), timeout_s=2.0))
    while not probing.done():
        await asyncio.sleep(0.01)
        time.sleep(0.2)  # each turn of the loop is late, and none of them by much
    found = await probing
    assert (found.outcome, "stood still" in found.detail) == (Outcome.NOT_SENT, True), found


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("kind", list(ProbeKind))
async def test_a_cancelled_probe_leaves_no_file_and_no_task(
    kind: ProbeKind, prober: NetworkProber, serve: Serve, authority: Authority
) -> None:
    tls = authority.server(LOCAL) if kind is ProbeKind.HTTPS else None
    port = await serve(silent, tls)
    target = Target(kind=kind, address=LOCAL, port=port, ca_file=authority.ca_file if tls else None)
    await seen(prober, target, 1.0)  # whatever is kept for good (the ICMP socket) is open now
    before, tasks_before = open_files(), len(asyncio.all_tasks())
    for delay in range(40):
        probing = asyncio.ensure_future(prober.probe(target, timeout_s=30))
        for _ in range(delay):
            await asyncio.sleep(0)
        probing.cancel()
        await asyncio.gather(probing, return_exceptions=True)
    async with asyncio.timeout(20):
        while open_files() > before or len(asyncio.all_tasks()) > tasks_before:
            await asyncio.sleep(0.02)
