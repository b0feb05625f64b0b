"""How a provider's API goes wrong, whatever its protocol: an aiohttp middleware over a server that does no wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum

from aiohttp import web
from aiohttp.typedefs import Middleware

HANG_LIMIT_S = 600.0
NONSENSE = "<html>Down for maintenance</html>"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Answer(StrEnum):
    """What comes instead of the answer."""

    OWN = "own"  # the answer itself
    DENIED = "denied"  # 401
    RATE_LIMITED = "rate_limited"  # 429 with Retry-After
    ERROR = "error"  # the vendor's own way to say no
    DOWN = "down"  # 503, by whatever stands before the vendor's servers
    HANG = "hang"  # nothing, ever
    CUT = "cut"  # what was asked is done; the connection ends in the middle of the answer
    NONSENSE = "nonsense"  # 200, and a page for people


class Hits(StrEnum):
    ALL = "all"
    READS = "reads"
    WRITES = "writes"


@dataclass(slots=True, kw_only=True)
class Faults:
    """What is wrong now. All of it may be switched at any moment."""

    answer: Answer = Answer.OWN
    hits: Hits = Hits.ALL
    times: int | None = None  # how many more requests are hit; None: until healed
    retry_after_s: float = 7.0
    answer_delay_s: float = 0.0  # before each answer
    action_s: float = 0.0  # how long a route takes after it was accepted
    action_fails: bool = False  # a route is accepted, takes its time, and ends as if nothing had been asked
    _healed: asyncio.Event = field(default_factory=asyncio.Event)

    def set(self, answer: Answer, hits: Hits = Hits.ALL, times: int | None = None) -> None:
        self.answer, self.hits, self.times = answer, hits, times
        self._healed = asyncio.Event()

    def heal(self) -> None:
        """Everything is well again; requests that hang are let go."""
        self.answer, self.hits, self.times = Answer.OWN, Hits.ALL, None
        self.answer_delay_s = self.action_s = 0.0
        self.action_fails = False
        self._healed.set()

    def take(self, *, writes: bool) -> Answer:
        """What comes instead of the answer to this request."""
        hit = self.hits is Hits.ALL or (self.hits is Hits.WRITES) == writes
        if not hit or self.times == 0:
            return Answer.OWN
        if self.times is not None:
            self.times -= 1
        return self.answer

    async def hang(self) -> None:
        """Until healed."""
        try:
            async with asyncio.timeout(HANG_LIMIT_S):
                await self._healed.wait()
        except TimeoutError:
            return


def middleware(
    faults: Faults,
    writes: Callable[[web.Request], bool],
    error: Callable[[int, str], web.Response],
) -> Middleware:
    """`writes`: whether a request alters something. `error`: the vendor's way to say it, of a status and words."""

    @web.middleware
    async def between(request: web.Request, handler: Handler) -> web.StreamResponse:
        answer = faults.take(writes=writes(request))
        await asyncio.sleep(faults.answer_delay_s)
        match answer:
            case Answer.OWN:
                return await handler(request)
            case Answer.DENIED:
                return error(401, "Invalid API token.")
            case Answer.RATE_LIMITED:
                limited = error(429, "Rate limit exceeded.")
                limited.headers["Retry-After"] = f"{faults.retry_after_s:g}"
                return limited
            case Answer.ERROR:
                return error(409, "The address is in use by another request.")
            case Answer.DOWN:
                return web.Response(status=503, text="Service Unavailable")
            case Answer.NONSENSE:
                return web.Response(text=NONSENSE, content_type="text/html")
            case Answer.HANG:
                await faults.hang()
                return _cut(request)
            case Answer.CUT:
                return await _half(request, await handler(request))

    return between


def _cut(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _half(request: web.Request, whole: web.StreamResponse) -> web.StreamResponse:
    """The first half of an answer that promised more."""
    body = whole.body if isinstance(whole, web.Response) and isinstance(whole.body, bytes) else b"{}"
    half = web.StreamResponse(status=whole.status)
    half.content_type = whole.content_type
    half.content_length = len(body) + 100
    await half.prepare(request)
    await half.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()  # not abort: the half is to arrive
    return half
