"""How long did this event loop stand still? A tick every 50 ms while somebody is in, and how late each one came."""

from __future__ import annotations

import asyncio
from types import TracebackType

_TICK_S = 0.05
_USUAL_S = 0.02  # an event loop that does its work is this late now and then


class StallMeter:
    """`with meter:` around what must not be blamed for our own stalls; `lost_s` before and after tells them."""

    def __init__(self) -> None:
        self._users = 0
        self._lost_s = 0.0
        self._due_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        self._users += 1
        if self._timer is None:
            self._wait()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._users -= 1
        if self._users == 0 and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def lost_s(self) -> float:
        """Seconds that this loop was late in all, the tick that is overdue now included. Only differences count."""
        return self._lost_s + (self._late_s() if self._timer else 0.0)

    def _late_s(self) -> float:
        late = asyncio.get_running_loop().time() - self._due_s
        return late if late > _USUAL_S else 0.0

    def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        self._due_s = loop.time() + _TICK_S
        self._timer = loop.call_at(self._due_s, self._tick)

    def _tick(self) -> None:
        self._lost_s += self._late_s()
        self._wait()
