"""Small plots: a line of characters for each node, and an SVG chart that needs no script."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape

import numpy as np

from backstay.audit.model import Floats

BARS = "▁▂▃▄▅▆▇█"
POINTS_LIMIT = 240  # of one line in a chart
SPARK_WIDTH = 48
LINES_LIMIT = 40  # nodes drawn
WIDE = math.log(5.0)  # log ratio: from here on people think in times, not in percent
# Okabe and Ito's colours, which colour-blind people can tell apart; dash patterns tell the groups apart in print.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5c5c5c")
DASHES = ("", "6 3", "2 3", "8 3 2 3", "1 2", "10 4", "4 4")
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 860.0, 280.0, 64.0, 190.0, 12.0, 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    node: str
    group: int  # of the first class, or the split; lines of one group look alike
    label: str  # the value of the fact that comes first; empty: none
    values: tuple[float, ...]  # at most POINTS_LIMIT; NaN: a gap


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    title: str
    ratio: bool  # values are log ratios; else shares of the cluster's mean
    start: datetime
    end: datetime
    lines: tuple[Line, ...]
    marks: tuple[datetime, ...] = ()  # moments to be seen in it: a fact that changed


def thin(values: Floats, points: int) -> tuple[float, ...]:
    """Means of at most `points` stretches of equal length; NaN where a stretch has no value. `values`: (times,)."""
    if not values.size:
        return ()
    stretches = np.array_split(np.where(np.isfinite(values), values, np.nan), min(points, values.size))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a stretch of gaps has no mean: NaN is what we want
        return tuple(float(np.nanmean(one)) for one in stretches)


def sparkline(values: Sequence[float], low: float, high: float) -> str:
    """One character a value, between `low` and `high`; a gap is blank."""
    width = (high - low) or 1.0
    top = len(BARS) - 1
    return "".join(
        BARS[min(max(round((one - low) / width * top), 0), top)] if math.isfinite(one) else " " for one in values
    )


def sparklines(chart: Chart) -> list[tuple[Line, str]]:
    """All nodes on one scale, so that the lines can be compared."""
    thinned = [thin(np.array(line.values), SPARK_WIDTH) for line in chart.lines[:LINES_LIMIT]]
    low, high = reach([value for one in thinned for value in one])
    return [(line, sparkline(one, low, high)) for line, one in zip(chart.lines, thinned, strict=False)]


def reach(values: Sequence[float]) -> tuple[float, float]:
    """Least and greatest of the finite ones; (0, 0): there is none."""
    finite = [one for one in values if math.isfinite(one)]
    return (min(finite), max(finite)) if finite else (0.0, 0.0)


def svg(chart: Chart) -> str:
    """The chart as one <svg> element: a line a node, labelled at its end, coloured by group."""
    lines = chart.lines[:LINES_LIMIT]
    low, high = reach([value for line in lines for value in line.values])
    if low == high:
        low, high = low - 0.5, high + 0.5
    margin = 0.05 * (high - low)
    low, high = low - margin, high + margin

    def y(value: float) -> float:
        return TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM)

    named = escape(f"{chart.title}: {', '.join(line.node for line in lines)}")
    parts = [
        f'<svg viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" aria-label="{named}" '
        'xmlns="http://www.w3.org/2000/svg" font-size="12" fill="currentColor">'
    ]
    parts += [
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}" '
        'stroke="currentColor" stroke-opacity="0.15"/>'
        f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{words}</text>'
        for value in _ticks(low, high, chart.ratio)
        for words in [tick_words(value, chart.ratio, wide=high - low >= WIDE)]
    ]
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        moment = chart.start + timedelta(seconds=share * (chart.end - chart.start).total_seconds())
        at = LEFT + share * (WIDTH - LEFT - RIGHT)
        words = moment.strftime("%Y-%m-%d %H:%M")
        parts.append(f'<text x="{at:.0f}" y="{HEIGHT - 8}" text-anchor="{anchor}">{words}</text>')
    parts += [_mark(chart, mark) for mark in chart.marks if chart.start <= mark <= chart.end]
    ends = _spread_out([y(_last(line.values)) for line in lines])
    for line, end in zip(lines, ends, strict=True):
        parts.append(_drawn(line, [y(value) for value in line.values], end))
    return "".join([*parts, "</svg>"])


def _mark(chart: Chart, mark: datetime) -> str:
    share = (mark - chart.start) / max(chart.end - chart.start, timedelta(seconds=1))
    at = LEFT + share * (WIDTH - LEFT - RIGHT)
    return (
        f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="currentColor" '
        f'stroke-opacity="0.6" stroke-dasharray="4 3"><title>{mark:%Y-%m-%d %H:%M} UTC</title></line>'
    )


def _drawn(line: Line, heights: Sequence[float], end: float) -> str:
    """One node: a path that gaps interrupt, and its name at the right, in the page's colour so that it can be read."""
    colour, dash = COLOURS[line.group % len(COLOURS)], DASHES[line.group % len(DASHES)]
    width = (WIDTH - LEFT - RIGHT) / max(len(heights) - 1, 1)
    path, pen = [], "M"
    for at, height in enumerate(heights):
        if math.isfinite(height):
            path.append(f"{pen}{LEFT + at * width:.1f} {height:.1f}")
            pen = "L"
        else:
            pen = "M"
    words = escape(f"{line.node} {line.label}"[:22].strip())
    return (
        f'<path d="{"".join(path)}" fill="none" stroke="{colour}" stroke-width="1.6" stroke-dasharray="{dash}"/>'
        f'<path d="M{WIDTH - RIGHT + 8} {end:.1f}h20" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>'
        f'<text x="{WIDTH - RIGHT + 34}" y="{end + 4:.1f}">{words}</text>'
    )


def _last(values: Sequence[float]) -> float:
    return next((one for one in reversed(values) if math.isfinite(one)), 0.0)


def _spread_out(heights: Sequence[float], least: float = 13.0) -> list[float]:
    """Heights of labels, moved down as far as it takes for them not to overlap."""
    placed = [0.0] * len(heights)
    before = -math.inf
    for at in sorted(range(len(heights)), key=lambda at: heights[at]):
        before = placed[at] = max(heights[at], before + least)
    return placed


def _ticks(low: float, high: float, ratio: bool) -> list[float]:
    """Heights with round words: percents, or from a factor of five on, times."""
    if not ratio:
        return _round(low, high)
    if high - low < WIDE:
        return [math.log1p(share) for share in _round(math.expm1(low), math.expm1(high))]
    decades = range(math.floor(low / math.log(10.0)), math.ceil(high / math.log(10.0)) + 1)
    leaps = (1.0, 2.0, 5.0) if len(decades) < 4 else (1.0,)
    found = [math.log(leap) + decade * math.log(10.0) for decade in decades for leap in leaps]
    return [one for one in found if low <= one <= high]


def _round(low: float, high: float, count: int = 5) -> list[float]:
    """Round values between `low` and `high`."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(one * power for one in (1.0, 2.0, 5.0, 10.0) if one * power >= rough)
    first = math.ceil(low / step)
    return [number * step for number in range(first, first + 3 * count) if number * step <= high]


def tick_words(value: float, ratio: bool, *, wide: bool) -> str:
    """What a height means: "+20%" or "5x" of the cluster's, or "1.5x" its mean."""
    if not ratio:
        return f"{value:.3g}x"
    if not wide:
        return f"{math.expm1(value) * 100:+.3g}%"
    return f"{math.exp(value):.3g}x" if value > -1e-9 else f"1/{math.exp(-value):.3g}"
