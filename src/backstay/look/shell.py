"""The loop: targets on a schedule, probed, each observation handed on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Generic, TypeVar

from backstay.look.model import Observation, Target
from backstay.look.ports import Prober
from backstay.look.schedule import Schedule

Key = TypeVar("Key", bound=Hashable)


class Watch(Generic[Key]):
    """Probes each target at its own rate until cancelled. Probes of one target may overlap: a burst every 50 ms with
    a timeout of a second has twenty in flight, so one lost packet costs 50 ms and not a second."""

    def __init__(
        self, prober: Prober, on_seen: Callable[[Key, Observation], None], *, salt: str = "", most_in_flight: int = 20
    ) -> None:
        """`most_in_flight`: probes of one target at once; a tick beyond it is skipped. `salt`: see `Schedule`."""
        self._prober, self._on_seen = prober, on_seen
        self._most_in_flight = most_in_flight
        self._schedule: Schedule[Key] = Schedule(salt=salt)
        self._targets: dict[Key, tuple[Target, float]] = {}
        self._in_flight: dict[Key, set[asyncio.Task[None]]] = {}
        self._changed = asyncio.Event()

    def put(
        self,
        key: Key,
        target: Target,
        *,
        every_s: float,
        timeout_s: float,
        at_once: bool = False,
        phase: float | None = None,
    ) -> None:
        """Probe `target` as `key` from now on; put again, it replaces the target and its rate (`Schedule.put`)."""
        self._targets[key] = (target, timeout_s)
        self._schedule.put(key, every_s, asyncio.get_running_loop().time(), at_once=at_once, phase=phase)
        self._changed.set()

    def remove(self, key: Key) -> None:
        """Probe `key` no longer; what is in flight is cancelled and not handed on."""
        self._targets.pop(key, None)
        self._schedule.remove(key)
        for task in self._in_flight.pop(key, ()):
            task.cancel()

    async def run(self) -> None:
        """Run until cancelled; then nothing is left in flight. An error of `on_seen` ends it and is raised."""
        clock = asyncio.get_running_loop().time
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._changed.clear()
                for key in self._schedule.due(clock()):
                    self._launch(tasks, key)
                with suppress(TimeoutError):  # something is due
                    async with asyncio.timeout_at(self._schedule.next_s()):
                        await self._changed.wait()

    def _launch(self, tasks: asyncio.TaskGroup, key: Key) -> None:
        in_flight = self._in_flight.setdefault(key, set())
        if len(in_flight) >= self._most_in_flight:
            return
        task = tasks.create_task(self._probe(key, *self._targets[key]))
        in_flight.add(task)
        task.add_done_callback(in_flight.discard)

    async def _probe(self, key: Key, target: Target, timeout_s: float) -> None:
        self._on_seen(key, await self._prober.probe(target, timeout_s=timeout_s))
