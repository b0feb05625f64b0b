"""`ip simulate`: years of suspicion as a report, and the trade-off as a plot (SVG)."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

from backstay.cli.output import Row
from backstay.cli.report import Report
from backstay.failover.simulate import DEATHS, PATTERNS, Tally, simulate

RATES = (0.01, 0.1, 1.0)
DOTS = {"measured": "#1f77b4", "worse": "#d95f02"}  # told apart on light and dark, and by the colour-blind
GREY = "#808080"
LEFT, TOP, WIDTH, HEIGHT = 70, 40, 520, 260  # of the plot, in SVG's pixels
DECADES = (-3, 1)  # of false takeovers a year, on the x axis
MOST_S = 12.0  # on the y axis
TICK_S = 2
JUSTIFIED = (
    "justified: the active was cut off from everybody, users included, for 10 s or longer, and came back. Nobody can"
    " tell that from a death while it lasts; it is not counted as false. Seconds: median, 95%, worst; to the conviction"
)


def simulate_report(names: Sequence[str], rates: Sequence[float], pair_years: float, seed: int) -> tuple[Report, str]:
    """The report, and the plot of the same figures. Raises ValueError for numbers that cannot be played."""
    tallies: list[Tally] = []
    for name in names:
        years = pair_years * PATTERNS[name].share
        tallies += simulate(PATTERNS[name], rates, years, random.Random(f"{seed}/{name}"))  # noqa: S311
    notes = [f"{name}: {source}" for name in names for source in PATTERNS[name].sources]
    notes.append(JUSTIFIED)
    notes += [note for tally in tallies for note in _notes(tally)]
    report = Report(data=[_data(tally) for tally in tallies], rows=[_row(tally) for tally in tallies], notes=notes)
    return report, plot(tallies)


def _data(tally: Tally) -> dict[str, Any]:
    return {
        "pattern": tally.pattern,
        "false_takeovers_per_year": tally.rate,
        "pair_years": tally.pair_years,
        "false_per_pair_year": tally.false_per_year,
        "interval_95": list(tally.interval),
        "verdict": tally.verdict,
        "justified_per_pair_year": tally.justified_per_year,
        "causes": {
            cause: {"happened": count, "false": tally.false[cause], "justified": tally.justified[cause]}
            for cause, count in tally.happened.items()
        },
        "detection_s": {
            death: {
                "played": len(tally.took_s.get(death, ())) + tally.missed[death],
                "not_detected": tally.missed[death],
                "p50": tally.detection_s(death, 0.5),
                "p95": tally.detection_s(death, 0.95),
                "worst": tally.detection_s(death, 1.0),
            }
            for death in DEATHS
        },
    }


def _row(tally: Tally) -> Row:
    low, high = tally.interval
    row: dict[str, Any] = {
        "pattern": tally.pattern,
        "pair-years": f"{tally.pair_years:g}",
        "configured": f"{tally.rate:g}",
        "false a pair-year": f"{tally.false_per_year:.3g}",
        "95%": f"{low:.3g} to {high:.3g}",
        "": tally.verdict,
        "justified": f"{tally.justified_per_year:.3g}",
    }
    for death in DEATHS:
        times = [tally.detection_s(death, part) for part in (0.5, 0.95, 1.0)]
        row[f"{death} (s)"] = " ".join("-" if time is None else f"{time:.2f}" for time in times)
    return row


def _notes(tally: Tally) -> list[str]:
    """Which causes were taken for deaths, and how often."""
    taken = [f"{count} of {tally.happened[cause]:,} x {cause}" for cause, count in tally.false.items()]
    taken += [f"{count} of {tally.happened[cause]:,} x {cause} (justified)" for cause, count in tally.justified.items()]
    notes = [f"{tally.pattern}, {tally.rate:g} a year: taken for a death: {', '.join(taken) or 'none'}"]
    missed = [f"{count} x {death}" for death, count in tally.missed.items()]
    return notes + ([f"  NOT DETECTED within a minute: {', '.join(missed)}"] if missed else [])


def plot(tallies: Sequence[Tally]) -> str:
    """False takeovers a pair-year (x, logarithmic, with their interval) against the detection of a dead link (y: median
    to p95), a dot a configured rate. Grey and transparent, so that it reads on light and dark pages."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 30} {TOP + HEIGHT + 60}" '
        f'font-family="sans-serif" font-size="12" fill="{GREY}" stroke="none" role="img">',
        "<title>False takeovers a pair-year against the detection time of a dead link</title>",
        _line(LEFT, TOP + HEIGHT, LEFT + WIDTH, TOP + HEIGHT, GREY),
        _line(LEFT, TOP, LEFT, TOP + HEIGHT, GREY),
        _text(LEFT + WIDTH / 2, TOP + HEIGHT + 45, "false takeovers a pair-year (line: 95% interval)"),
        _text(LEFT, TOP - 22, "link down: detected after, s (dot: median; line up to p95)", "start"),
    ]
    for decade in range(DECADES[0], DECADES[1] + 1):
        parts += [_line(_x(10.0**decade), TOP + HEIGHT, _x(10.0**decade), TOP + HEIGHT + 5, GREY)]
        parts += [_text(_x(10.0**decade), TOP + HEIGHT + 20, f"{10.0**decade:g}")]
    for second in range(0, int(MOST_S) + 1, TICK_S):
        parts += [_line(LEFT - 5, _y(second), LEFT, _y(second), GREY)]
        parts += [_text(LEFT - 10, _y(second) + 4, str(second), "end")]
    for place, (name, colour) in enumerate(DOTS.items()):
        at_y = TOP + 14 + 18 * place
        parts += [_dot(LEFT + WIDTH - 100, at_y - 4, colour), _text(LEFT + WIDTH - 90, at_y, name, "start")]
    for tally in tallies:
        parts += _point(tally)
    return "\n".join([*parts, "</svg>", ""])


def _point(tally: Tally) -> list[str]:
    median, late = tally.detection_s("link down", 0.5), tally.detection_s("link down", 0.95)
    if median is None or late is None:
        return []
    colour = DOTS[tally.pattern]
    x, y = _x(tally.false_per_year), _y(median)
    low, high = tally.interval
    return [
        _line(_x(low), y, _x(high), y, colour),
        _line(x, y, x, _y(late), colour),
        _dot(x, y, colour),
        _text(x + 8, y + 16, f"{tally.rate:g}", "start"),
    ]


def _x(per_year: float) -> float:
    """Beyond the axis: at its end."""
    low, high = DECADES
    decade = math.log10(max(per_year, 10.0**low))
    return round(LEFT + WIDTH * (min(decade, high) - low) / (high - low), 1)


def _y(time_s: float) -> float:
    return round(TOP + HEIGHT * (1.0 - min(time_s, MOST_S) / MOST_S), 1)


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}"/>'


def _dot(x: float, y: float, colour: str) -> str:
    return f'<circle cx="{x}" cy="{y}" r="4" fill="{colour}"/>'


def _text(x: float, y: float, words: str, anchor: str = "middle") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{words}</text>'
