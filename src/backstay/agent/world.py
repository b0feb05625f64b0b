"""What the loops of one agent share: what is declared, seen, decided and running. Belongs to one event loop.

Loops read it and each writes its own part; the parts that several write have methods here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from backstay.agent.host.adoption import Adopted, Adoption
from backstay.agent.host.certificates import Certificates
from backstay.agent.paths import StateFiles
from backstay.agent.record import Recorder
from backstay.balance.desired import View, desired
from backstay.balance.health import HealthEvent, PoolHealth, health_of
from backstay.balance.model import (
    Applied,
    BackendStats,
    Capabilities,
    Desired,
    DesiredTls,
    EngineStats,
    Health,
    HealthState,
    Key,
    Share,
)
from backstay.balance.ports import Engine
from backstay.balance.slowstart import ramp
from backstay.change import ChangeBook, ChangeStore, effect_on, read_clock
from backstay.change.model import Change
from backstay.estate.model import EngineKind, Estate
from backstay.estate.select import members, services_of, tier_of


@dataclass(slots=True)
class Running:
    """What the engine runs, and how the last attempt to alter that went."""

    desired: Desired | None = None  # None: not known to this agent yet
    applied: Applied | None = None
    at: datetime | None = None
    error: str = ""  # of the last attempt
    up: bool = False  # the engine's process answers
    reloads: int = 0  # since the agent's start
    applies: dict[str, int] = field(default_factory=dict)  # by how; "failed" too
    restarts: int = 0  # of a dead engine


@dataclass(slots=True)
class World:
    lb: str
    files: StateFiles
    adoption: Adoption
    adopted: Adopted
    engine: Engine
    capabilities: Capabilities
    record: Recorder
    certificates: Certificates
    changes: ChangeStore
    book: ChangeBook
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    running: Running = field(default_factory=Running)
    health: dict[str, PoolHealth] = field(default_factory=dict)  # by pool
    shares: dict[Key, Share] = field(default_factory=dict)
    ramps: dict[Key, float] = field(default_factory=dict)  # when the slow start of a backend began, by now_s()
    readmitted: set[Key] = field(default_factory=set)  # after an ejection; their slow start is to begin
    stats: EngineStats | None = None  # the last; None when the engine is not up
    seen: dict[Key, BackendStats] = field(default_factory=dict)  # of `stats`
    pid: int = field(default_factory=os.getpid)
    warnings: dict[str, str] = field(default_factory=dict)  # by topic: what needs a person

    # --- what is declared ----------------------------------------------------------------------------------------

    @property
    def estate(self) -> Estate:
        return self.adopted.estate

    @property
    def kind(self) -> EngineKind:
        return self.estate.tiers[self.tier].engine

    @property
    def tier(self) -> str:
        return self.tier_in(self.estate)

    def tier_in(self, estate: Estate) -> str:
        found = tier_of(estate, self.lb)
        assert found is not None, "an estate is adopted only when this load balancer is in a tier of it"
        return found[0]

    @property
    def checks_itself(self) -> bool:
        """The engine makes its own health checks; the agent only reads them."""
        return self.capabilities.active_checks

    def pools(self) -> tuple[str, ...]:
        """The pools that this load balancer carries, in the order of the estate."""
        carried = services_of(self.estate, self.tier).values()
        wanted = {s.pool for s in carried} | {route.pool for s in carried for route in s.routes}
        return tuple(pool for pool in self.estate.pools if pool in wanted)

    def members(self, pool: str) -> tuple[str, ...]:
        return members(self.estate, self.estate.pools[pool].cluster)

    # --- what is in force ----------------------------------------------------------------------------------------

    def in_force(self) -> tuple[Change, ...]:
        return self.book.in_force(read_clock())

    def quiet(self, pool: str) -> frozenset[str]:
        """Backends of `pool` under maintenance: their health events are not told."""
        changes = self.in_force()
        return frozenset(node for node in self.members(pool) if effect_on(changes, pool, node).quiet)

    def drained(self, pool: str) -> frozenset[str]:
        changes = self.in_force()
        return frozenset(node for node in self.members(pool) if effect_on(changes, pool, node).draining)

    # --- what shall be -------------------------------------------------------------------------------------------

    def health_view(self) -> dict[Key, Health]:
        """Health as `desired` takes it. Of an engine that checks by itself only what it cannot know is in it."""
        return {
            (pool, backend): health_of(health)
            for pool, healths in self.health.items()
            for backend, health in healths.items()
        }

    def desired(self, estate: Estate | None = None, tls: Mapping[str, DesiredTls] | None = None) -> Desired:
        """What this load balancer shall run now; with `estate` and its `tls`, what it would run under that one."""
        declared = estate or self.estate
        pairs = self.certificates.tls if tls is None else tls
        view = View(
            changes=self.in_force(),
            health=self.health_view(),
            shares=self.shares,
            ramps={} if self.capabilities.slow_start else self.ramp_parts(),
            last=self.running.desired,
        )
        return desired(_servable(declared, pairs), self.lb, view, pairs)

    def ramp_parts(self) -> dict[Key, float]:
        """The part of its share that each backend in slow start gets now."""
        now, pools = now_s(), self.estate.pools
        return {
            key: ramp(begun, pools[key[0]].slow_start_s, now) for key, begun in self.ramps.items() if key[0] in pools
        }

    # --- what was seen -------------------------------------------------------------------------------------------

    def takes_traffic(self) -> dict[Key, bool]:
        """For the guard: does each backend take traffic, drains left aside? Unknown ones are absent."""
        answer: dict[Key, bool] = {}
        for key, health in self.health_view().items():
            if health.state is not HealthState.UNCHECKED:
                answer[key] = health.serving and not health.draining
        return answer | {key: False for key in self.seen if self.taken_out(key)}

    def saw(self, stats: EngineStats | None) -> None:
        """Keep the engine's newest statistics; None when it gave none."""
        self.stats = stats
        self.seen = {(seen.pool, seen.backend): seen for seen in stats.backends} if stats else {}

    def taken_out(self, key: Key) -> bool:
        """An engine that checks by itself says that this backend is down."""
        seen = self.seen.get(key)
        return self.checks_itself and seen is not None and engine_says_down(seen.engine_state)

    def tell(self, pool: str, events: list[HealthEvent]) -> None:
        """Journal what happened to the health of backends."""
        for event in events:
            data: Mapping[str, Any] = {"pool": pool, **event.data}
            self.record(str(event.kind), f"node/{event.backend}", event.reason, data=data)

    def warn(self, topic: str, text: str) -> None:
        """Keep `text` for the status until it is taken back with ""."""
        if text:
            self.warnings[topic] = text
        else:
            self.warnings.pop(topic, None)

    def resident_bytes(self) -> int:
        """Resident memory of this process, from /proc."""
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - one small read, often
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def _servable(estate: Estate, tls: Mapping[str, object]) -> Estate:
    """Without the services whose certificate has never been good: the others are served meanwhile."""
    kept = {name: service for name, service in estate.services.items() if service.tls is None or name in tls}
    return estate if len(kept) == len(estate.services) else estate.model_copy(update={"services": kept})


def engine_says_down(word: str) -> bool:
    """HAProxy's words for a server that its checks took out: DOWN, "DOWN 1/2" (rising), NOLB is not one."""
    return word.upper().startswith("DOWN")


def now_s() -> float:
    """Seconds on the clock that does not step, for health and rescaling."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
