"""One connection to the service, with at most one request in flight, and what became of it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from backstay.look.answer import Answer, BadAnswer
from backstay.look.witness import Fate


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where the service is, and under which name users know it."""

    address: str
    port: int
    host: str  # Host header, SNI, and the name that the certificate must have
    tls: ssl.SSLContext | None
    source: str | None = None


Done = Callable[["Connection", Fate, str], None]


class Connection(asyncio.Protocol):
    """Keep-alive until the server says otherwise. `lost` is told once when the connection is gone."""

    __slots__ = ("_answer", "_done", "_ident", "_lost", "transport")

    def __init__(self, lost: Callable[[Connection], None]) -> None:
        self.transport: asyncio.Transport | None = None
        self._lost = lost
        self._answer: Answer | None = None
        self._ident = b""
        self._done: Done | None = None

    @property
    def open(self) -> bool:
        return self.transport is not None and not self.transport.is_closing()

    @property
    def local_port(self) -> int | None:
        name = self.transport.get_extra_info("sockname") if self.transport else None
        return name[1] if name else None

    def send(self, payload: bytes, ident: bytes, done: Done) -> None:
        """Write a request; `done` is called once. `ident` must be found in the answer (lower case)."""
        assert self._done is None and self.transport is not None, "one request at a time, on an open connection"
        self._answer, self._ident, self._done = Answer(), ident, done
        self.transport.write(payload)

    def abort(self) -> None:
        """Forget the request, and cut the connection."""
        self._done = None
        if self.transport:
            self.transport.abort()

    def close(self) -> None:
        if self.transport:
            self.transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._done is None:
            self.abort()  # nobody asked: a 408 to an idle connection, or nonsense; no request is lost by it
            return
        try:
            if self._answer.feed(data):
                self._judge(self._answer)
        except BadAnswer as error:
            self._end(Fate.WRONG, str(error))
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and self._done is not None:
            if exc is None and self._answer.closed():
                self._judge(self._answer)
            else:
                when = "within the answer" if self._answer.begun else "without an answer"
                self._end(Fate.LOST, f"connection closed {when}" + (f": {exc}" if exc else ""))
        self.transport = None
        self._lost(self)

    def _judge(self, answer: Answer) -> None:
        if not answer.keep_alive:
            self.close()
        if answer.surplus:
            self._end(Fate.WRONG, f"{len(answer.surplus)} bytes after the end of the answer")
            self.abort()
        elif not 200 <= answer.status < 300:
            self._end(Fate.BAD_STATUS, f"status {answer.status}")
        elif self._ident in answer.head or self._ident in answer.body:
            self._end(Fate.ANSWERED, "")
        else:
            self._end(Fate.WRONG, "the answer does not carry the id of the request")

    def _end(self, fate: Fate, detail: str) -> None:
        done, self._done, self._answer = self._done, None, None
        if done:
            done(self, fate, detail)


async def dial(endpoint: Endpoint, lost: Callable[[Connection], None]) -> Connection:
    """Connect (and shake hands). Raises OSError; the caller bounds the time."""
    _, connection = await asyncio.get_running_loop().create_connection(
        lambda: Connection(lost),
        endpoint.address,
        endpoint.port,
        ssl=endpoint.tls,
        server_hostname=endpoint.host if endpoint.tls else None,
        local_addr=(endpoint.source, 0) if endpoint.source else None,
    )
    return connection
