"""The review of a week: every series, its steps and its trend, false discoveries under control, in order of importance.

Watched -> rows.py -> changepoints.py, trend.py, projection.py -> Benjamini and Hochberg -> coincide.py -> Review
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from backstay.audit.fleet import FALSE_DISCOVERIES, discoveries
from backstay.audit.model import FactChange, Floats, Grade
from backstay.audit.review.cells import DAY_S, DAYS_FOR_A_CYCLE, daily, without_cycles
from backstay.audit.review.changepoints import CELLS_LEAST, LEAST, Break, find_breaks
from backstay.audit.review.coincide import Happenings
from backstay.audit.review.model import (
    WEEK,
    Aspect,
    ChangePoint,
    Projection,
    Quiet,
    Review,
    ReviewFinding,
    Shape,
    Trend,
    Watched,
    Week,
)
from backstay.audit.review.projection import PEAK, project
from backstay.audit.review.rows import Row, rows_of, up_to
from backstay.audit.review.trend import DAYS_LEAST, WEEKS_LEAST, trend_of
from backstay.journal import Event

SERIES_LIMIT = 4_000  # in one review: some minutes
LEVEL_LEAST = 0.01  # log ratio or share: a step of 1%
TREND_LEAST = 0.0025  # a week
TREND_WHOLE_LEAST = 0.01  # over what was looked at
CHANCE_LIMIT = 0.1  # coincidences to be expected: from here on one is no news
SOON_WEEKS = 8.0
ECHOING = 3  # nodes of a cluster in which one that moves is seen in the others, too
ECHO = 1.5  # half as far, and some room for noise
NAMED = 6  # indicators or nodes with one problem; more are counted
NO_TREND = "three weeks are needed for a trend"
TOO_MANY = f"not reviewed: {SERIES_LIMIT} series fit in one review. Name fewer clusters"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tried:
    """A row with everything that was found in it, before it is known what of that is chance."""

    row: Row
    days: Floats
    start: datetime  # of the first day
    breaks: tuple[Break, ...]
    trend: Trend | None


def review(
    watched: Iterable[Watched],
    week: Week,
    *,
    changes: Sequence[FactChange] = (),
    events: Sequence[Event] = (),
    problems: Sequence[str] = (),
) -> Review:
    """What moved, up to the end of `week`, in every indicator of every cluster; most important first.

    A trend needs three weeks, a change of a cluster's level one: what is too short, constant or missing is told
    in the review's problems, after those that are given, and claims nothing.
    """
    told = list(problems)
    tried: list[_Tried] = []
    clusters: dict[str, Happenings] = {}
    for one in watched:
        if one.cluster.name not in clusters:
            clusters[one.cluster.name] = Happenings(one.cluster.nodes, changes, events)
        tried += _of_cluster(replace(one, grid=up_to(one.grid, week)), week, told, SERIES_LIMIT - len(tried))
    real = _without_echoes(_told_from_chance(tried))
    findings = [found for one in real for found in [_finding(one, week, clusters[one.row.cluster])] if found]
    findings = sorted(_one_per_limit(findings), key=_order)
    moved = {(one.cluster, one.indicator) for one in findings}
    quiet = [
        Quiet(cluster=one.row.cluster, indicator=one.row.indicator, unit=one.row.unit, weeks=one.row.weeks)
        for one in tried
        if one.row.aspect is Aspect.ABSOLUTE and (one.row.cluster, one.row.indicator) not in moved
    ]
    return Review(
        week=week,
        findings=tuple(findings),
        quiet=tuple(quiet),
        series=len(tried),
        clusters=tuple(clusters),
        problems=tuple(told),
    )


def _of_cluster(watched: Watched, week: Week, problems: list[str], room: int) -> Iterator[_Tried]:
    name, grid = watched.cluster.name, watched.grid
    notes: dict[str, list[tuple[str, str]]] = {}  # what is wrong -> indicator and node
    left = room
    for indicator in grid.indicators:
        rows = list(rows_of(watched, indicator, week))
        if len(rows) > left:
            notes.setdefault(TOO_MANY, []).append((indicator, ""))
            continue
        left -= len(rows)
        if not rows:
            notes.setdefault("no value that can be used, up to the end of the week", []).append((indicator, ""))
        for row in rows:
            problem = _unfit(row, week)
            if problem:
                notes.setdefault(problem, []).append((indicator, row.node))
            if not problem or problem.endswith(NO_TREND):
                yield _try(row)
    if len(watched.cluster.nodes) == 1:
        problems.append(f"{name}: one node has no peers; its own level alone was reviewed.")
    for problem, where in notes.items():
        indicators, nodes = (_few(dict.fromkeys(one[at] for one in where)) for at in (0, 1))
        whose = f" of {nodes}" if all(node for _, node in where) else ""
        problems.append(f"{name}, {indicators}{whose}: {problem}.")


def _few(names: Iterable[str]) -> str:
    shown = [name for name in names if name]
    return ", ".join(shown[:NAMED]) + (f" and {len(shown) - NAMED} more" if len(shown) > NAMED else "")


def _unfit(row: Row, week: Week) -> str:
    """Why nothing, or no trend, can be said of a row; empty: it can."""
    values, times_s = row.cells.values[0], row.cells.times_s
    present = np.flatnonzero(np.isfinite(values))
    if not present.size or times_s[present[-1]] + row.cells.width_s <= week.start.timestamp():
        return "nothing was measured in the week"
    days = (present[-1] - present[0] + 1) * row.cells.width_s / DAY_S
    if np.ptp(values[present]) == 0.0:
        return "constant beside its peers" if row.aspect is Aspect.BESIDE else "constant"
    if days < DAYS_FOR_A_CYCLE and row.aspect is not Aspect.BESIDE:
        return f"{days:.1f} days: a daily cycle is known after a week, a trend after three"
    if present.size < CELLS_LEAST:
        return f"{present.size} values: {CELLS_LEAST} are needed"
    if days < WEEKS_LEAST * 7 or present.size * row.cells.width_s / DAY_S < DAYS_LEAST / 2:
        return f"{days:.0f} days: {NO_TREND}"
    return ""


def _try(row: Row) -> _Tried:
    values, times_s = row.cells.values[0], row.cells.times_s
    calm = without_cycles(values, times_s, row.cells.width_s)
    broken = find_breaks(calm)
    if row.aspect is Aspect.LIMIT:
        # A line through a step leads nowhere: what came before the last step is left out.
        last = max((one.cell for one in broken.breaks if one.shape is Shape.LEVEL), default=0)
        days = daily(values[last:], times_s[last:], PEAK)
        return _Tried(row=row, days=days, start=_day(row, last), breaks=(), trend=trend_of(days))
    share = None if row.rare else 0.5
    days = daily(values, times_s, share)
    trend = trend_of(daily(values - broken.levels, times_s, share))
    return _Tried(row=row, days=days, start=_day(row, 0), breaks=broken.breaks, trend=trend)


def _day(row: Row, cell: int) -> datetime:
    return row.cells.time(cell).replace(hour=0, minute=0, second=0, microsecond=0)


def _told_from_chance(tried: Sequence[_Tried]) -> list[_Tried]:
    """False discoveries at 5% over every trend and every search for a change of level or of swing, found or not."""
    p: list[float] = []
    for one in tried:
        p += [one.trend.p] if one.trend else []
        p += [found.p for found in one.breaks]
    swings = [sum(found.shape is Shape.SPREAD for found in one.breaks) for one in tried]
    nothing = sum((swing == 0) + (len(one.breaks) == swing) for one, swing in zip(tried, swings, strict=True))
    kept = iter(discoveries(np.array(p + nothing * [1.0]), FALSE_DISCOVERIES).tolist()) if p else iter(())
    real = []
    for one in tried:
        trend = one.trend if one.trend and next(kept) and _matters(one.row, one.trend) else None
        marks = [next(kept) for _ in one.breaks]
        breaks = tuple(
            found
            for found, mark in zip(one.breaks, marks, strict=True)
            if mark and (found.shape is not Shape.LEVEL or abs(found.size) >= LEVEL_LEAST)
        )
        if trend or breaks:
            real.append(replace(one, trend=trend, breaks=breaks))
    return real


def _without_echoes(real: Sequence[_Tried]) -> list[_Tried]:
    """Of three nodes, the median of a node's two peers is their mean: when one moves, the others seem to move half as
    far the other way, at the same time. That is one finding, not three.
    """
    threes: dict[tuple[str, str], list[_Tried]] = {}
    for one in real:
        if one.row.aspect is Aspect.BESIDE and one.row.nodes == ECHOING:
            threes.setdefault((one.row.cluster, one.row.indicator), []).append(one)
    kept = []
    for one in real:
        others = [other for other in threes.get((one.row.cluster, one.row.indicator), ()) if other is not one]
        if one.row.aspect is not Aspect.BESIDE or not others:
            kept.append(one)
            continue
        breaks = tuple(found for found in one.breaks if not any(_echo(found, b) for o in others for b in o.breaks))
        trend = None if any(_trends_away(one.trend, other.trend) for other in others) else one.trend
        if trend or breaks:
            kept.append(replace(one, breaks=breaks, trend=trend))
    return kept


def _echo(one: Break, other: Break) -> bool:
    """Is `one` what `other`, of a peer, looks like from here?"""
    together = one.earliest <= other.latest + LEAST and other.earliest <= one.latest + LEAST
    opposite = one.size * other.size < 0.0
    return one.shape is other.shape is not Shape.SPREAD and together and opposite and _lesser(one.size, other.size)


def _trends_away(one: Trend | None, other: Trend | None) -> bool:
    return bool(one and other and one.per_week * other.per_week < 0.0 and _lesser(one.per_week, other.per_week))


def _lesser(one: float, other: float) -> bool:
    return abs(one) * ECHO < abs(other)


def _matters(row: Row, trend: Trend) -> bool:
    """Is the slope worth a word? A limit has its own measure: when it is reached."""
    if row.aspect is Aspect.LIMIT:
        return True
    return abs(trend.per_week) >= max(TREND_LEAST, TREND_WHOLE_LEAST * 7.0 / max(trend.days, 7))


def _finding(one: _Tried, week: Week, happenings: Happenings) -> ReviewFinding | None:
    """None for a series that moves, and away from its limit."""
    row = one.row
    projection = project(one.days, one.trend, row.limit) if row.limit is not None and one.trend else None
    if row.aspect is Aspect.LIMIT and projection is None:
        return None
    changes = tuple(_dated(found, row, happenings) for found in one.breaks)
    fresh = one.trend is not None or any(found.latest >= week.start for found in changes)
    grade, caps = _grade(row, changes)
    return ReviewFinding(
        cluster=row.cluster,
        indicator=row.indicator,
        node=row.node,
        aspect=row.aspect,
        unit=row.unit,
        work=row.work,
        grade=grade,
        worse=True if projection else _worse(row, one.trend, changes),
        fresh=fresh,
        trend=one.trend,
        changes=changes,
        projection=projection,
        weeks=row.weeks,
        spans=row.spans,
        days=tuple(one.days.tolist()),
        start=one.start,
        caps=caps,
    )


def _dated(found: Break, row: Row, happenings: Happenings) -> ChangePoint:
    cells = row.cells
    per = WEEK.total_seconds() / cells.width_s if found.shape is Shape.SLOPE else 1.0
    earliest, latest = cells.time(found.earliest), cells.time(found.latest)
    span = (cells.time(0), cells.time(cells.count))
    coincides, by_chance = happenings.about(earliest, latest, row.node, span)
    return ChangePoint(
        time=cells.time(found.cell),
        earliest=earliest,
        latest=latest,
        shape=found.shape,
        size=per * found.size,
        low=per * found.low,
        high=per * found.high,
        p=found.p,
        coincides=coincides,
        by_chance=by_chance,
    )


def _worse(row: Row, trend: Trend | None, changes: Sequence[ChangePoint]) -> bool | None:
    """By the newest change that has a direction, else by the trend. More swing is worse for every indicator."""
    directed = [one for one in changes if one.shape is not Shape.SPREAD]
    if not directed and trend is None:
        return changes[-1].size > 0.0
    if row.worse is None:
        return None
    size = directed[-1].size if directed else trend.per_week if trend else 0.0
    return (size > 0.0) is row.worse


def _grade(row: Row, changes: Sequence[ChangePoint]) -> tuple[Grade, tuple[str, ...]]:
    """A review sees that something moved and what was about then; it never proves a cause."""
    fits = [
        one
        for change in changes
        if change.by_chance <= CHANCE_LIMIT
        for one in change.coincides
        if one.fact and one.same_node
    ]
    caps = []
    if fits:
        caps.append("one coincidence in time is no proof: undo it on that node, or look with audit explain.")
    elif row.aspect is Aspect.BESIDE:
        caps.append("it moved, and no changed fact of that node fits the time: audit explain compares the facts.")
    if row.aspect is Aspect.ABSOLUTE:
        caps.append("the whole cluster moved: there is nothing unchanged to compare it with.")
    if row.nodes == 2 and row.aspect is Aspect.BESIDE:
        caps.append("two nodes: which of them moved cannot be told from this alone.")
    if row.closed_loop:
        caps.append("a load balancer evens it out: that it is even proves nothing.")
    return (Grade.CONSISTENT if fits else Grade.DIFFERS), tuple(caps)


def _one_per_limit(findings: Iterable[ReviewFinding]) -> Iterator[ReviewFinding]:
    """Of the nodes of a cluster that go toward a limit, the one that is there first."""
    first: dict[tuple[str, str], ReviewFinding] = {}
    for one in findings:
        if one.projection is None:
            yield one
            continue
        key = (one.cluster, one.indicator)
        known = first.get(key)
        if known is None or known.projection is None or _reach(one.projection) < _reach(known.projection):
            first[key] = one
    yield from first.values()


def _reach(one: Projection) -> tuple[float, float]:
    return one.earliest_weeks, one.latest_weeks if one.latest_weeks is not None else math.inf


def _order(one: ReviewFinding) -> tuple[int, float, str, str, str]:
    """A limit that is near, then what got worse, then what else moved this week, then what moved before."""
    soon = one.projection is not None and one.projection.earliest_weeks <= SOON_WEEKS
    tier = 0 if soon else 1 if one.worse and one.fresh else 2 if one.fresh else 3
    moved = [abs(change.size) for change in one.changes]
    if one.trend is not None:
        moved.append(abs(one.trend.per_week) * one.trend.days / 7.0)
    urgency = _reach(one.projection)[0] if one.projection else -max(moved, default=0.0)
    return tier, urgency, one.cluster, one.indicator, one.node
