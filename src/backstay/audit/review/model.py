"""Nouns of the weekly review: what was looked at, what moved, when, and what was about then."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from backstay.audit.model import Cluster, Grade, Grid
from backstay.estate.audit import IndicatorNature

WEEK = timedelta(days=7)
LAST_YEAR = 9998  # the last week of the next has no end


@dataclass(frozen=True, slots=True, kw_only=True)
class Week:
    """The seven days under review, in UTC."""

    start: datetime
    name: str  # "2026-W47", or "7 days to 2026-11-20 14:00" for seven days that are no calendar week

    @property
    def end(self) -> datetime:
        return self.start + WEEK

    @classmethod
    def of(cls, name: str) -> Week:
        """ "2026-W47", ISO 8601: Monday to Sunday. Raises ValueError that says what to write."""
        found = re.fullmatch(r"(\d{4})-?W(\d{2})", name.strip().upper(), re.ASCII)
        wrong = f'"{name[:40]}" is no week. Write 2026-W47, as ISO 8601 counts them.'
        if found is None or int(found[1]) > LAST_YEAR:
            raise ValueError(wrong)
        try:
            start = datetime.fromisocalendar(int(found[1]), int(found[2]), 1).replace(tzinfo=UTC)
        except ValueError:
            raise ValueError(wrong) from None
        return cls(start=start, name=f"{found[1]}-W{found[2]}")

    @classmethod
    def until(cls, end: datetime) -> Week:
        """The seven days up to `end`, or the calendar week that ends then."""
        end = end.astimezone(UTC)
        start = end - WEEK
        if (start.weekday(), start.hour, start.minute, start.second, start.microsecond) == (0, 0, 0, 0, 0):
            year, week, _ = start.isocalendar()
            return cls(start=start, name=f"{year}-W{week:02d}")
        return cls(start=start, name=f"7 days to {end:%Y-%m-%d %H:%M}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """One cluster and what was measured of it: up to the end of the week, and some weeks before it."""

    cluster: Cluster
    grid: Grid  # a node of the cluster that the grid has not is a gap
    closed_loop: bool = False  # a load balancer evens out its unit of work
    limits: Mapping[str, float] = field(default_factory=dict)  # indicator -> where it hurts, in its unit
    natures: Mapping[str, IndicatorNature] = field(default_factory=dict)  # what the estate says of indicators


class Aspect(StrEnum):
    ABSOLUTE = "absolute"  # per unit of work: the cluster's middle
    BESIDE = "beside"  # a node beside the median of its peers
    LIMIT = "limit"  # a node's daily peaks as they are measured, before a limit


class Shape(StrEnum):
    LEVEL = "level"  # from one value to another
    SLOPE = "slope"  # level until then; it has been growing or falling since
    SPREAD = "spread"  # it swings more, or less, than before


@dataclass(frozen=True, slots=True, kw_only=True)
class Coincidence:
    """A fact that changed or an event that happened at about that time. It is no cause yet."""

    node: str  # empty: of no node
    what: str  # "cpu.microcode: 0x71a -> 0x71b", "drain.started web2 (alice): new disk"
    time: datetime
    fact: bool  # else an event of the journal
    same_node: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangePoint:
    time: datetime
    earliest: datetime  # 95%
    latest: datetime
    shape: Shape
    size: float  # LEVEL: of the step; SLOPE: a week; SPREAD: log ratio of the swings. In units of the series
    low: float  # 95%
    high: float
    p: float  # adjusted for the places where it could have been
    coincides: tuple[Coincidence, ...] = ()
    by_chance: float = 0.0  # coincidences to be expected if facts and events had nothing to do with it


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """Seasonal Mann-Kendall with Theil and Sen's slope, of daily medians."""

    per_week: float  # in units of the series
    low: float  # 95%
    high: float
    p: float
    days: int
    effective: float  # days that the autocorrelation leaves


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """When a line through the daily peaks reaches the limit."""

    limit: float
    now: float  # the line at the end of the week
    per_week: float
    earliest_weeks: float  # 95%; 0: it is there
    latest_weeks: float | None  # None: perhaps never


@dataclass(frozen=True, slots=True, kw_only=True)
class WeekMedian:
    start: datetime
    value: float  # of the reviewed series; NaN: nothing was measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A preset interval up to the end of the week: its median beside that of as long before. NaN: too few samples."""

    name: str
    median: float
    change: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewFinding:
    """One series that moved: a node's or a cluster's, on one indicator."""

    cluster: str
    indicator: str
    node: str  # empty: the whole cluster
    aspect: Aspect
    unit: str  # "log ratio", "share" (of the cluster's mean), or the indicator's own
    work: str  # the unit of work that it was divided by; empty: none
    grade: Grade  # DIFFERS: it moved; CONSISTENT: and one changed fact of that node fits the time
    worse: bool | None  # None: neither
    fresh: bool  # it moved within the week
    trend: Trend | None
    changes: tuple[ChangePoint, ...]  # oldest first
    projection: Projection | None
    weeks: tuple[WeekMedian, ...]  # oldest first
    spans: tuple[Span, ...]
    days: tuple[float, ...]  # daily medians, for a plot; NaN: a gap
    start: datetime  # of the first day
    caps: tuple[str, ...] = ()  # why it is graded no higher, and what would raise it


@dataclass(frozen=True, slots=True, kw_only=True)
class Quiet:
    """A cluster's indicator in which nothing moved, and how its weeks went all the same."""

    cluster: str
    indicator: str
    unit: str
    weeks: tuple[WeekMedian, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    week: Week
    findings: tuple[ReviewFinding, ...]  # most important first
    quiet: tuple[Quiet, ...]
    series: int  # reviewed
    clusters: tuple[str, ...]
    problems: tuple[str, ...] = ()  # what could not be reviewed, and what it needs


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """An interval that people look at, and what it is good for."""

    name: str
    length: timedelta
    shows: str


PRESETS = (
    Preset(name="1h", length=timedelta(hours=1), shows="what is going on: beside the hour before"),
    Preset(name="6h", length=timedelta(hours=6), shows="an incident, a deployment: before and after"),
    Preset(name="1d", length=timedelta(days=1), shows="today beside yesterday: the daily cycle is in both"),
    Preset(name="1w", length=WEEK, shows="this week beside the last: weekends are in both; steps that lasted"),
    Preset(name="4w", length=4 * WEEK, shows="slow drift, and what a change a month ago was worth"),
    Preset(name="1y", length=timedelta(days=364), shows="growth, with 52 whole weeks on both sides"),
)
