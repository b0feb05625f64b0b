"""Slow start: after an undrain or a recovery, the share grows over `slow_start_s`. Pure; the time is an argument.

For engines without slow start of their own (nginx). Each step is a reload, so there are few, each half as large
again as the one before, and the first is a share with which a cold backend (empty caches, a JIT) can do.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from backstay.balance.desired import FAIL_OPEN
from backstay.balance.model import Backend, BackendState, Desired, DesiredPool, Key

STEPS = (0.10, 0.20, 0.35, 0.60)  # then the full share; each lasts the same time


def ramp(started_s: float, slow_start_s: float, now_s: float) -> float:
    """Part of its share that a backend gets `now_s - started_s` seconds after it came back; 1.0 when it is over.

    A clock that went backwards ends the ramp: better a full share than one that stays small.
    """
    age_s = now_s - started_s
    if slow_start_s <= 0.0 or not 0.0 <= age_s < slow_start_s:
        return 1.0
    return STEPS[int(age_s / slow_start_s * len(STEPS))]


def next_step_s(started_s: float, slow_start_s: float, now_s: float) -> float | None:
    """When the next step is due; None when the ramp is over."""
    if ramp(started_s, slow_start_s, now_s) == 1.0:
        return None
    step = int((now_s - started_s) / slow_start_s * len(STEPS)) + 1
    return started_s + slow_start_s * step / len(STEPS)


def started(
    before: Desired | None, after: Desired, ramps: Mapping[Key, float], now_s: float, *, fresh: Collection[Key] = ()
) -> dict[Key, float]:
    """When each ramp began: those of `ramps` that go on, and those that begin as `after` follows `before`.

    A ramp begins when a backend becomes active that was not, while others of its pool serve already. It does not
    at the start of everything, nor when a pool fails open: then all are needed. `fresh`: backends that begin a
    ramp though they were active (readmitted after an ejection's probation).
    """
    was = {pool.name: {b.name: b for b in pool.backends} for pool in before.pools} if before else {}
    going: dict[Key, float] = {}
    for pool in after.pools:
        known = was.get(pool.name)
        for backend in pool.backends:
            key = (pool.name, backend.name)
            if not _served(backend):
                continue
            if key in fresh or (known is not None and _begins(known, pool, backend)):
                going[key] = now_s
            elif key in ramps and ramp(ramps[key], pool.slow_start_s, now_s) < 1.0:
                going[key] = ramps[key]
    return going


def _served(backend: Backend) -> bool:
    return backend.state is BackendState.ACTIVE and not backend.reason.startswith(FAIL_OPEN)


def _begins(known: Mapping[str, Backend], pool: DesiredPool, backend: Backend) -> bool:
    old = known.get(backend.name)
    if old is not None and old.state is BackendState.ACTIVE:
        return False
    return any(
        _served(other) and other.name != backend.name and other.name in known and _served(known[other.name])
        for other in pool.backends
    )
