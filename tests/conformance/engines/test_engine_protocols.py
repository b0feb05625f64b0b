"""WebSocket, TCP, FastCGI and uWSGI: the protocols beside plain HTTP."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from engine_backends import (
    Conversation,
    StreamBackend,
    echo_lines,
    fastcgi_says_its_parameters,
    uwsgi_says_its_variables,
)
from engine_site import ADDRESS, HOST, LB, Site, add_pool, add_tcp, eventually, free_port, make_pool, with_backend
from websockets.asyncio.client import ClientConnection, connect

from backstay.balance.model import Backend, BackendState, DesiredPool, How
from backstay.estate.model import Fastcgi, Protocol


@asynccontextmanager
async def _web_socket(site: Site, path: str = "/ws") -> AsyncIterator[ClientConnection]:
    # The URI names the host that is asked for, host and port where the connection goes.
    async with connect(
        f"ws://{HOST}{path}", host=ADDRESS, port=site.http_port, proxy=None, open_timeout=20, close_timeout=5
    ) as client:
        yield client


def _with_web_socket(site: Site) -> None:
    pool = site.desired.pools[0]
    site.desired = add_pool(site.desired, make_pool("live", *pool.backends), path="/ws", websocket=True)


async def test_a_web_socket_carries_messages_both_ways(site: Site) -> None:
    _with_web_socket(site)
    await site.apply()
    async with _web_socket(site) as client:
        for number in range(3):
            await client.send(f"ping {number}")
            assert str(await client.recv()).endswith(f":ping {number}")


async def test_a_web_socket_survives_a_reload_and_a_drain_of_its_backend(site: Site) -> None:
    _with_web_socket(site)
    await site.apply()
    async with _web_socket(site) as client:
        await client.send("who")
        backend = str(await client.recv()).split(":")[0]
        desired = with_backend(site.desired, backend, pool="live", state=BackendState.DRAINING)
        await site.apply(desired)
        await site.apply(add_pool(site.desired, make_pool("more", *site.desired.pools[0].backends), path="/more"))
        await client.send("still there?")
        assert await client.recv() == f"{backend}:still there?"
        seen = await eventually(lambda: site.stats_of(backend, "live"), lambda stats: stats.in_flight == 1)
        assert seen.in_flight == 1


async def test_a_route_that_is_no_web_socket_does_not_become_one(site: Site) -> None:
    await site.apply()
    handshake = {  # a complete one (RFC 6455, 4.1): HAProxy answers 400 to less by itself
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    }
    answer = await site.get("/plain", headers=handshake)
    assert answer.status == 200
    assert not [name for name, _ in answer.said["headers"] if name == "upgrade"]


@asynccontextmanager
async def _stream_backend(conversation: Conversation) -> AsyncIterator[StreamBackend]:
    backend = StreamBackend(ADDRESS, conversation)
    await backend.start()
    try:
        yield backend
    finally:
        await backend.stop()


def _one(name: str, port: int, protocol: Protocol, fastcgi: Fastcgi | None = None) -> DesiredPool:
    backend = Backend(name=f"{name}1", address=ADDRESS, port=port)
    return make_pool(name, backend, protocol=protocol, fastcgi=fastcgi)


async def test_a_tcp_pool_carries_bytes_both_ways_and_through_a_reload(site: Site) -> None:
    port = free_port()
    async with _stream_backend(echo_lines) as backend:
        await site.apply(add_tcp(site.desired, _one("queue", backend.port, Protocol.TCP), port))
        reader, writer = await asyncio.open_connection(ADDRESS, port)
        writer.write(b"one\n")
        assert await asyncio.wait_for(reader.readline(), 20) == b"echo one\n"
        assert (await site.stats_of("queue1", "queue")).in_flight == 1
        applied = await site.apply(with_backend(site.desired, "queue1", pool="queue", state=BackendState.DRAINING))
        assert applied.how in {How.RUNTIME, How.RELOAD}
        writer.write(b"two\n")
        assert await asyncio.wait_for(reader.readline(), 20) == b"echo two\n"
        assert (await site.stats_of("queue1", "queue")).in_flight == 1
        writer.close()
        await eventually(lambda: site.stats_of("queue1", "queue"), lambda stats: stats.in_flight == 0)


async def test_a_tcp_session_goes_to_another_backend_where_one_refuses(site: Site) -> None:
    port = free_port()
    async with _stream_backend(echo_lines) as backend:
        dead = Backend(name="queue1", address=ADDRESS, port=free_port())
        live = Backend(name="queue2", address=ADDRESS, port=backend.port)
        await site.apply(add_tcp(site.desired, make_pool("queue", dead, live, protocol=Protocol.TCP), port))
        for _ in range(4):
            reader, writer = await asyncio.open_connection(ADDRESS, port)
            writer.write(b"hello\n")
            assert await asyncio.wait_for(reader.readline(), 20) == b"echo hello\n"
            writer.close()


async def test_a_fastcgi_backend_gets_its_script_and_our_headers(site: Site) -> None:
    async with _stream_backend(fastcgi_says_its_parameters) as backend:
        fastcgi = Fastcgi(document_root="/srv/app", index="index.php")
        pool = _one("php", backend.port, Protocol.FASTCGI, fastcgi)
        await site.apply(add_pool(site.desired, pool, path="/php"))
        answer = await site.get("/php/api.php/users/7?x=1", headers={"X-Backstay-LB": "evil", "Proxy": "evil"})
        told = dict(line.split("=", 1) for line in answer.body.decode().splitlines())
        assert told["SCRIPT_FILENAME"] == "/srv/app/php/api.php"
        assert told["PATH_INFO"] == "/users/7"
        assert told["QUERY_STRING"] == "x=1"
        assert told["REQUEST_METHOD"] == "GET"
        assert told["HTTP_HOST"] == HOST
        assert told["HTTP_X_BACKSTAY_LB"] == LB
        assert not told.get("HTTP_PROXY")
        folder = await site.get("/php/")
        told = dict(line.split("=", 1) for line in folder.body.decode().splitlines())
        assert told["SCRIPT_FILENAME"] == "/srv/app/php/index.php"


async def test_a_real_php_fpm_answers(site: Site, tmp_path: Path) -> None:
    program = next(iter(sorted(Path("/usr/sbin").glob("php-fpm*"))), None)
    if program is None:
        pytest.skip("no php-fpm on this machine")
    port = free_port()
    root = tmp_path / "www"
    (root / "php").mkdir(parents=True)
    (root / "php" / "index.php").write_text('<?php echo $_SERVER["HTTP_X_BACKSTAY_LB"], ":", $_POST["n"] * 6;')
    config = tmp_path / "fpm.conf"
    config.write_text(
        f"[global]\nerror_log = {tmp_path}/fpm.log\ndaemonize = no\n[www]\nlisten = {ADDRESS}:{port}\n"
        "user = root\ngroup = root\npm = static\npm.max_children = 2\n"
    )
    process = subprocess.Popen(
        [program, "-R", "-n", "-y", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        pool = _one("php", port, Protocol.FASTCGI, Fastcgi(document_root=str(root)))
        await site.apply(add_pool(site.desired, pool, path="/php"))
        answer = await eventually(
            lambda: site.get("/php/", method="POST", data={"n": "7"}), lambda answer: answer.status == 200
        )
        assert answer.body == f"{LB}:42".encode()
    finally:
        process.terminate()
        process.wait()


@pytest.mark.not_for("haproxy", "speaks no uWSGI; validate refuses such a pool")
async def test_a_uwsgi_backend_gets_its_variables_and_our_headers(site: Site) -> None:
    async with _stream_backend(uwsgi_says_its_variables) as backend:
        await site.apply(add_pool(site.desired, _one("py", backend.port, Protocol.UWSGI), path="/py"))
        answer = await site.get("/py/users?x=1", headers={"X-Backstay-LB": "evil"})
        told = dict(line.split("=", 1) for line in answer.body.decode().splitlines())
        assert told["PATH_INFO"] == "/py/users"
        assert told["QUERY_STRING"] == "x=1"
        assert told["HTTP_HOST"] == HOST
        assert told["HTTP_X_BACKSTAY_LB"] == LB


@pytest.mark.not_for("haproxy", "speaks no uWSGI; validate refuses such a pool")
async def test_a_real_uwsgi_server_answers(site: Site, tmp_path: Path) -> None:
    program = shutil.which("uwsgi_python3")
    if program is None:
        pytest.skip("no uwsgi_python3 on this machine")
    port = free_port()
    (tmp_path / "app.py").write_text(
        "def application(environ, start):\n"
        "    start('200 OK', [('Content-Type', 'text/plain')])\n"
        "    return [environ['HTTP_X_BACKSTAY_LB'].encode() + b':' + environ['wsgi.input'].read()]\n"
    )
    process = subprocess.Popen(
        [program, "--socket", f"{ADDRESS}:{port}", "--wsgi-file", tmp_path / "app.py", "--need-app", "--master"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
    )
    try:
        await site.apply(add_pool(site.desired, _one("py", port, Protocol.UWSGI), path="/py"))
        answer = await eventually(
            lambda: site.get("/py", method="POST", data=b"hello"), lambda answer: answer.status == 200
        )
        assert answer.body == f"{LB}:hello".encode()
    finally:
        process.kill()  # its SIGTERM means reload
        process.wait()
