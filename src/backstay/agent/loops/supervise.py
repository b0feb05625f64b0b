"""Takes a loop's turns: again and again, each within its limit, whatever the one before did.

A turn that raises or hangs is told (once a streak in the journal, each time in the log) and the loop goes on, later
and later while it keeps failing. A turn that blocks the event loop itself cannot be cancelled; `watch_event_loop`
dumps where it hangs, and systemd, which hears nothing any more, restarts the agent (the engine serves on).
"""

from __future__ import annotations

import asyncio
import faulthandler
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from backstay import systemd

BACKOFF_LIMIT_S = 30.0
EVENT_LOOP_LIMIT_S = 20.0

log = structlog.get_logger()


@dataclass(slots=True)
class Loop:
    """One loop of the agent."""

    name: str
    turn: Callable[[], Awaitable[None]]
    every_s: float  # from the end of a turn to the start of the next
    limit_s: float  # for one turn
    wake: asyncio.Event = field(default_factory=asyncio.Event)  # set it, and the next turn starts at once
    turns: int = 0
    failures: int = 0  # in a row
    failed: int = 0  # in all
    error: str = ""  # of the last turn; "" when it went well
    ended_at_s: float | None = None  # monotonic; None before the first turn has ended

    def late(self, now_s: float, started_at_s: float) -> bool:
        """No turn has ended for longer than a turn, its pause and a backoff may take."""
        since = self.ended_at_s if self.ended_at_s is not None else started_at_s
        return now_s - since > self.every_s + self.limit_s + BACKOFF_LIMIT_S


Told = Callable[[Loop, str], None]


async def run(loop: Loop, on_failure: Told) -> None:
    """Take turns until cancelled. `on_failure` is called at the first failure of a streak."""
    while True:
        loop.wake.clear()  # before the turn: what is asked for during it gets a turn of its own
        error = await _take(loop)
        loop.turns += 1
        loop.ended_at_s = time.monotonic()
        loop.error = error
        if error:
            loop.failed += 1
            loop.failures += 1
            if loop.failures == 1:
                on_failure(loop, error)
        else:
            loop.failures = 0
        await _pause(loop)


async def _take(loop: Loop) -> str:
    """One turn; what went wrong with it, "" when nothing did."""
    try:
        async with asyncio.timeout(loop.limit_s):
            await loop.turn()
    except TimeoutError:
        log.exception("a loop's turn hung", loop=loop.name, limit_s=loop.limit_s)
        return f"a turn took longer than {loop.limit_s:g} s and was ended"
    except Exception as error:  # whatever one turn does, the next is taken
        log.exception("a loop's turn failed", loop=loop.name)
        return f"{type(error).__name__}: {error}"
    return ""


async def _pause(loop: Loop) -> None:
    if loop.failures:
        # Waking a failing loop must not make it spin.
        await asyncio.sleep(min(BACKOFF_LIMIT_S, max(loop.every_s, 0.2) * 2.0 ** min(loop.failures - 1, 8)))
        return
    try:
        async with asyncio.timeout(loop.every_s):
            await loop.wake.wait()
    except TimeoutError:
        return


async def watch_event_loop() -> None:
    """As long as the event loop turns, systemd hears so and nothing is dumped."""
    watched_s = systemd.watchdog_s()
    every_s = min(1.0, watched_s / 3) if watched_s else 1.0
    try:
        while True:
            faulthandler.dump_traceback_later(EVENT_LOOP_LIMIT_S, repeat=True, file=sys.stderr)
            if watched_s:
                systemd.alive()
            await asyncio.sleep(every_s)
    finally:
        faulthandler.cancel_dump_traceback_later()
