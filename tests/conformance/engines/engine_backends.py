"""Backends of the conformance suite: web servers that do what the path says, and small ones of other protocols."""

from __future__ import annotations

import asyncio
import struct
from collections import Counter
from collections.abc import Awaitable, Callable

from aiohttp import WSMsgType, web

_LARGE = 256 * 1024  # more header than any test sends


class WebBackend:
    """An HTTP server that says what it got.

    | path | what it does |
    |---|---|
    | /healthz | 200, or 503 while `healthy` is False |
    | /hold... | answers once `release` is set |
    | /status/N | answers with status N |
    | /abort | closes without an answer |
    | /cut | begins an answer of 1000 bytes, and closes after 10 |
    | /ws... | a WebSocket that echoes |
    | else | 200 and JSON: backend, method, path, headers, body_bytes |
    """

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address
        self.port = 0
        self.healthy = True
        self.release = asyncio.Event()
        self.holding = 0
        self.seen: Counter[str] = Counter()  # requests by path, health checks apart
        self._runner: web.AppRunner | None = None

    async def start(self, port: int = 0) -> None:
        server = web.Application(client_max_size=64 * 1024 * 1024)
        server.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(
            server,
            max_line_size=_LARGE,
            max_field_size=_LARGE,
            access_log=None,
            handler_cancellation=True,
            shutdown_timeout=0.1,
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, self.address, port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        self.release.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if path == "/healthz":
            return web.Response(status=200 if self.healthy else 503)
        self.seen[path] += 1
        if path.startswith("/hold"):
            self.holding += 1
            try:
                await self.release.wait()
            finally:
                self.holding -= 1
        elif path.startswith("/status/"):
            return web.Response(status=int(path.rsplit("/", 1)[1]), text=self.name)
        elif path == "/abort":
            assert request.transport is not None
            request.transport.abort()
            await asyncio.sleep(0)
        elif path == "/cut":
            return await self._cut(request)
        elif path.startswith("/ws"):
            return await self._echo(request)
        body = await request.read()
        return web.json_response(
            {
                "backend": self.name,
                "method": request.method,
                "path": request.path_qs,
                "headers": [[name.lower(), value] for name, value in request.headers.items()],
                "body_bytes": len(body),
            }
        )

    async def _cut(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"0123456789")
        assert request.transport is not None
        request.transport.abort()
        return response

    async def _echo(self, request: web.Request) -> web.StreamResponse:
        peer = web.WebSocketResponse()
        await peer.prepare(request)
        async for message in peer:
            if message.type is WSMsgType.TEXT:
                await peer.send_str(f"{self.name}:{message.data}")
        return peer


Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class StreamBackend:
    """A TCP server that holds `conversation` with each client; counts the connections."""

    def __init__(self, address: str, conversation: Conversation) -> None:
        self.address = address
        self.port = 0
        self.connections = 0
        self._conversation = conversation
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, self.address, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self._conversation(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def echo_lines(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        writer.write(b"echo " + line)
        await writer.drain()


async def uwsgi_says_its_variables(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The uwsgi protocol: a packet of variables in, an HTTP answer out (uwsgi-docs, "The uwsgi Protocol")."""
    _, size, _ = struct.unpack("<BHB", await reader.readexactly(4))
    packet = await reader.readexactly(size)
    lines: list[str] = []
    position = 0
    while position < size:
        pair = []
        for _ in range(2):
            (length,) = struct.unpack_from("<H", packet, position)
            pair.append(packet[position + 2 : position + 2 + length].decode())
            position += 2 + length
        lines.append("=".join(pair))
    body = "\n".join(lines).encode()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    await writer.drain()


async def fastcgi_says_its_parameters(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A FastCGI responder, one request a connection (FastCGI specification 1.0, sections 3 to 5)."""
    parameters = b""
    request_id = 0
    while True:
        _, kind, request_id, size, padding = struct.unpack("!BBHHBx", await reader.readexactly(8))
        content = (await reader.readexactly(size + padding))[:size]
        if kind == 4:  # FCGI_PARAMS
            parameters += content
        elif kind == 5 and not content:  # the end of FCGI_STDIN
            break
    body = "\n".join(f"{name}={value}" for name, value in _fastcgi_pairs(parameters)).encode()
    answer = b"Status: 200 OK\r\nContent-Type: text/plain\r\n\r\n" + body
    for kind, content in ((6, answer), (6, b""), (3, struct.pack("!IB3x", 0, 0))):
        writer.write(struct.pack("!BBHHBx", 1, kind, request_id, len(content), 0) + content)
    await writer.drain()


def _fastcgi_pairs(data: bytes) -> list[tuple[str, str]]:
    pairs = []
    position = 0
    while position < len(data):
        lengths = []
        for _ in range(2):
            length = data[position]
            if length >= 128:
                length = struct.unpack_from("!I", data, position)[0] & 0x7FFFFFFF
                position += 3
            position += 1
            lengths.append(length)
        name_end = position + lengths[0]
        pairs.append((data[position:name_end].decode(), data[name_end : name_end + lengths[1]].decode()))
        position = name_end + lengths[1]
    return pairs
