"""Indicators: samples as they came, then means over minutes, then over hours; read as means on one grid."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from backstay.audit.model import Grid, Series
from backstay.audit.sources.gridding import SKEW_S, cells_between
from backstay.audit.store.database import Database, Session
from backstay.audit.store.indicators import ageing
from backstay.audit.store.indicators.cells import STEP_LIMIT_S, Cells, Means, cells_of, rates
from backstay.audit.store.indicators.keeping import Keeping
from backstay.audit.store.retention import Retention

FRESH_LIMIT = 20_000_000  # samples in the order in which they came; more are put in order before `prune` does
USUAL_STEP_S = 60.0  # where there are not two samples
UNLIMITED_S = 86_400.0  # the caller's timeout ends it
STEP_OVER_S = 86_400.0  # the samples' distance is that of the last day


class Indicators:
    """An IndicatorStore. A method that is given no nodes means all."""

    def __init__(self, database: Database, clock: Callable[[], datetime], retention: Retention) -> None:
        self._database = database
        self._clock = clock
        self._retention = retention
        self.problems: tuple[str, ...] = ()  # what the last `add` left out: what, how often, where first

    async def add(self, series: Sequence[Series], *, timeout_s: float) -> int:
        """Keep them. Returns how many samples were new.

        A sample is its series and its time, to the millisecond; the first that was told stays. What is from later than
        now, older than what is down-sampled already, or no number is left out, and told in `problems`.
        Raises StoreError, TimeoutError: nothing of it is kept then.
        """
        latest_ms = (self._clock().timestamp() + SKEW_S) * 1000.0
        deadline = asyncio.get_running_loop().time() + timeout_s

        def add(session: Session) -> tuple[int, tuple[str, ...], int]:
            keeping = Keeping(session, latest_ms)
            keeping.keep(series)
            return keeping.new, keeping.problems, session.rows("SELECT count(*) FROM fresh")[0][0]

        new, self.problems, fresh = await self._database.call(add, timeout_s=timeout_s)
        left_s = deadline - asyncio.get_running_loop().time()
        if fresh > FRESH_LIMIT and left_s > 0.0:
            with contextlib.suppress(TimeoutError):  # what was added is kept: a later call puts it in order
                async with asyncio.timeout(left_s):
                    await self._by_day("fresh", Retention.before(self._clock(), 0), 1000, ageing.settle_day)
        return new

    async def grid(
        self,
        nodes: Sequence[str],
        indicators: Sequence[str],
        *,
        start: datetime,
        end: datetime,
        step_s: float,
        timeout_s: float,
    ) -> Grid:
        """Means of the cells in [start, end), from the finest that is kept; nodes and indicators as asked for.

        NaN where nothing was measured, and between the means of an older time where `step_s` is finer than they are
        (`step_s()` tells). Raises ValueError when it is too large, StoreError, TimeoutError.
        """
        count = cells_between(nodes, indicators, start=start, end=end, step_s=step_s)

        def read(session: Session) -> Grid:
            reading = _Reading(session, nodes, indicators, start=start, step_s=step_s, count=count)
            values = reading.means().values().reshape(len(indicators), len(nodes), count)
            return Grid(
                nodes=tuple(nodes),
                indicators=tuple(indicators),
                start=start.astimezone(UTC),
                step_s=step_s,
                values=values,
            )

        return await self._database.call(read, timeout_s=timeout_s)

    async def names(self, nodes: Sequence[str] = (), *, timeout_s: float) -> tuple[str, ...]:
        """Indicators that any of `nodes` has, sorted."""
        rows = await self._about("DISTINCT indicator", nodes, timeout_s)
        return tuple(sorted(name for (name,) in rows))

    async def nodes(self, *, timeout_s: float) -> tuple[str, ...]:
        """Every node with a sample, sorted."""
        return tuple(sorted(name for (name,) in await self._about("DISTINCT node", (), timeout_s)))

    async def latest(self, nodes: Sequence[str] = (), *, timeout_s: float) -> datetime | None:
        """Time of the last sample of any of them; None: there is none."""
        found = (await self._about("max(latest)", nodes, timeout_s))[0][0]
        return datetime.fromtimestamp(found / 1000.0, UTC) if found is not None else None

    async def step_s(self, nodes: Sequence[str], *, start: datetime, end: datetime, timeout_s: float) -> float:
        """Width in seconds of the cells at which [start, end) can be had without holes.

        That is the samples' usual distance, or 60 or 3600 where a part of the time is down-sampled.
        """

        def step(session: Session) -> float:
            ids = [id for (id,) in _series(session, "id", nodes)]
            with session.given("asked", {"series": np.array(ids, np.int64)}):
                return max(_sample_step_s(session, start, end), _mean_step_s(session, start, end))

        return await self._database.call(step, timeout_s=timeout_s)

    async def prune(self, *, now: datetime, timeout_s: float) -> int:
        """Down-sample and forget by age. Returns the samples and means that are gone.

        A day at a time, each kept as it is done: after a TimeoutError the next call goes on from there.
        """
        days = self._retention
        gone = 0
        try:
            async with asyncio.timeout(timeout_s):
                await self._by_day("fresh", Retention.before(now, 0), 1000, ageing.settle_day)
                gone += await self._by_day("raw", Retention.before(now, days.raw_days), 1000, ageing.fold_raw_day)
                gone += await self._by_day("minute", Retention.before(now, days.minute_days), 1, ageing.fold_minute_day)
                gone += await self._by_day("hour", Retention.before(now, days.hour_days), 1, ageing.forget_day)
        except TimeoutError:
            raise TimeoutError(
                f"{self._database.path}: not all is down-sampled within {timeout_s:g} s. What is done is kept: call it "
                "again, and give it longer."
            ) from None
        return gone

    async def close(self) -> None:
        """Nothing of its own: the store is closed as a whole."""

    async def _by_day(self, table: str, end_s: int, unit: int, work: Callable[[Session, int], int]) -> int:
        """Do `work` on each day of `table` before `end_s`, oldest first. `unit`: of its times, in a second.

        The caller sets the time within which it ends. Returns the sum of what `work` returns.
        """

        def day(session: Session) -> int | None:
            oldest = ageing.oldest(session, table)
            if oldest is None or oldest >= end_s * unit:
                return None
            return work(session, min(ageing.next_midnight_s(oldest // unit), end_s) * unit)

        total = 0
        while (done := await self._database.call(day, timeout_s=UNLIMITED_S)) is not None:
            total += done
        return total

    async def _about(self, what: str, nodes: Sequence[str], timeout_s: float) -> list[tuple[Any, ...]]:
        return await self._database.call(lambda session: _series(session, what, nodes), timeout_s=timeout_s)


class _Reading:
    """One grid."""

    def __init__(
        self,
        session: Session,
        nodes: Sequence[str],
        indicators: Sequence[str],
        *,
        start: datetime,
        step_s: float,
        count: int,
    ) -> None:
        self._session = session
        self._start_ms = start.timestamp() * 1000.0
        self._step_ms = step_s * 1000.0
        self._end_ms = self._start_ms + self._step_ms * count
        rows = {(name, node): i * len(nodes) + n for i, name in enumerate(indicators) for n, node in enumerate(nodes)}
        known = _series(session, "id, node, indicator, counter, edge_time, edge_value", nodes)
        mine = [one for one in known if (one[2], one[1]) in rows]
        self._rows = {one[0]: rows[one[2], one[1]] for one in mine}
        self._counters = [one[0] for one in mine if one[3]]
        self._gauges = [one[0] for one in mine if not one[3]]
        self._edges = {one[0]: (one[4], one[5]) for one in mine if one[4] is not None}
        self._means = Means(self._rows, height=len(rows), width=count)

    def means(self) -> Means:
        self._sum("samples", self._gauges, "value", "1", 1)
        everything = [*self._gauges, *self._counters]
        for table in ("minute", "hour"):
            self._sum(table, everything, "mean::DOUBLE * count", "count", 1000)
        self._sum_counters()
        return self._means

    def _sum(self, table: str, ids: Sequence[int], value: str, weight: str, unit_ms: int) -> None:
        """Sums over the cells of what `table` has; `unit_ms`: of its times."""
        if not ids:
            return
        with self._session.given("asked", {"series": np.array(ids, np.int64)}):
            columns = self._session.columns(
                "SELECT series::BIGINT AS series, floor((time * $4::BIGINT - $1) / $2)::BIGINT AS cell, "  # noqa: S608
                f"sum({value})::DOUBLE AS sums, sum({weight})::BIGINT AS counts FROM {table} "
                "SEMI JOIN asked USING (series) WHERE time >= $3 AND time < $5 GROUP BY ALL",
                (
                    self._start_ms,
                    self._step_ms,
                    math.ceil(self._start_ms / unit_ms),
                    unit_ms,
                    math.ceil(self._end_ms / unit_ms),
                ),
            )
        self._means.add(Cells(columns["series"], columns["cell"], columns["sums"], columns["counts"]))

    def _sum_counters(self) -> None:
        start_ms, end_ms = math.ceil(self._start_ms), math.ceil(self._end_ms)
        with self._session.given("asked", {"series": np.array(self._counters, np.int64)}):
            rows = self._session.rows(
                "SELECT series, max(time) FILTER (time < $2), arg_max(value, time) FILTER (time < $2), "
                "count(*) FILTER (time >= $2) FROM samples SEMI JOIN asked USING (series) "
                "WHERE time >= $1 AND time < $3 GROUP BY series",
                (int(start_ms - STEP_LIMIT_S * 1000.0), start_ms, end_ms),
            )
        before = {**self._edges, **{id: (time, value) for id, time, value, _ in rows if time is not None}}
        counts = {id: count for id, _, _, count in rows if count}
        for ids in ageing.chunks(counts):
            samples = ageing.fetch(self._session, "samples", ids, start_ms, end_ms)
            self._means.add(cells_of(rates(samples, before), start_ms=self._start_ms, step_ms=self._step_ms))


def _series(session: Session, what: str, nodes: Sequence[str]) -> list[tuple[Any, ...]]:
    """`what` (SQL) of the series of `nodes` (none: all)."""
    if not nodes:
        return session.rows(f"SELECT {what} FROM series")  # noqa: S608
    with session.given("asked_nodes", {"node": np.array(nodes, object)}):
        return session.rows(f"SELECT {what} FROM series SEMI JOIN asked_nodes USING (node)")  # noqa: S608


def _sample_step_s(session: Session, start: datetime, end: datetime) -> float:
    """Median distance of the samples of the last day of [start, end)."""
    last_ms = session.rows(
        "SELECT max(time) FROM samples SEMI JOIN asked USING (series) WHERE time >= $1 AND time < $2",
        (round(start.timestamp() * 1000.0), round(end.timestamp() * 1000.0)),
    )[0][0]
    if last_ms is None:
        return USUAL_STEP_S
    found = session.rows(
        "SELECT median(step) FROM (SELECT time - lag(time) OVER (PARTITION BY series ORDER BY time) AS step "
        "FROM samples SEMI JOIN asked USING (series) WHERE time BETWEEN $1 AND $2)",
        (round(max(start.timestamp(), last_ms / 1000.0 - STEP_OVER_S) * 1000.0), last_ms),
    )[0][0]
    return float(found) / 1000.0 if found is not None else USUAL_STEP_S


def _mean_step_s(session: Session, start: datetime, end: datetime) -> float:
    """Of the coarsest means in [start, end)."""
    for table, step_s in (("hour", 3600.0), ("minute", 60.0)):
        rows = session.rows(
            f"SELECT 1 FROM {table} SEMI JOIN asked USING (series) WHERE time >= $1 AND time < $2 LIMIT 1",  # noqa: S608
            (math.floor(start.timestamp()), math.ceil(end.timestamp())),
        )
        if rows:
            return step_s
    return 0.0
