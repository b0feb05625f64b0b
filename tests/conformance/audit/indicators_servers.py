"""HTTP servers of a test's own: one that answers what it is told to, however bad, and one that answers pages."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from pathlib import Path

Say = Callable[[str, asyncio.StreamWriter], None]  # the request's head, and where to answer


class Server:
    """`say` writes the whole answer, and the connection ends after it. While `hangs`, nothing is said."""

    def __init__(self, say: Say, *, until: bytes = b"\r\n\r\n") -> None:
        self.say = say
        self._until = until  # the end of what is asked
        self.hangs = False
        self.heads: list[str] = []
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def start(self, address: str = "127.0.0.1", port: int = 0, *, tls: ssl.SSLContext | None = None) -> Server:
        self._server = await asyncio.start_server(self._serve, address, port, ssl=tls)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def start_at(self, path: Path) -> Server:
        self._server = await asyncio.start_unix_server(self._serve, str(path))
        return self

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                head = (await reader.readuntil(self._until)).decode()
                self.heads.append(head)
                if self.hangs:
                    await reader.read()  # until the other one has enough
                self.say(head, writer)
                await writer.drain()
        finally:
            self._tasks.discard(task)
            writer.close()


def answer(writer: asyncio.StreamWriter, status: int, body: str, *, length: int | None = None, more: str = "") -> None:
    """`length`: what is said of the body, where that is not so."""
    raw = body.encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(raw) if length is None else length}\r\n{more}"
    writer.write(head.encode() + b"Connection: close\r\n\r\n" + raw)


def page(text: Callable[[], str]) -> Say:
    """Answers every request with what `text` gives then."""
    return lambda _, writer: answer(writer, 200, text())
