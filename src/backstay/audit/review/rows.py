"""Which series of a cluster are reviewed: each indicator of the whole cluster, of each node beside its peers, and where
the estate gives a limit, of each node as it was measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np

from backstay.audit.catalogue import indicator_of
from backstay.audit.compare.peers import median_of_others, relative
from backstay.audit.examine import normalised
from backstay.audit.model import Floats, Grid
from backstay.audit.review.cells import Cells, in_cells, median, width_for
from backstay.audit.review.model import PRESETS, WEEK, Aspect, Span, Watched, Week, WeekMedian
from backstay.audit.work import Method

HISTORY_WEEKS = 8  # that are searched: a quarter would be coarser, a month too short for a slow drift
SPAN_SHARE = 0.5  # of an interval that has to be measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One series under review."""

    cluster: str
    indicator: str
    node: str  # empty: the whole cluster
    aspect: Aspect
    unit: str
    work: str
    worse: bool | None  # is a higher value worse
    closed_loop: bool
    nodes: int  # that were measured: of two, which of them moved cannot be told
    limit: float | None
    rare: bool  # mostly zeros: means, not medians
    cells: Cells  # one row
    weeks: tuple[WeekMedian, ...]
    spans: tuple[Span, ...]


def up_to(grid: Grid, week: Week) -> Grid:
    """What was measured before the end of the week, two years of it at most."""
    end = min(max(grid.cell(week.end), 0), grid.count)
    start = min(max(grid.cell(week.end - 2 * PRESETS[-1].length), 0), end)
    return replace(grid, start=grid.start + timedelta(seconds=start * grid.step_s), values=grid.values[:, :, start:end])


def rows_of(watched: Watched, indicator: str, week: Week) -> Iterator[Row]:
    """The rows of one indicator. `watched.grid` ends with the week (up_to). A node without any value has none."""
    grid, cluster = watched.grid, watched.cluster
    nature = watched.natures.get(indicator)
    known = indicator_of(indicator, work=cluster.work, closed_loop=watched.closed_loop, nature=nature)
    by_work = known.per_work and cluster.work in grid.indicators
    normal = normalised(cluster, grid, known)
    rare = normal.method is Method.LINEAR
    measured = grid.rows(indicator, cluster.nodes)
    measured = np.where(np.isfinite(measured), measured, np.nan)

    def row(values: Floats, node: str, aspect: Aspect, unit: str, limit: float | None = None) -> Row:
        return Row(
            cluster=cluster.name,
            indicator=indicator,
            node=node,
            aspect=aspect,
            unit=unit,
            work=cluster.work or "" if by_work and aspect is not Aspect.LIMIT else "",
            worse=known.higher_is_worse,
            closed_loop=known.closed_loop,
            nodes=len(able),
            limit=limit,
            rare=rare and aspect is not Aspect.LIMIT,
            cells=_searched(values, grid, week, rare=rare),
            weeks=_weeks(values, grid, week, rare=rare),
            spans=_spans(values, grid, rare=rare),
        )

    unit = "share" if rare else "log ratio"
    able = np.flatnonzero(np.isfinite(normal.values).any(axis=1))
    if not able.size:
        return
    values = normal.values[able]
    # About its own middle first: a node that is missing for a day must not move what the others are compared with.
    middles = np.median(values, axis=1) if np.isfinite(values).all() else median(values)
    centred = values - middles[:, None]
    yield row(median(centred.T) + float(np.median(middles)), "", Aspect.ABSOLUTE, unit)
    if able.size > 1:
        beside = relative(centred) + (middles - median_of_others(middles[:, None])[:, 0])[:, None]
        # Of two nodes the one is the other's mirror image: once is enough.
        for at, place in enumerate(able[: 1 if able.size == 2 else None]):
            yield row(beside[at], cluster.nodes[place], Aspect.BESIDE, unit)
    limit = watched.limits.get(indicator)
    for place in able if limit is not None else ():
        yield row(measured[place], cluster.nodes[place], Aspect.LIMIT, known.unit or indicator, limit)


def _searched(values: Floats, grid: Grid, week: Week, *, rare: bool) -> Cells:
    first = min(max(grid.cell(week.end - HISTORY_WEEKS * WEEK), 0), grid.count)
    start_s = grid.start.timestamp() + first * grid.step_s
    recent = values[None, first:]
    # The width is that of the whole history, not of what this node has of it: all rows of a review have one.
    span_s = min(grid.count * grid.step_s, HISTORY_WEEKS * WEEK.total_seconds())
    return in_cells(recent, start_s, grid.step_s, width_for(span_s, grid.step_s), rare=rare)


def _weeks(values: Floats, grid: Grid, week: Week, *, rare: bool) -> tuple[WeekMedian, ...]:
    found = []
    for back in range(HISTORY_WEEKS - 1, -1, -1):
        start = week.start - back * WEEK
        part = values[max(grid.cell(start), 0) : max(grid.cell(start + WEEK), 0)]
        found.append(WeekMedian(start=start, value=_middle(part, rare=rare)))
    while found and not np.isfinite(found[0].value):
        del found[0]
    return tuple(found)


def _spans(values: Floats, grid: Grid, *, rare: bool) -> tuple[Span, ...]:
    found = []
    for preset in PRESETS:
        cells = round(preset.length.total_seconds() / grid.step_s)
        now, before = (values[max(grid.count - ago * cells, 0) : grid.count - (ago - 1) * cells] for ago in (1, 2))
        enough = [cells > 0 and np.isfinite(part).sum() >= SPAN_SHARE * cells for part in (now, before)]
        middle = _middle(now, rare=rare) if enough[0] else np.nan
        change = middle - _middle(before, rare=rare) if all(enough) else np.nan
        found.append(Span(name=preset.name, median=float(middle), change=float(change)))
    return tuple(found)


def _middle(values: Floats, *, rare: bool) -> float:
    clean = values[np.isfinite(values)]
    if not clean.size:
        return float("nan")
    return float(clean.mean() if rare else np.median(clean))
