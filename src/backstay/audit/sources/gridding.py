"""Series as a source saw them (irregular, doubled, late, out of order) onto one grid; what was wrong is told.

A doubled sample counts once, the last that was told wins. A sample from later than now, which a clock that is ahead
makes, is left out: where it belongs is not known. NaN and infinities are gaps.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from backstay.audit.model import Floats, Grid, Series, SeriesKind
from backstay.audit.rates import rate

SKEW_S = 60.0  # clocks of hosts that are not badly set agree within this
CELLS_LIMIT = 45_000  # in time: four weeks of minutes, and some
GRID_LIMIT = 100_000_000  # values: 800 MB
STEP_FLOOR_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tidied:
    series: tuple[Series, ...]  # gauges, times strictly rising, values finite or NaN
    problems: tuple[str, ...]  # what was left out or mended, how often, and where


def tidy(series: Sequence[Series], now: datetime) -> Tidied:
    """Sorted, single, finite, not later than `now`; counters as rates."""
    counts: Counter[str] = Counter()
    where: dict[str, str] = {}
    found = []
    for one in series:
        each = _tidy_one(one, now.timestamp() + SKEW_S)
        for problem, count in each[1].items():
            if count:
                counts[problem] += count
                where.setdefault(problem, f"{one.node}, {one.indicator}")
        if each[0].times_s.size:
            found.append(each[0])
    problems = tuple(f"{problem}: {count} (first: {where[problem]})" for problem, count in counts.items())
    return Tidied(series=tuple(found), problems=problems)


def _tidy_one(series: Series, latest_s: float) -> tuple[Series, dict[str, int]]:
    times_s, values = series.times_s, series.values
    counts: dict[str, int] = {}
    late, early = times_s > latest_s, ~(times_s >= 0.0)
    dated = ~late & ~early
    counts["samples from later than now, left out (is the node's clock ahead?)"] = int(late.sum())
    counts["samples without a time, or from before 1970, left out"] = int(early.sum())
    finite = np.isfinite(values)
    counts["values that are infinite or no number, as gaps"] = int((dated & ~finite).sum())
    kept = dated & finite
    times_s, values = times_s[kept], values[kept]
    if (np.diff(times_s) < 0.0).any():
        counts["series out of order, sorted"] = 1
    order = np.argsort(times_s, kind="stable")
    times_s, values = times_s[order], values[order]
    last = np.append(np.diff(times_s) > 0.0, True) if times_s.size else np.zeros(0, bool)
    counts["doubled samples, of which the last counts"] = int((~last).sum())
    times_s, values = times_s[last], values[last]
    if series.kind is SeriesKind.COUNTER:
        rated = rate(times_s, values)
        counts["resets of counters, as gaps"] = rated.resets
        counts["wraps of counters, counted on"] = rated.wraps
        times_s, values = rated.times_s, rated.values
    return replace(series, times_s=times_s, values=values, kind=SeriesKind.GAUGE), counts


def step_of(series: Iterable[Series], start: datetime, end: datetime) -> float:
    """Width of a cell in seconds: the median distance of samples, or what keeps the grid within CELLS_LIMIT."""
    steps = [float(np.median(np.diff(one.times_s))) for one in series if one.times_s.size > 1]
    usual = float(np.median(steps)) if steps else 60.0
    least = (end - start).total_seconds() / CELLS_LIMIT
    return float(math.ceil(max(usual, least, STEP_FLOOR_S)))


def cells_between(
    nodes: Sequence[str], indicators: Sequence[str], *, start: datetime, end: datetime, step_s: float
) -> int:
    """How many cells of `step_s` [start, end) has. Raises ValueError when the grid has more than GRID_LIMIT values."""
    count = max(1, math.ceil((end - start).total_seconds() / step_s))
    size = count * len(nodes) * len(indicators)
    if size > GRID_LIMIT:
        raise ValueError(
            f"{len(nodes)} nodes, {len(indicators)} indicators and {count} times are {size} values; {GRID_LIMIT} fit. "
            "Look at fewer nodes, or a shorter time."
        )
    return count


def to_grid(
    series: Sequence[Series],
    nodes: Sequence[str],
    indicators: Sequence[str],
    *,
    start: datetime,
    end: datetime,
    step_s: float,
) -> Grid:
    """Means of the samples of each cell in [start, end). `series`: tidy. Raises ValueError beyond GRID_LIMIT."""
    count = cells_between(nodes, indicators, start=start, end=end, step_s=step_s)
    values = np.full((len(indicators), len(nodes), count), np.nan)
    row = {name: at for at, name in enumerate(indicators)}
    column = {name: at for at, name in enumerate(nodes)}
    for one in series:
        if one.indicator in row and one.node in column:
            values[row[one.indicator], column[one.node]] = _cells(one, start.timestamp(), step_s, count)
    return Grid(
        nodes=tuple(nodes), indicators=tuple(indicators), start=start.astimezone(UTC), step_s=step_s, values=values
    )


def _cells(series: Series, start_s: float, step_s: float, count: int) -> Floats:
    cells = np.floor((series.times_s - start_s) / step_s).astype(np.int64)
    inside = (cells >= 0) & (cells < count) & np.isfinite(series.values)
    cells, values = cells[inside], series.values[inside]
    samples = np.bincount(cells, minlength=count)
    sums = np.bincount(cells, weights=values, minlength=count)
    found: Floats = np.divide(sums, samples, out=np.full(count, np.nan), where=samples > 0)
    return found
