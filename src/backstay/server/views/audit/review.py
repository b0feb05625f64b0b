"""The week on one screen: what slowly gets worse, what moved and what was about then, when a limit comes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from backstay.server.audit.model import Plain, Result
from backstay.server.views.audit.words import GRADE, address, finding_path, percent, when
from backstay.server.views.scene.words import Standing, Tone

FINDINGS_SHOWN = 30
QUIET_SHOWN = 200
WIDTH, HEIGHT = 240.0, 48.0  # of a small plot, in its own units

WORSE = Standing("worse", Tone.WARN)
BETTER = Standing("better", Tone.OK)
MOVED = Standing("moved", Tone.INFO, "info")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spark:
    """Daily medians as a line; `marks`: where it moved, as places from 0 to WIDTH."""

    paths: tuple[str, ...]  # of SVG; a gap begins another one
    marks: tuple[float, ...]
    words: str  # for who does not see it


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanCell:
    """A preset interval beside as long before it."""

    name: str
    href: str
    change: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    where: str  # "load of queue, queue4"
    href: str
    standing: Standing
    grade: Standing
    fresh: bool
    sentence: str
    details: tuple[str, ...]
    spark: Spark
    spans: tuple[SpanCell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quiet:
    indicator: str
    cluster: str
    href: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewPage:
    title: str
    sentence: str
    at: datetime
    rows: tuple[Row, ...]
    left_out: int
    quiet: tuple[Quiet, ...]
    presets: tuple[tuple[str, str], ...]  # name, what it shows
    problems: tuple[str, ...]


def review_page(found: Result) -> ReviewPage:
    told = found.body
    return ReviewPage(
        title=told["title"],
        sentence=told["sentence"],
        at=found.at,
        rows=tuple(_row(one) for one in told["findings"][:FINDINGS_SHOWN]),
        left_out=max(0, len(told["findings"]) - FINDINGS_SHOWN),
        quiet=tuple(
            Quiet(
                indicator=one["indicator"],
                cluster=one["cluster"],
                href=address(finding_path(one["cluster"], one["indicator"]), "1w"),
            )
            for one in told["quiet"][:QUIET_SHOWN]
        ),
        presets=tuple((one["name"], one["shows"]) for one in told["presets"]),
        problems=tuple(told["problems"]),
    )


def _row(one: Plain) -> Row:
    path = finding_path(one["cluster"], one["indicator"])
    worse = one["worse"]
    node = f", {one['node']}" if one["node"] else ""
    start = when(one["days"]["from"])
    marks = [at for change in one["changes"] if (at := when(change["time"])) is not None]
    return Row(
        where=f"{one['indicator']} of {one['cluster']}{node}",
        href=address(path, "4w"),
        standing=MOVED if worse is None else WORSE if worse else BETTER,
        grade=GRADE.get(one["grade"], GRADE["differs"]),
        fresh=one["fresh"],
        sentence=one["sentence"],
        details=tuple(one["details"]),
        spark=_spark(one["days"]["values"], start, marks),
        spans=tuple(
            SpanCell(name=span["name"], href=address(path, span["name"]), change=_changed(span["change"], one["unit"]))
            for span in one["spans"]
        ),
    )


def _changed(change: float | None, unit: str) -> str:
    if change is None:
        return "–"
    return percent(change) if unit == "log ratio" else f"{change:+.3g}"


def _spark(values: Sequence[float | None], start: datetime | None, marks: Sequence[datetime]) -> Spark:
    """The line between its least and its greatest value."""
    there = [value for value in values if value is not None]
    if not there or start is None:
        return Spark(paths=(), marks=(), words="nothing measured")
    low, high = min(there), max(there)
    width = (high - low) or 1.0
    step = WIDTH / max(len(values) - 1, 1)
    paths: list[str] = []
    pen = False
    for at, value in enumerate(values):
        if value is None:
            pen = False
            continue
        point = f"{at * step:.1f} {HEIGHT - 3 - (value - low) / width * (HEIGHT - 6):.1f}"
        if pen:
            paths[-1] += f"L{point}"
        else:
            paths.append(f"M{point}")
        pen = True
    places = [(mark - start) / timedelta(days=1) * step for mark in marks]
    return Spark(
        paths=tuple(paths),
        marks=tuple(round(place, 1) for place in places if 0 <= place <= WIDTH),
        words=f"daily medians of {len(values)} days from {start:%Y-%m-%d}",
    )
