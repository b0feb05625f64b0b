"""Counts requests by method, route and status. What a caller may make up (a path, a method) is no label."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backstay.server.problem import route_of

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@dataclass(slots=True)
class Counts:
    """Since the start of this process."""

    started_at: float = field(default_factory=time.time)  # since the epoch
    ended: Counter[tuple[str, str, int]] = field(default_factory=Counter)  # method, route, status
    taken_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))  # by route
    under_way: int = 0


class Counting:
    """Middleware, before all others: what they refuse counts, too."""

    def __init__(self, app: ASGIApp, counts: Counts, clock: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._counts = counts
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        counts, began, status = self._counts, self._clock(), 0

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        counts.under_way += 1
        try:
            await self._app(scope, receive, noted)
        finally:
            counts.under_way -= 1
            route = route_of(scope)
            method = scope["method"] if scope["method"] in METHODS else "other"
            counts.ended[method, route, status] += 1  # 0: the client went before there was an answer
            counts.taken_s[route] += self._clock() - began
