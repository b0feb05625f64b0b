"""HTTP/1.1 connections: uvicorn's over httptools (a C parser), with the limits that it leaves to others.

A head has at most so many bytes and must be there within so many seconds; limits of a body are those of access/wall.py.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_LIMIT_BYTES = 32 * 1024
HEAD_TIMEOUT_S = 15.0


PIECE_BYTES = 32 * 1024


class Pieces:
    """A transport that is written to piece by piece.

    OpenSSL's buffer of a connection grows to the largest write and never shrinks: an estate of 200 KB, written at once
    to a thousand agents, would stay 300 MB of memory for as long as they are connected.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        for start in range(0, len(data), PIECE_BYTES):
            self._transport.write(data if len(data) <= PIECE_BYTES else data[start : start + PIECE_BYTES])


class BoundedHttp(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._in_head = True  # the head of a request is not complete
        self._head_bytes = 0
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast(asyncio.Transport, Pieces(transport)))
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_there()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
            if self._late is None:
                self._await_head()
        super().data_received(data)
        if self._in_head and self._head_bytes > HEAD_LIMIT_BYTES and not self.transport.is_closing():
            self.send_400_response(f"A request's head has at most {HEAD_LIMIT_BYTES} bytes.")

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_is_there()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head = True  # of the next one
        self._head_bytes = 0
        super().on_message_complete()

    def _await_head(self) -> None:
        self._late = self.loop.call_later(HEAD_TIMEOUT_S, self._too_late)

    def _head_is_there(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _too_late(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
