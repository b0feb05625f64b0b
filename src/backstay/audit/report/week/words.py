"""What is said of a week: one sentence about all, one for each finding, and the lines below it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np

from backstay.audit.model import Grade
from backstay.audit.report.plots import POINTS_LIMIT, Chart, Line, thin
from backstay.audit.report.story import percent, short
from backstay.audit.review.model import (
    Aspect,
    ChangePoint,
    Coincidence,
    Projection,
    Quiet,
    Review,
    ReviewFinding,
    Shape,
    Trend,
)

CHANGES_SHOWN = 3  # of one series, the newest
DAY = timedelta(days=1)


def title(review: Review) -> str:
    first, last = review.week.start, review.week.end - timedelta(seconds=1)
    return f"Review of {review.week.name}, {first:%Y-%m-%d} to {last:%Y-%m-%d}"


def summary(review: Review) -> str:
    """How much moved of how much, and what of it got worse."""
    clusters = f"{len(review.clusters)} cluster{'s' * (len(review.clusters) != 1)}"
    if not review.series:
        return f"Nothing of {clusters} could be reviewed."
    worse = sum(one.worse is True and one.fresh for one in review.findings)
    before = sum(not one.fresh for one in review.findings)
    if not review.findings:
        return f"Nothing moved in {review.series} series of {clusters}, as far as they can tell."
    return (
        f"{len(review.findings)} of {review.series} series of {clusters} moved: {worse} for the worse"
        + (f", {before} of them before this week" if before else "")
        + "."
    )


def headline(one: ReviewFinding) -> str:
    """The finding in a sentence."""
    if one.projection is not None:
        return _reaches(one, one.projection)
    parts = [_changed(change, one) for change in one.changes[-1:]]
    if one.trend is not None:
        parts.append(_grows(one.trend, one))
    return f"{subject(one)}: {'; '.join(parts)}."


def subject(one: ReviewFinding | Quiet) -> str:
    """What moved: "load of queue2 (queue) beside its peers, per unit of messages"."""
    if isinstance(one, Quiet):
        return f"{one.indicator} of {one.cluster}"
    per = f", per unit of {one.work}" if one.work else ""
    if one.aspect is Aspect.BESIDE:
        return f"{one.indicator} of {one.node} beside its peers in {one.cluster}{per}"
    if one.aspect is Aspect.LIMIT:
        return f"daily peaks of {one.indicator} of {one.node} in {one.cluster}"
    return f"{one.indicator} of {one.cluster} as a whole{per}"


def details(one: ReviewFinding) -> tuple[str, ...]:
    """Older changes, what was about at each, the grade, and what would raise it."""
    lines = []
    for change in reversed(one.changes[-CHANGES_SHOWN:]):
        if change is not one.changes[-1]:
            lines.append(f"Before: {_changed(change, one)}.")
        lines += [_coinciding(found, change, one) for found in change.coincides]
    more = len(one.changes) - CHANGES_SHOWN
    if more > 0:
        lines.append(f"And {more} changes before those.")
    if one.projection is not None:
        lines.append(
            f"It is at {_figure(one.projection.now)} now, {_figure(one.projection.per_week, sign=True)} a week."
        )
    sure = {
        Grade.CONSISTENT: "Consistent, no more: a changed fact fits the time",
        Grade.DIFFERS: "It moved; why is not known",
    }
    caps = f"; {'; '.join(one.caps)}" if one.caps else "."
    return (*lines, f"{sure[one.grade]}{caps}") if one.projection is None else tuple(lines)


def _reaches(one: ReviewFinding, found: Projection) -> str:
    unit = f" {one.unit}" if one.unit != one.indicator else ""
    what = f"{one.indicator} of {one.cluster} reaches {_figure(found.limit)}{unit}"
    if found.latest_weeks is None:
        when = f"in {_weeks(found.earliest_weeks)} at the earliest, perhaps never"
    else:
        early, late = math.floor(found.earliest_weeks), math.ceil(found.latest_weeks)
        when = f"in {early} to {late} weeks" if late > 1 else "within a week"
    return f"{what} {when} ({one.node} first)."


def _weeks(count: float) -> str:
    whole = math.floor(count)
    return "a week" if whole <= 1 else f"{whole} weeks"


def _figure(value: float, *, sign: bool = False) -> str:
    return f"{value:+.3g}" if sign else f"{value:.4g}"


def _changed(change: ChangePoint, one: ReviewFinding) -> str:
    time = f"{change.time:%a %Y-%m-%d %H:%M}"
    if change.shape is Shape.SPREAD:
        more = "more" if change.size > 0.0 else "less"
        return f"swings {math.exp(abs(change.size)):.1f} times {more} since {time}"
    size, low, high = (percent(value, one.unit) for value in (change.size, change.low, change.high))
    if change.shape is Shape.SLOPE:
        return f"level until {time}, since then {size} a week ({low} to {high})"
    return f"{size} ({low} to {high}) since {time}"


def _grows(trend: Trend, one: ReviewFinding) -> str:
    size, low, high = (percent(value, one.unit) for value in (trend.per_week, trend.low, trend.high))
    besides = " besides" if one.changes else ""
    return f"{size} a week ({low} to {high}){besides}, over {round(trend.days / 7)} weeks"


def _coinciding(found: Coincidence, change: ChangePoint, one: ReviewFinding) -> str:
    where = "same node" if found.same_node else found.node or "no node"
    chance = f"; by chance there would be {change.by_chance:.1g}" if found.same_node or not one.node else ""
    return f"At that time: {short(found.what)} at {found.time:%a %H:%M} ({where}{chance})."


def chart(one: ReviewFinding) -> Chart:
    """The daily figures: beside their own middle, or before the limit."""
    values = np.array(one.days)
    end = one.start + len(one.days) * DAY
    marks = tuple(change.time for change in one.changes)
    if one.projection is not None:
        limit = one.projection.limit
        lines = [_line(one.node, 0, values / limit if limit else values), _line("limit", 1, np.ones_like(values))]
        words = f"{subject(one)}, in shares of the limit of {_figure(limit)}"
        return Chart(title=words, ratio=False, start=one.start, end=end, lines=tuple(lines), marks=marks)
    ratio = one.unit == "log ratio"
    finite = values[np.isfinite(values)]
    if ratio and one.aspect is Aspect.ABSOLUTE and finite.size:
        values = values - np.median(finite)
    about = " beside its own middle" if one.aspect is Aspect.ABSOLUTE and ratio else ""
    words = f"{subject(one)}: each day{about}"
    lines = [_line(one.node or one.cluster, 0, values)]
    return Chart(title=words, ratio=ratio, start=one.start, end=end, lines=tuple(lines), marks=marks)


def _line(name: str, group: int, values: np.ndarray) -> Line:
    return Line(node=name, group=group, label="", values=thin(values, POINTS_LIMIT))


def movement(values: Sequence[float], unit: str) -> tuple[str, ...]:
    """Weekly medians for people: each beside the one before; the first has nothing before it."""
    steps = [math.nan, *(b - a for a, b in itertools.pairwise(values))]
    return tuple(percent(step, unit) if math.isfinite(step) else "-" for step in steps)


def day_of(time: datetime) -> str:
    return f"{time:%Y-%m-%d}"
