"""Requests in flight: each is written once, on a kept or a new connection, and ends once. Nothing is ever retried."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from backstay.look.traffic.connection import Connection, Endpoint, dial
from backstay.look.traffic.report import Report
from backstay.look.witness import Fate, Witness


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is asked, and how long for."""

    path: str = "/"
    timeout_s: float = 5.0
    post_share: float = 0.5  # of the requests
    body_bytes: int = 256  # of a POST


@dataclass(slots=True)
class Request:
    number: int
    ident: str
    method: str
    payload: bytes
    deadline_s: float
    close: bool  # asked the server to close after the answer, so nothing more may be sent (RFC 9112, 9.6)
    after: Callable[[Connection | None], None]  # told when it ended, with the connection if that is still good
    connection: Connection | None = None
    dialing: asyncio.Task[None] | None = None


class Flight:
    """Every request between its start and its end; at most `timeout_s` each."""

    def __init__(self, endpoint: Endpoint, load: Load, witness: Witness, report: Report) -> None:
        self._endpoint, self._load = endpoint, load
        self._witness, self._report = witness, report
        self._clock = asyncio.get_running_loop().time
        self._open: dict[int, Request] = {}  # in the order of their deadlines, since all have the same timeout
        self._run = secrets.token_hex(4)
        self._random = random.Random()  # noqa: S311  # which request is a POST is no secret

    def __len__(self) -> int:
        return len(self._open)

    def start(
        self,
        due_s: float,
        connection: Connection | None,
        after: Callable[[Connection | None], None],
        lost: Callable[[Connection], None],
        *,
        close: bool = False,
    ) -> None:
        """Send a request on `connection`, or on a new one. `close`: ask the server to close after the answer."""
        number = self._witness.sent(due_s)
        ident = f"{self._run}-{number:08x}"
        method = "POST" if self._random.random() < self._load.post_share else "GET"
        payload = self._payload(method, ident, close=close)
        request = Request(number, ident, method, payload, self._clock() + self._load.timeout_s, close, after)
        self._open[number] = request
        if connection is not None and connection.open:
            self._write(request, connection)
        else:
            request.dialing = asyncio.get_running_loop().create_task(self._dial(request, lost))

    def expire(self, now_s: float) -> None:
        """End what is past its deadline."""
        while self._open:
            oldest = next(iter(self._open.values()))
            if oldest.deadline_s > now_s:
                return
            self._cut(oldest)
            words = "no answer" if oldest.connection else "no connection"
            self._end(oldest, None, Fate.TIMED_OUT, f"{words} within {self._load.timeout_s:g} s")

    def abandon(self) -> None:
        """Forget all that is in flight: those requests stay counted as in flight, not as failed."""
        for request in self._open.values():
            self._cut(request)
        self._open.clear()

    def _cut(self, request: Request) -> None:
        if request.dialing:
            request.dialing.cancel()
        if request.connection:
            request.connection.abort()

    async def _dial(self, request: Request, lost: Callable[[Connection], None]) -> None:
        try:
            connection = await dial(self._endpoint, lost)
        except OSError as error:
            request.dialing = None
            self._end(request, None, Fate.NO_CONNECTION, str(error))
            return
        request.dialing = None
        if connection.open:
            self._write(request, connection)
        else:
            self._end(request, None, Fate.NO_CONNECTION, "closed as soon as it was open")

    def _write(self, request: Request, connection: Connection) -> None:
        request.connection = connection

        def done(connection: Connection, fate: Fate, detail: str) -> None:
            self._end(request, connection, fate, detail)

        connection.send(request.payload, request.ident.encode(), done)

    def _end(self, request: Request, connection: Connection | None, fate: Fate, detail: str) -> None:
        if self._open.pop(request.number, None) is None:
            return
        self._witness.ended(request.number, fate, self._clock())
        if fate is not Fate.ANSWERED:
            port = request.connection.local_port if request.connection else None
            self._report.failure(ident=request.ident, method=request.method, fate=fate, detail=detail, local_port=port)
        if connection is not None and request.close:
            connection.close()
        request.after(connection if connection is not None and connection.open else None)

    def _payload(self, method: str, ident: str, *, close: bool) -> bytes:
        body = ident.ljust(self._load.body_bytes, ".") if method == "POST" else ""
        head = (
            f"{method} {self._load.path} HTTP/1.1\r\nHost: {self._endpoint.host}\r\n"
            f"User-Agent: backstay-witness\r\nX-Witness-Id: {ident}\r\n"
        )
        if close:
            head += "Connection: close\r\n"
        if method == "POST":
            head += f"Content-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
        return (head + "\r\n" + body).encode()
