"""When each of many targets is due: a fixed rate each, spread out, and jittered. Pure.

Phases are spread over the interval by a hash of the key, so that a thousand targets added at once are not probed at
once, and two load balancers (their `salt`) do not probe the same target at the same moment. Jitter, of the same hash,
keeps probes from marching in step with something periodic on the target. It is added to each due time, not to the next
one, so the rate stays exact. Missed ticks are skipped, not made up for: after a pause there is no burst of old probes.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar
from zlib import crc32

Key = TypeVar("Key", bound=Hashable)

JITTER = 0.1  # of the interval, at most, after the exact time


@dataclass(slots=True)
class _Plan:
    every_s: float
    start_s: float
    tick: int
    version: int  # entries of the heap with another version are of an earlier plan


class Schedule(Generic[Key]):
    """Due times of any number of keys. Adding, removing and finding the next cost O(log n)."""

    def __init__(self, *, salt: str = "") -> None:
        """`salt`: who probes (the load balancer's name)."""
        self._salt = salt
        self._plans: dict[Key, _Plan] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._version = 0

    def __len__(self) -> int:
        return len(self._plans)

    def __contains__(self, key: Key) -> bool:
        return key in self._plans

    def put(self, key: Key, every_s: float, now_s: float, *, at_once: bool = False, phase: float | None = None) -> None:
        """Have `key` due every `every_s` from now on; an earlier plan of it is replaced, and an equal one kept.

        `at_once`: the first time is now (a burst after a miss); else somewhere within the first interval: at `phase`
        (0..1) of it, for keys that are to take turns.
        Raises ValueError for an interval that is not positive.
        """
        if not (every_s > 0 and math.isfinite(every_s)):
            raise ValueError(f"{key!r}: an interval of {every_s} s; give a positive one")
        known = self._plans.get(key)
        if known and known.every_s == every_s and not at_once:
            return
        self._version += 1
        start = now_s if at_once else now_s + (self._fraction(key, 0) if phase is None else phase) * every_s
        self._plans[key] = _Plan(every_s, start, 0, self._version)
        heapq.heappush(self._heap, (start, self._version, key))

    def remove(self, key: Key) -> None:
        """Forget `key`; unknown keys are fine."""
        self._plans.pop(key, None)

    def next_s(self) -> float | None:
        """When something is due next; None when nothing is planned."""
        self._drop_stale()
        return self._heap[0][0] if self._heap else None

    def due(self, now_s: float) -> list[Key]:
        """The keys that are due by `now_s`, earliest first, each at most once; each is planned again."""
        found = []
        while (at := self.next_s()) is not None and at <= now_s:
            _, version, key = heapq.heappop(self._heap)
            plan = self._plans[key]
            missed = math.floor((now_s - plan.start_s) / plan.every_s)
            plan.tick = max(plan.tick + 1, missed + 1)
            heapq.heappush(self._heap, (self._time(key, plan), version, key))
            found.append(key)
        return found

    def _time(self, key: Key, plan: _Plan) -> float:
        return plan.start_s + (plan.tick + JITTER * self._fraction(key, plan.tick)) * plan.every_s

    def _fraction(self, key: Key, tick: int) -> float:
        """A number in 0..1 that looks random and is the same on every run."""
        return crc32(f"{self._salt}/{key}/{tick}".encode()) / 2**32

    def _drop_stale(self) -> None:
        while self._heap:
            _, version, key = self._heap[0]
            plan = self._plans.get(key)
            if plan is not None and plan.version == version:
                return
            heapq.heappop(self._heap)
