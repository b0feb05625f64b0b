"""The witness as a program, against real servers: it must count as lost what a user lost, and nothing else."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from probe_targets import Authority, Serve, free_port, silent
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websockets

Answer = Callable[[int, bytes], bytes | None]


@dataclass
class Site:
    """A site that gives back the id of each request, unless `answer(number, good answer)` says otherwise."""

    answer: Answer = lambda _, good: good
    requests: list[tuple[str, str]] = field(default_factory=list)  # method, id
    connections: int = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            ident = _header(head, "X-Witness-Id")
            body = await reader.readexactly(int(_header(head, "Content-Length") or 0))
            assert not body or body.startswith(ident.encode())
            self.requests.append((head.split(b" ", 1)[0].decode(), ident))
            good = b"HTTP/1.1 200 OK\r\nX-Witness-Id: %s\r\nContent-Length: 2\r\n\r\nok" % ident.encode()
            answer = self.answer(len(self.requests), good)
            if answer is None:
                return  # close under the request
            writer.write(answer)
            if _header(head, "Connection") == "close":
                await writer.drain()
                return


def _header(head: bytes, name: str) -> str:
    found = re.search(rf"\r\n{name}: ([^\r]*)", head.decode())
    return found[1] if found else ""


@asynccontextmanager
async def started(*options: str, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    command = [sys.executable, "-m", "backstay.look.traffic", "--address", "127.0.0.1", "--port", str(port)]
    command += ["--timeout", "60"]  # a busy machine is slow, and that is not what these tests are about
    process = await asyncio.create_subprocess_exec(
        *command, *options, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def witnessed(*options: str, port: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Run to the end: the summary, and the other lines of the report."""
    async with started(*options, port=port) as process, asyncio.timeout(60):
        out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    lines = [json.loads(line) for line in out.decode().splitlines()]
    assert lines[-1]["type"] == "summary"
    return lines[-1], lines[:-1]


async def until(condition: Callable[[], bool | Awaitable[bool]], deadline_s: float = 30) -> None:
    async with asyncio.timeout(deadline_s):
        while not condition():
            await asyncio.sleep(0.02)


async def test_a_healthy_site_loses_nothing_and_each_request_is_sent_once(serve: Serve) -> None:
    site = Site()
    summary, lines = await witnessed(
        "--rate", "200", "--duration", "1.5", "--report-every", "0.5", port=await serve(site)
    )
    assert summary["failed"] == 0, [line for line in lines if line["type"] == "failure"]
    assert summary["answered"] == summary["sent"] == len(site.requests) > 0
    assert (summary["failed"], summary["downtime_s"], summary["in_flight"]) == (0, 0.0, 0)
    assert len({ident for _, ident in site.requests}) == summary["sent"]
    assert {method for method, _ in site.requests} == {"GET", "POST"}
    assert 1 < site.connections < summary["sent"]
    assert [line["type"] for line in lines[:2]] == ["start", "progress"]
    assert 0 < summary["latency_ms_p50"] <= summary["latency_ms_max"]


@pytest.mark.parametrize("new_share", ["0", "1"])
async def test_new_and_kept_connections_are_used_as_asked(new_share: str, serve: Serve) -> None:
    site = Site()
    summary, _ = await witnessed("--rate", "100", "--duration", "1", "--new-share", new_share, port=await serve(site))
    assert summary["failed"] == 0
    assert (site.connections == summary["sent"]) is (new_share == "1")


async def test_a_request_that_was_written_and_never_answered_is_lost_and_never_sent_again(serve: Serve) -> None:
    site = Site(answer=lambda number, good: None if number % 10 == 0 else good)
    options = ("--clients", "5", "--think-ms", "2", "--requests", "300", "--post-share", "1")
    summary, lines = await witnessed(*options, port=await serve(site))
    assert (summary["sent"], summary["lost"], summary["answered"]) == (300, 30, 270)
    assert summary["unanswered"] == summary["failed"] == 30
    assert len({ident for _, ident in site.requests}) == len(site.requests) == 300
    failures = [line for line in lines if line["type"] == "failure"]
    assert len(failures) == 30
    assert {(line["method"], line["fate"]) for line in failures} == {("POST", "lost")}
    assert summary["downtime_s"] > 0


