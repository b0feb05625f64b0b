"""What the engine carries: its statistics and its access log, handed to everyone who judges by them.

statistics + samples -> drains' proofs
             samples -> ejection of backends whose check lies
             samples -> this load balancer's window of signals
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from backstay.agent.loops.draining import Draining
from backstay.agent.loops.rescaling import Rescaling
from backstay.agent.world import World, now_s
from backstay.balance.eject import judge
from backstay.balance.health import HealthEventKind
from backstay.balance.model import EngineStats, Key, Sample
from backstay.balance.ports import EngineFailed
from backstay.change import BackendLoad

MEAN_WEIGHT = 0.05  # of the newest count of requests in flight: a mean over the last 20 turns


@dataclass(slots=True)
class Responses:
    """How many headers of answers came from a backend, and how long they took together, in seconds."""

    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        self.count += 1
        self.seconds += seconds


class Traffic:
    def __init__(self, world: World, draining: Draining, rescaling: Rescaling, changed: Callable[[], None]) -> None:
        """`changed` is called when the health of a backend changed."""
        self._world = world
        self._draining = draining
        self._rescaling = rescaling
        self._changed = changed
        self._in_flight: dict[Key, float] = {}
        self._down: dict[Key, bool] = {}  # by the engine's own checks
        self.requests: dict[tuple[str, str, bool], int] = defaultdict(int)  # pool, backend, error: since the start
        self.responses: dict[Key, Responses] = defaultdict(Responses)  # since the start

    async def turn(self) -> None:
        world = self._world
        if not world.running.up:
            world.saw(None)
            return
        try:
            stats = await world.engine.observe()
            samples = await world.engine.samples()
        except EngineFailed as error:
            world.saw(None)
            world.warn("statistics", f"no statistics of the engine: {error}")
            return
        world.warn("statistics", "")
        world.saw(stats)
        self._draining.fold(stats, samples)
        self._weigh(stats)
        if world.checks_itself:
            self._follow_checks(stats)
        by_pool: dict[str, list[Sample]] = defaultdict(list)
        for sample in samples:
            by_pool[sample.pool].append(sample)
            self.requests[sample.pool, sample.backend, sample.error] += 1
            if sample.header_time_s is not None:
                self.responses[sample.pool, sample.backend].add(sample.header_time_s)
        for pool in world.pools():
            self._judge(pool, by_pool.get(pool, []))
            self._rescaling.collect(pool, by_pool.get(pool, []))

    def load(self) -> dict[Key, BackendLoad]:
        """What each backend carries, for the guard. How much it could carry is known to nobody here."""
        return {
            (pool, name): BackendLoad(
                in_flight=self._in_flight.get((pool, name)), error_ratio=health.traffic.error_rate
            )
            for pool, healths in self._world.health.items()
            for name, health in healths.items()
        }

    def _judge(self, pool: str, samples: list[Sample]) -> None:
        world = self._world
        before = world.health.get(pool)
        if before is None:
            return
        after, events = judge(before, samples, now_s=now_s(), drained=world.drained(pool), quiet=world.quiet(pool))
        world.health[pool] = after
        world.tell(pool, events)
        readmitted = [event.backend for event in events if event.kind is HealthEventKind.READMITTED]
        world.readmitted.update((pool, backend) for backend in readmitted)
        if events:
            self._changed()

    def _weigh(self, stats: EngineStats) -> None:
        for seen in stats.backends:
            key = (seen.pool, seen.backend)
            mean = self._in_flight.get(key, float(seen.in_flight))
            self._in_flight[key] = mean + MEAN_WEIGHT * (seen.in_flight - mean)

    def _follow_checks(self, stats: EngineStats) -> None:
        """Journal what an engine that checks by itself found."""
        world = self._world
        for seen in stats.backends:
            key = (seen.pool, seen.backend)
            down = world.taken_out(key)
            known = self._down.get(key, False)
            self._down[key] = down
            if known != down and seen.backend not in world.quiet(seen.pool):
                reason = f"{world.kind} says {seen.engine_state} by its own check"
                kind = "backend.down" if down else "backend.up"
                world.record(kind, f"node/{seen.backend}", reason, data={"pool": seen.pool})
