"""Small backends for the benches: `python -m benches.echo ADDRESS PORT...` answers each request with its own body.

A Protocol rather than a framework: it shares two cores with the engine and the clients that are measured.
"""

from __future__ import annotations

import asyncio
import sys

_HEAD_LIMIT_BYTES = 65_536


class Echo(asyncio.Protocol):
    """HTTP/1.1 with Content-Length, keep-alive until the client says otherwise."""

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._transport is not None and self._answer(self._transport):
            pass

    def _answer(self, transport: asyncio.Transport) -> bool:
        """Answer one request, when all of it is there."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > _HEAD_LIMIT_BYTES:
                transport.abort()
            return False
        head = self._buffer[:end].lower()
        length = _number(head, b"\r\ncontent-length:")
        if len(self._buffer) < end + 4 + length:
            return False
        body, self._buffer = self._buffer[end + 4 : end + 4 + length], self._buffer[end + 4 + length :]
        transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        if b"\r\nconnection: close" in head or b" http/1.0\r\n" in head:
            transport.close()
            return False
        return bool(self._buffer)


def _number(head: bytes, name: bytes) -> int:
    start = head.find(name)
    if start < 0:
        return 0
    start += len(name)
    end = head.find(b"\r\n", start)
    return int(head[start : end if end >= 0 else len(head)])


async def serve(address: str, ports: list[int]) -> None:
    loop = asyncio.get_running_loop()
    for port in ports:
        await loop.create_server(Echo, address, port, backlog=1024)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], [int(port) for port in sys.argv[2:]]))