@pytest.mark.parametrize(
    ("answer", "fate"),
    [
        (b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", "bad_status"),
        (b"HTTP/1.1 200 OK\r\nX-Witness-Id: another\r\nContent-Length: 0\r\n\r\n", "wrong"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "wrong"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more", "wrong"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ncut", "timed_out"),
    ],
)
async def test_every_other_answer_has_its_own_count(answer: bytes, fate: str, serve: Serve) -> None:
    options = ["--clients", "3", "--requests", "12", *(["--timeout", "1"] if fate == "timed_out" else [])]
    summary, _ = await witnessed(*options, port=await serve(Site(answer=lambda _, good: answer)))
    assert summary[fate] == summary["failed"] == summary["sent"] == 12


async def test_an_answer_that_is_cut_short_is_lost(serve: Serve) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ncut")
        await writer.drain()

    summary, lines = await witnessed(
        "--clients", "1", "--requests", "3", "--post-share", "0", port=await serve(handler)
    )
    assert summary["lost"] == 3
    assert "within the answer" in next(line for line in lines if line["type"] == "failure")["detail"]


async def test_a_silent_site_is_down_for_the_whole_time(serve: Serve) -> None:
    options = ("--rate", "50", "--duration", "1", "--timeout", "0.5")
    summary, _ = await witnessed(*options, port=await serve(silent))
    assert summary["timed_out"] == summary["sent"] > 0
    assert summary["downtime_s"] >= 1.0
    assert summary["outages"] == 1


async def test_a_refused_connection_is_no_connection() -> None:
    summary, lines = await witnessed("--rate", "50", "--duration", "0.5", port=free_port())
    assert summary["no_connection"] == summary["sent"] > 0
    assert "111" in next(line for line in lines if line["type"] == "failure")["detail"]


async def test_sigterm_ends_with_a_summary_in_the_file(serve: Serve, tmp_path: Path) -> None:
    report = tmp_path / "report.jsonl"
    site = Site()
    async with started("--rate", "100", "--report", str(report), port=await serve(site)) as process:
        await until(lambda: len(site.requests) > 20)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            assert await process.wait() == 0
    last = json.loads(report.read_text().splitlines()[-1])
    assert (last["type"], last["failed"], last["in_flight"]) == ("summary", 0, 0)


async def test_a_second_sigterm_waits_for_nothing(serve: Serve, tmp_path: Path) -> None:
    arrived = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        arrived.set()
        await reader.read()

    options = ("--rate", "10", "--timeout", "500")
    async with started(*options, port=await serve(handler)) as process, asyncio.timeout(60):
        await arrived.wait()
        waiting = asyncio.ensure_future(process.communicate())
        while not waiting.done():
            process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.1)
        out, _ = await waiting
    last = json.loads(out.decode().splitlines()[-1])
    assert (last["failed"], last["in_flight"] > 0) == (0, True)


async def test_a_witness_that_was_stopped_blames_nobody(serve: Serve) -> None:
    site = Site()
    async with started("--rate", "100", port=await serve(site)) as process, asyncio.timeout(60):
        await until(lambda: len(site.requests) > 10)
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(1.5)  # as long as a machine that is migrated stands still
        process.send_signal(signal.SIGCONT)
        before = len(site.requests)
        await until(lambda: len(site.requests) > before + 10)
        process.send_signal(signal.SIGTERM)
        out, _ = await process.communicate()
    last = json.loads(out.decode().splitlines()[-1])
    assert (last["failed"], last["downtime_s"]) == (0, 0.0)
    assert last["witness_skipped"] > 0


async def test_https_is_verified_under_the_name_of_the_service(
    serve: Serve, authority: Authority, stranger: Authority
) -> None:
    port = await serve(Site(), authority.server("app.example.com"))
    options = ("--tls", "--host", "app.example.com", "--rate", "50", "--duration", "1")
    summary, _ = await witnessed(*options, "--ca", authority.ca_file, port=port)
    assert summary["failed"] == 0
    summary, lines = await witnessed(*options, "--ca", stranger.ca_file, port=port)
    assert summary["no_connection"] == summary["sent"] > 0
    assert "CERTIFICATE_VERIFY_FAILED" in next(line for line in lines if line["type"] == "failure")["detail"]


async def test_websockets_echo_beside_the_requests_and_a_cut_one_is_counted_and_opened_again() -> None:
    opened = 0

    async def echo(connection: ServerConnection) -> None:
        nonlocal opened
        opened += 1
        async for message in connection:
            await connection.send(message)
            if opened == 1:
                return  # cut while idle

    async with serve_websockets(echo, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        options = ("--websockets", "1", "--websocket-every", "0.05", "--rate", "0.01", "--report-every", "0.1")
        async with started(*options, port=port) as process:
            await until(lambda: opened >= 2)
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(30):
                out, _ = await process.communicate()
    lines = [json.loads(line) for line in out.decode().splitlines()]
    assert lines[-1]["websockets_cut"] == 1
    lost = [line for line in lines if line["type"] == "failure" and line["method"] == "WEBSOCKET"]
    assert [line["fate"] for line in lost] == ["lost"]


async def test_a_site_without_websockets_fails_each_opening(serve: Serve) -> None:
    options = ("--websockets", "2", "--rate", "0.01", "--duration", "0.3")
    summary, lines = await witnessed(*options, port=await serve(Site()))
    assert summary["no_connection"] >= 2
    details = [line["detail"] for line in lines if line["type"] == "failure"]
    assert all("status 200 instead of an upgrade" in detail for detail in details)


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (["--rate", "0"], 2, "not between 0.01 and 20000"),
        (["--rate", "fast"], 2, "invalid number value"),
        (["--path", "no-slash"], 2, "a path begins with /"),
        (["--path", "/a b"], 2, "a path begins with /"),
        (["--post-share", "2"], 2, "not between 0 and 1"),
        (["--report", "/nonexistent/report"], 1, "check --report"),
        (["--tls", "--ca", "/nonexistent/ca"], 1, "check --report, --ca"),
    ],
)
async def test_bad_options_are_an_error_and_no_traceback(options: list[str], status: int, words: str) -> None:
    async with started(*options, port=9) as process, asyncio.timeout(30):
        _, errors = await process.communicate()
    assert process.returncode == status
    assert words in errors.decode()
    assert "Traceback" not in errors.decode()


async def test_the_witness_imports_nothing_heavy() -> None:
    code = "import sys, backstay.look.traffic.__main__; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert not {"aiohttp", "pydantic", "typer", "icmplib", "cryptography"} & set(out.decode().split())
