"""The two loads: arrivals at a constant rate whatever the service does, and clients that think between requests."""

from __future__ import annotations

import asyncio
import random
from collections import deque

from backstay.look.traffic.connection import Connection
from backstay.look.traffic.flight import Flight
from backstay.look.traffic.report import Report

_TICK_S = 0.02  # how often deadlines are looked at when no request is due
_CATCH_UP_S = 1.0  # arrivals older than this are skipped: it was the witness that stood still, not the service


class OpenLoop:
    """Requests are due at a constant rate. Most go over kept connections, a share over a new one each."""

    def __init__(
        self, flight: Flight, report: Report, *, rate_per_s: float, connections: int, new_share: float
    ) -> None:
        """`connections`: how many idle ones are kept; `new_share`: of the requests, 0 to 1."""
        self._flight, self._report = flight, report
        self._every_s = 1.0 / rate_per_s
        self._connections = connections
        self._new_share = new_share
        self._idle: deque[Connection] = deque()
        self._random = random.Random()  # noqa: S311  # which request takes a new connection is no secret

    async def run(self, stop: asyncio.Event) -> None:
        """Send until `stop`."""
        clock = asyncio.get_running_loop().time
        due = clock()
        while not stop.is_set():
            now = clock()
            if now - due > _CATCH_UP_S:
                skipped = int((now - due) / self._every_s)
                self._report.skipped += skipped
                due += skipped * self._every_s
            while due <= now:
                self._report.late_s = max(self._report.late_s, now - due)
                self._send(due)
                due += self._every_s
            self._flight.expire(now)
            await asyncio.sleep(min(due - clock(), _TICK_S))

    def close(self) -> None:
        for connection in self._idle:
            connection.close()

    def _send(self, due_s: float) -> None:
        new = self._random.random() < self._new_share
        connection = None if new else self._take()
        self._flight.start(due_s, connection, self._put, self._forget, close=new)

    def _take(self) -> Connection | None:
        # The one that has been idle longest: the likeliest to be closed under a request, as a user's would be.
        while self._idle:
            connection = self._idle.popleft()
            if connection.open:
                return connection
        return None

    def _put(self, connection: Connection | None) -> None:
        if connection is None:
            return
        if len(self._idle) < self._connections:
            self._idle.append(connection)
        else:
            connection.close()

    def _forget(self, connection: Connection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)


class ClosedLoop:
    """`clients` users, each with one kept connection: a request, its answer, a pause of 0 to `think_s`, the next."""

    def __init__(self, flight: Flight, *, clients: int, think_s: float, requests: int | None) -> None:
        self._flight = flight
        self._clients, self._think_s = clients, think_s
        self._left = requests  # None: until stopped
        self._random = random.Random()  # noqa: S311  # a pause is no secret
        self._stop: asyncio.Event | None = None
        self._kept: dict[int, Connection | None] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Send until all requests are sent, or `stop`."""
        loop = asyncio.get_running_loop()
        self._stop = stop
        for client in range(self._clients):
            self._kept[client] = None
            loop.call_later(self._random.uniform(0, self._think_s), self._send, client)
        while not stop.is_set() and (self._left is None or self._left > 0):
            self._flight.expire(loop.time())
            await asyncio.sleep(_TICK_S)
        stop.set()

    def close(self) -> None:
        for connection in self._kept.values():
            if connection:
                connection.close()

    def _send(self, client: int) -> None:
        if self._left == 0 or self._stop is None or self._stop.is_set():
            return
        if self._left is not None:
            self._left -= 1
        loop = asyncio.get_running_loop()

        def after(connection: Connection | None) -> None:
            self._kept[client] = connection
            loop.call_later(self._random.uniform(0, self._think_s), self._send, client)

        self._flight.start(loop.time(), self._kept[client], after, _ignore)


def _ignore(_: Connection) -> None:
    """A client finds its closed connection when it next wants it, and opens another."""
