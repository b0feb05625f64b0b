"""The engine's life: the one way to alter it, and the watchdog that brings a dead one back with what it ran last."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

from backstay.agent.world import World
from backstay.balance.model import Applied, Desired, How
from backstay.balance.pace import Pace, When, when
from backstay.balance.ports import ConfigRefused, EngineFailed

RESTART_BACKOFF_LIMIT_S = 30.0
STEADY_S = 60.0  # an engine that lived this long died of something new


class Applier:
    """The one way to alter the engine: one at a time, journaled before, verified after.

    Shares that creep (an engine that takes them at runtime hears of every step) are journaled once they have moved
    by 10% together; the rescaler's log has every step.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._lock = asyncio.Lock()
        self._told: Desired | None = None  # what the journal knows to run

    async def apply(self, wanted: Desired, *, kind: str, reason: str, cause: str | None = None) -> Applied | None:
        """Make `wanted` run; None when it was refused or failed, and what ran before runs on. `kind`: of the event."""
        world, running = self._world, self._world.running
        subject = f"lb/{world.lb}"
        async with self._lock:
            about = {"revision": wanted.revision, "before": running.desired.revision if running.desired else None}
            creeps = self._creeps(wanted)
            event = None if creeps else world.record(kind, subject, reason, data=about, cause=cause)
            try:
                applied = await self._apply_and_verify(wanted)
            except (ConfigRefused, EngineFailed, OSError) as error:
                running.error = str(error)
                running.applies["failed"] = running.applies.get("failed", 0) + 1
                what = "engine.refused" if isinstance(error, ConfigRefused) else "engine.failed"
                world.record(what, subject, str(error), data=about, cause=event)
                return None
            self._runs(wanted, applied)
            if not creeps:
                self._told = wanted
                data = about | _figures(applied)
                world.record("engine.applied", subject, applied.detail or applied.how.value, data=data, cause=event)
            return applied

    def _creeps(self, wanted: Desired) -> bool:
        """Only shares differ from what the journal knows, and by less than a step of theirs."""
        return self._told is not None and when(self._told, wanted, Pace(), 0.0, runtime_changes=False) is When.LATER

    def _runs(self, wanted: Desired, applied: Applied) -> None:
        running = self._world.running
        running.desired, running.applied, running.at = wanted, applied, datetime.now(UTC)
        running.error, running.up = "", True
        running.applies[applied.how.value] = running.applies.get(applied.how.value, 0) + 1
        running.reloads += applied.how is How.RELOAD

    async def _apply_and_verify(self, wanted: Desired) -> Applied:
        applied = await self._world.engine.apply(wanted)
        if not await self._world.engine.running():
            raise EngineFailed("the engine did not answer right after. Its error log is under STATE/engine/log.")
        return applied


def _figures(applied: Applied) -> dict[str, Any]:
    return {
        "how": applied.how.value,
        "expected_resets": applied.expected_resets,
        "took_s": round(applied.took_s, 4),
    }


class Watchdog:
    """Brings a dead engine back within about a second; ever later when it keeps dying."""

    def __init__(self, world: World, applier: Applier) -> None:
        self._world = world
        self._applier = applier
        self._wait_s = 0.0
        self._not_before_s = 0.0
        self._up_since_s: float | None = None

    async def turn(self) -> None:
        world, now_s = self._world, time.monotonic()
        was_up = world.running.up
        world.running.up = await world.engine.running()
        if world.running.up:
            self._up_since_s = self._up_since_s or now_s
            if now_s - self._up_since_s > STEADY_S:
                self._wait_s = 0.0
            return
        self._up_since_s = None
        wanted = world.running.desired
        if wanted is None:
            return  # never started yet: that is for reconcile to do
        if was_up:
            world.saw(None)
            world.record("engine.died", f"lb/{world.lb}", "its process is gone or does not answer")
        if now_s < self._not_before_s:
            return
        self._wait_s = min(RESTART_BACKOFF_LIMIT_S, max(1.0, self._wait_s * 2.0))
        self._not_before_s = now_s + self._wait_s
        if await self._applier.apply(wanted, kind="engine.restarting", reason="the engine died") is not None:
            world.running.restarts += 1
