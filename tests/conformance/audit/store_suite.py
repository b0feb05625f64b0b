"""What the suites over stores share: the stores, and small facts and series."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from backstay.audit.model import FactReport, Floats, Series, SeriesKind
from backstay.audit.store import AuditStore, Retention

TIMEOUT_S = 60.0
NOW = datetime(2026, 3, 20, 12, tzinfo=UTC)
ALL = {"start": NOW - timedelta(days=400), "end": NOW}


@dataclass
class Clock:
    """Moved by the test."""

    now: datetime = field(default=NOW)

    def __call__(self) -> datetime:
        return self.now


Opener = Callable[[Path, Clock, Retention], AuditStore]


def duckdb_store(folder: Path, clock: Clock, retention: Retention = Retention()) -> AuditStore:  # noqa: B008 - frozen
    return AuditStore.open(folder / "audit.duckdb", clock, retention=retention)


STORES: dict[str, Opener] = {"duckdb": duckdb_store}


def report(
    node: str,
    hour: float,
    values: dict[str, str],
    *,
    unread: dict[str, str] | None = None,
    problem: str = "",
    source: str = "test",
) -> FactReport:
    """`hour`: before now, as a rule."""
    time = NOW + timedelta(hours=hour)
    return FactReport(node=node, source=source, time=time, values=values, unread=unread or {}, problem=problem)


def gauge(node: str, indicator: str, samples: Sequence[tuple[float, float]], *, start: datetime = NOW) -> Series:
    """`samples`: seconds from `start`, value."""
    return series(node, indicator, samples, start, SeriesKind.GAUGE)


def counter(node: str, indicator: str, samples: Sequence[tuple[float, float]], *, start: datetime = NOW) -> Series:
    return series(node, indicator, samples, start, SeriesKind.COUNTER)


def series(
    node: str, indicator: str, samples: Sequence[tuple[float, float]], start: datetime, kind: SeriesKind
) -> Series:
    times_s = np.array([start.timestamp() + second for second, _ in samples], float)
    values = np.array([value for _, value in samples], float)
    return Series(node=node, indicator=indicator, times_s=times_s, values=values, kind=kind)


async def cells(
    store: AuditStore, node: str, indicator: str, *, start: datetime, seconds: float, step_s: float
) -> Floats:
    """(times,)"""
    grid = await store.indicators.grid(
        [node], [indicator], start=start, end=start + timedelta(seconds=seconds), step_s=step_s, timeout_s=TIMEOUT_S
    )
    return np.asarray(grid.values[0, 0])
