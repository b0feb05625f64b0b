"""Who of a pool is healthy: checks, the backends' own words. Pure; time and observations are arguments.

    ports(check, backend) -> probes -> checked(...)    health port and serving port apart, rise and fall
    said(...)                                          agent-check words: ready, drain, 50%

`eject.py` adds what the live traffic says of a backend whose check says ready. All three work on a `PoolHealth`
and answer with a new one and with what happened, for the journal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from backstay.balance.model import Backend, Health, HealthState
from backstay.estate.model import Check
from backstay.look.model import ProbeKind, Target

JITTER = 0.1  # of the interval, either way: many agents' probes spread out and stay spread
CANARY_FACTOR = 0.05  # of its share, at the beginning of a probation


class Port(StrEnum):
    HEALTH = "health port"  # the check itself
    SERVING = "serving port"  # a TCP connect, where the check asks another port than users do


class HealthEventKind(StrEnum):
    UP = "backend.up"
    DOWN = "backend.down"
    SAID = "backend.said"  # its own words changed: drain, ready, 50%
    EJECTED = "backend.ejected"  # its check lies: it says ready, and its live traffic fails
    PROBATION = "backend.on_probation"  # a canary's share, to see whether it works again
    READMITTED = "backend.readmitted"


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthEvent:
    kind: HealthEventKind
    backend: str
    reason: str
    data: Mapping[str, Any] = field(default_factory=dict)  # JSON values


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Rise and fall of one port. Until the first result nothing is known, and the first result decides."""

    up: bool | None = None
    streak: int = 0  # results in a row that contradict `up`
    detail: str = ""  # of the last failure

    def fold(self, ok: bool, detail: str, check: Check) -> Tally:
        detail = self.detail if ok else detail
        if self.up is None:
            return Tally(up=ok, detail=detail)
        if ok == self.up:
            return replace(self, streak=0, detail=detail)
        streak = self.streak + 1
        if streak >= (check.rise if ok else check.fall):
            return Tally(up=ok, detail=detail)
        return replace(self, streak=streak, detail=detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What the live traffic says of one backend; see eject.py for the meaning of the figures."""

    suspicion: float = 0.0  # CUSUM of log-likelihood ratios; at least 0
    requests: int = 0  # since the suspicion began
    errors: int = 0  # of these
    error_rate: float = 0.0  # of its last dozen requests or so (exponential mean)
    ejections: int = 0  # in a row; the backoff doubles with each
    ejected_until_s: float | None = None
    probation_since_s: float | None = None
    canary: float = 1.0  # of its share, during probation
    good: int = 0  # requests that went well during this probation
    calm_since_s: float | None = None  # since it was readmitted


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendHealth:
    health_port: Tally = Tally()
    serving_port: Tally = Tally()
    draining: bool = False  # by its own word
    factor: float = 1.0  # by its own word
    traffic: Traffic = Traffic()


PoolHealth = Mapping[str, BackendHealth]  # by backend


def start(backends: Sequence[str], check: Check | None, *, engine_checks: bool) -> dict[str, BackendHealth]:
    """Health at the start of a pool, or of a backend that joins it.

    With a check that the agent makes, everyone is unchecked; without a check, or with an engine that checks by
    itself (`engine_checks`), everyone is up until its traffic says otherwise.
    """
    tally = Tally() if check is not None and not engine_checks else Tally(up=True)
    return {name: BackendHealth(health_port=tally, serving_port=Tally(up=True)) for name in backends}


def targets(check: Check, backend: Backend) -> dict[Port, Target]:
    """What to probe for one backend: the check, and the serving port where the check asks another one."""
    port = check.port or backend.port
    if check.path is None:
        asked = {Port.HEALTH: Target(kind=ProbeKind.TCP, address=backend.address, port=port)}
    else:
        asked = {Port.HEALTH: Target(kind=ProbeKind.HTTP, address=backend.address, port=port, path=check.path)}
    if port != backend.port:
        asked[Port.SERVING] = Target(kind=ProbeKind.TCP, address=backend.address, port=backend.port)
    return asked


def interval_s(check: Check, seed: str, count: int) -> float:
    """Seconds between probe `count` and the next: the interval with its jitter; before the first probe (count 0) a
    part of the interval, so that a pool's probes start spread out. The same arguments give the same schedule.

    `seed`: names prober and target ("lb1/web/web2/health port").
    """
    chance = int.from_bytes(hashlib.sha256(f"{seed}/{count}".encode()).digest()[:4], "big") / 2**32
    if count == 0:
        return check.interval_s * chance
    return check.interval_s * (1.0 - JITTER + 2.0 * JITTER * chance)


def checked(
    pool: PoolHealth, backend: str, port: Port, *, ok: bool, detail: str, check: Check, quiet: Collection[str] = ()
) -> tuple[PoolHealth, list[HealthEvent]]:
    """Fold one probe's result in. `detail`: what was seen, for people ("status 503"); `quiet`: backends under
    maintenance, whose events are not told. A backend that is not in the pool any more is ignored.
    """
    old = pool.get(backend)
    if old is None:
        return pool, []
    if port is Port.HEALTH:
        new = replace(old, health_port=old.health_port.fold(ok, detail, check))
    else:
        new = replace(old, serving_port=old.serving_port.fold(ok, detail, check))
    before, after = _ports_up(old), _ports_up(new)
    events = []
    if before != after and after is not None:
        kind = HealthEventKind.UP if after else HealthEventKind.DOWN
        reason = _check_reason(new) if not after else "first check passed" if before is None else "checks pass again"
        events = [HealthEvent(kind=kind, backend=backend, reason=reason, data={"port": str(port)})]
    return {**pool, backend: new}, [] if backend in quiet else events


def said(
    pool: PoolHealth, backend: str, *, draining: bool, factor: float, quiet: Collection[str] = ()
) -> tuple[PoolHealth, list[HealthEvent]]:
    """Fold the backend's own words in (look.agentcheck parses them): whether it drains, and its factor (0 < f <= 1)."""
    old = pool.get(backend)
    if old is None or (old.draining, old.factor) == (draining, factor):
        return pool, []
    new = replace(old, draining=draining, factor=factor)
    words = "drain" if draining else f"{factor:.0%}" if factor != 1.0 else "ready"
    reason = f"its health port says {words}"
    event = HealthEvent(
        kind=HealthEventKind.SAID, backend=backend, reason=reason, data={"draining": draining, "factor": factor}
    )
    return {**pool, backend: new}, [] if backend in quiet else [event]


def _ports_up(health: BackendHealth) -> bool | None:
    """Both ports must be good. None: not known yet."""
    ups = (health.health_port.up, health.serving_port.up)
    return False if False in ups else None if None in ups else True


def _check_reason(health: BackendHealth) -> str:
    tallies = ((Port.HEALTH, health.health_port), (Port.SERVING, health.serving_port))
    return ", ".join(f"{port}: {tally.detail or 'failed'}" for port, tally in tallies if tally.up is False)


def health_of(backend: BackendHealth) -> Health:
    """What `desired` takes."""
    up, traffic = _ports_up(backend), backend.traffic
    reason = ""
    if up is None:
        state, reason = HealthState.UNCHECKED, "not checked yet"
    elif not up:
        state, reason = HealthState.DOWN, _check_reason(backend)
    elif traffic.ejected_until_s is not None:
        state, reason = HealthState.EJECTED, "ejected: its check says ready, and its live traffic fails"
    elif traffic.probation_since_s is not None:
        state, reason = HealthState.PROBATION, "on probation after an ejection"
    else:
        state = HealthState.UP
    factor = min(backend.factor, traffic.canary) if state is HealthState.PROBATION else backend.factor
    if backend.draining:
        reason = "its health port says drain"
    elif state is HealthState.UP and backend.factor != 1.0:
        reason = f"its health port says {backend.factor:.0%}"
    return Health(state=state, reason=reason, draining=backend.draining, factor=factor)


def to_json(pool: PoolHealth, now_s: float) -> dict[str, Any]:
    """JSON values for the agent's disk. Times become seconds from `now_s`: the clock may start anew with a boot."""
    plain = {name: asdict(health) for name, health in pool.items()}
    for health in plain.values():
        _shift(health["traffic"], -now_s)
    return plain


def from_json(data: Mapping[str, Any], now_s: float) -> dict[str, BackendHealth]:
    """The inverse of `to_json`. Raises ValueError, TypeError or KeyError for anything else: start anew then."""
    pool = {}
    for name, plain in data.items():
        traffic = dict(plain["traffic"])
        _shift(traffic, now_s)
        pool[str(name)] = BackendHealth(
            health_port=Tally(**plain["health_port"]),
            serving_port=Tally(**plain["serving_port"]),
            draining=bool(plain["draining"]),
            factor=float(plain["factor"]),
            traffic=Traffic(**traffic),
        )
    return pool


def _shift(traffic: dict[str, Any], by_s: float) -> None:
    for name in ("ejected_until_s", "probation_since_s", "calm_since_s"):
        if traffic[name] is not None:
            traffic[name] = float(traffic[name]) + by_s
