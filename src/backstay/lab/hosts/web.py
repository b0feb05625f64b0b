"""Demo web server: answers with its name; health on ports of its own; can be told to fail, to slow down and to lie.

    python -m backstay.lab.hosts.web --name web1 --address 10.1.1.11 --serve 8000 --health 8001 --control web1.sock

GET and POST answer JSON: server, method, path, request id, and the body that came (up to ECHO_MAX_BYTES).
An `Upgrade: websocket` on any path is accepted and echoes messages (RFC 6455, no fragments, no extensions).
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import json
import signal
from collections import Counter

from backstay.lab.hosts.control import serve_control

HEAD_MAX_BYTES = 131_072
BODY_MAX_BYTES = 16_777_216
ECHO_MAX_BYTES = 4_096
FRAME_MAX_BYTES = 1_048_576
ECHOED = ("x-request-id", "x-witness-id")  # the witness tells by it that an answer is for its own request
LB_HEADER = "x-backstay-lb"
WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
REASONS = {200: "OK", 400: "Bad Request", 413: "Content Too Large", 500: "Internal Server Error", 503: "Unavailable"}


class Behaviour:
    """How this server behaves now; altered by its control socket, read at every request."""

    def __init__(self, name: str, service_s: float) -> None:
        self.name = name
        self.service_s = service_s  # time that a request takes
        self.factor = 1.0  # times that
        self.health = True
        self.serve = True
        self.served: Counter[str] = Counter()  # load balancer -> requests on the serving port, failed ones too

    def apply(self, message: dict[str, object]) -> dict[str, object]:
        """Alter what the message names; the state after it. Raises ValueError, and alters nothing, for a bad one."""
        unknown = set(message) - {"factor", "health", "serve"}
        if unknown:
            raise ValueError(f"unknown settings: {', '.join(sorted(unknown))}")
        numbers = {key: float(str(value)) for key, value in message.items()}
        self.factor = numbers.get("factor", self.factor)
        self.health = bool(numbers.get("health", self.health))
        self.serve = bool(numbers.get("serve", self.serve))
        return {"served": dict(self.served), "factor": self.factor, "health": self.health, "serve": self.serve}


class Bad(Exception):
    """What came is no request that we serve; args: status."""


class Request:
    """Head of a request: method, path, headers (lower case)."""

    def __init__(self, head: bytes) -> None:
        lines = head.decode("latin-1").split("\r\n")
        parts = lines[0].split(" ")
        if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
            raise Bad(400)
        self.method, self.path, version = parts
        self.headers: dict[str, str] = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon:
                raise Bad(400)
            self.headers[name.lower()] = value.strip()
        connection = self.headers.get("connection", "").lower()
        self.keep_alive = connection != "close" if version == "HTTP/1.1" else connection == "keep-alive"
        self.chunked = "chunked" in self.headers.get("transfer-encoding", "").lower()
        length = self.headers.get("content-length", "0")
        if not length.isdigit():
            raise Bad(400)
        self.length = int(length)
        if self.length > BODY_MAX_BYTES:
            raise Bad(413)

    @property
    def websocket(self) -> bool:
        return self.headers.get("upgrade", "").lower() == "websocket" and "sec-websocket-key" in self.headers


class Server:
    """One connection after the other, request by request; pipelining waits its turn."""

    def __init__(self, behaviour: Behaviour, health_path: str, *, health_here: bool) -> None:
        self.behaviour = behaviour
        self.health_path = health_path
        self.health_here = health_here  # there is no health port, so the path answers on the serving port

    async def on_serving_port(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._connection(reader, writer, health_only=False)

    async def on_health_port(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._connection(reader, writer, health_only=True)

    async def _connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, health_only: bool
    ) -> None:
        try:
            while await self._request(reader, writer, health_only=health_only):
                pass
        except Bad as bad:
            self._answer(writer, bad.args[0], b"", keep_alive=False)
        except (OSError, EOFError, asyncio.LimitOverrunError, ValueError):
            pass  # the peer went away, or sent what no proxy sends
        finally:
            writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, health_only: bool) -> bool:
        """Serve one request; True when another may follow on this connection."""
        head = await reader.readuntil(b"\r\n\r\n")
        request = Request(head[:-4])
        if request.websocket and not health_only:
            await self._websocket(request, reader, writer)
            return False
        body = await _body(request, reader)
        if health_only or (self.health_here and request.path.partition("?")[0] == self.health_path):
            ready = self.behaviour.health
            answer = b"ready\n" if ready else b"unhealthy\n"
            self._answer(writer, 200 if ready else 503, answer, keep_alive=request.keep_alive)
            return request.keep_alive
        self.behaviour.served[request.headers.get(LB_HEADER, "")] += 1
        if not self.behaviour.serve:
            self._answer(writer, 500, b"told to fail\n", keep_alive=request.keep_alive)
        else:
            if delay_s := self.behaviour.service_s * self.behaviour.factor:
                await asyncio.sleep(delay_s)
            self._answer(writer, 200, self._content(request, body), keep_alive=request.keep_alive, request=request)
        await writer.drain()
        return request.keep_alive

    def _content(self, request: Request, body: bytes) -> bytes:
        content = {
            "server": self.behaviour.name,
            "method": request.method,
            "path": request.path,
            "request_id": request.headers.get("x-request-id"),
            "load_balancer": request.headers.get(LB_HEADER),
            "body": body[:ECHO_MAX_BYTES].decode("utf-8", "replace"),
        }
        return json.dumps(content).encode() + b"\n"

    def _answer(
        self,
        writer: asyncio.StreamWriter,
        status: int,
        body: bytes,
        *,
        keep_alive: bool,
        request: Request | None = None,
    ) -> None:
        kind = "application/json" if request else "text/plain"
        head = [
            f"HTTP/1.1 {status} {REASONS[status]}",
            f"Content-Type: {kind}",
            f"Content-Length: {len(body)}",
            f"X-Server: {self.behaviour.name}",
            f"Connection: {'keep-alive' if keep_alive else 'close'}",
        ]
        if request:
            head += [f"{name}: {request.headers[name]}" for name in ECHOED if name in request.headers]
        head_only = request is not None and request.method == "HEAD"
        writer.write("\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + (b"" if head_only else body))

    async def _websocket(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        key = request.headers["sec-websocket-key"].encode()
        accept = base64.b64encode(hashlib.sha1(key + WEBSOCKET_GUID).digest()).decode()  # noqa: S324 - RFC 6455
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            + f"Sec-WebSocket-Accept: {accept}\r\nX-Server: {self.behaviour.name}\r\n\r\n".encode()
        )
        while True:
            opcode, payload = await _read_frame(reader)
            if opcode == 8:  # close: the same back, then the end
                writer.write(_frame(8, payload))
                await writer.drain()
                return
            writer.write(_frame(10 if opcode == 9 else opcode, payload))  # a ping's answer is a pong
            await writer.drain()


async def _body(request: Request, reader: asyncio.StreamReader) -> bytes:
    if not request.chunked:
        return await reader.readexactly(request.length)
    body = b""
    while True:
        size = int((await reader.readline()).partition(b";")[0], 16)
        if len(body) + size > BODY_MAX_BYTES:
            raise Bad(413)
        body += await reader.readexactly(size)
        if size == 0:
            while (await reader.readline()).strip():
                pass  # trailers
            return body
        await reader.readexactly(2)


async def _read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    first, second = await reader.readexactly(2)
    length = second & 0x7F
    if length == 126:
        length = int.from_bytes(await reader.readexactly(2), "big")
    elif length == 127:
        length = int.from_bytes(await reader.readexactly(8), "big")
    if not second & 0x80 or length > FRAME_MAX_BYTES:
        raise ValueError("an unmasked or oversized frame")
    mask = await reader.readexactly(4)
    payload = await reader.readexactly(length)
    return first & 0x0F, bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


def _frame(opcode: int, payload: bytes) -> bytes:
    head = bytes([0x80 | opcode])
    if len(payload) < 126:
        return head + bytes([len(payload)]) + payload
    if len(payload) < 65_536:
        return head + b"\x7e" + len(payload).to_bytes(2, "big") + payload
    return head + b"\x7f" + len(payload).to_bytes(8, "big") + payload


async def run(options: argparse.Namespace) -> None:
    behaviour = Behaviour(options.name, options.service_ms / 1000)
    server = Server(behaviour, options.health_path, health_here=not options.health)
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    listeners = [
        await asyncio.start_server(handler, options.address, port, limit=HEAD_MAX_BYTES, backlog=1024)
        for handler, ports in ((server.on_serving_port, options.serve), (server.on_health_port, options.health))
        for port in ports
    ]
    listeners.append(await serve_control(options.control, behaviour.apply))
    await ended.wait()
    for listener in listeners:
        listener.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True)
    parser.add_argument("--address", required=True)
    parser.add_argument("--serve", type=int, action="append", default=[])
    parser.add_argument("--health", type=int, action="append", default=[])
    parser.add_argument("--health-path", default="/healthz")
    parser.add_argument("--control", required=True)
    parser.add_argument("--service-ms", type=float, default=5.0)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
