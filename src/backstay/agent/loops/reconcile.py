"""desired -> engine, whenever the two differ; at a pace that costs users nothing, and later after a failure."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from pydantic import TypeAdapter, ValidationError

from backstay.agent.loops.engine import Applier
from backstay.agent.world import World, now_s
from backstay.balance.desired import difference
from backstay.balance.model import Applied, Desired, How
from backstay.balance.pace import Pace, When, when
from backstay.balance.slowstart import started
from backstay.journal.disk import Disk, replace_file

FIRST_ROUND_LIMIT_S = 3.0  # how long a start waits for every backend's first check
RETRY_FIRST_S, RETRY_LIMIT_S = 1.0, 60.0
WORDS_LIMIT = 5  # of a difference, in an event's reason

_DESIRED = TypeAdapter(Desired)


class Reconcile:
    def __init__(
        self,
        world: World,
        applier: Applier,
        first_round_done: Callable[[], bool],
        applied: Callable[[], Awaitable[None]],
    ) -> None:
        """`first_round_done`: every backend was checked once. `applied` is awaited after each apply that went well."""
        self._world = world
        self._applier = applier
        self._first_round_done = first_round_done
        self._applied = applied
        self._first_round_until_s = now_s() + FIRST_ROUND_LIMIT_S
        self._applied_once = False
        self._asked = False  # somebody waits for it: a change was put, undone or expired
        self._pace = Pace()
        self._failed: str | None = None  # the revision that was refused or failed last
        self._retries = 0
        self._retry_at_s = 0.0
        self._disk = Disk()
        self.tried = asyncio.Event()  # the first apply went well or failed

    async def turn(self) -> None:
        if self._waits():
            return
        world, now = self._world, now_s()
        wanted = self.wanted(now)
        running = world.running.desired if self._applied_once else None
        decision = when(running, wanted, self._pace, now, runtime_changes=world.capabilities.runtime_changes)
        asked, self._asked = self._asked, False
        if decision is When.NOTHING:
            world.running.desired = wanted  # the same for the engine; newer words for people
            return
        if decision is When.LATER and not asked:
            return
        if wanted.revision == self._failed and now < self._retry_at_s:
            return
        await self.apply(wanted)

    def ask(self) -> None:
        """The next turn applies whatever differs: who asked for a change does not wait for the pace of reloads."""
        self._asked = True

    async def apply(self, wanted: Desired, *, cause: str | None = None) -> Applied | None:
        """Apply now, whatever the pace. None when it was refused or failed (`world.running.error` says why)."""
        world = self._world
        words = difference(world.running.desired, wanted) or ["as it was"]
        more = [f"and {len(words) - WORDS_LIMIT} more"] if len(words) > WORDS_LIMIT else []
        reason = "; ".join(words[:WORDS_LIMIT] + more)
        applied = await self._applier.apply(wanted, kind="engine.applying", reason=reason, cause=cause)
        self.tried.set()
        if applied is None:
            self._retries = self._retries + 1 if wanted.revision == self._failed else 0
            self._failed = wanted.revision
            self._retry_at_s = now_s() + min(RETRY_LIMIT_S, RETRY_FIRST_S * 2.0**self._retries)
            return None
        self._applied_once, self._failed, self._retries = True, None, 0
        if applied.how is How.RELOAD:
            self._pace = self._pace.reloaded(now_s())
        self._remember(wanted)
        await self._applied()
        return applied

    def wanted(self, now: float) -> Desired:
        """What shall run now, slow start included; begins and ends the ramps."""
        world = self._world
        fresh, world.readmitted = world.readmitted, set()
        wanted, before = world.desired(), world.ramps
        world.ramps = started(world.running.desired, wanted, before, now, fresh=fresh)
        return wanted if world.ramps == before else world.desired()

    def in_sync(self) -> bool:
        """What runs is what is desired."""
        running = self._world.running.desired
        return self._applied_once and running is not None and running.revision == self._world.desired().revision

    def recall(self) -> None:
        """What ran when the agent before us ended: for slow start, fail open and the words of the next difference."""
        with contextlib.suppress(OSError, ValidationError):
            ran = _DESIRED.validate_json(self._world.files.applied.read_bytes())
            if (ran.lb, ran.engine) == (self._world.lb, self._world.kind):
                self._world.running.desired = ran

    def _remember(self, applied: Desired) -> None:
        try:
            replace_file(self._disk, self._world.files.applied, _DESIRED.dump_json(applied))
        except OSError as error:
            self._world.warn("state", f"{self._world.files.applied}: {error.strerror}. Make room on that disk.")
        else:
            self._world.warn("state", "")

    def _waits(self) -> bool:
        """A start waits for the first checks: who was never checked is not served while another is."""
        return not self._applied_once and not self._first_round_done() and now_s() < self._first_round_until_s
