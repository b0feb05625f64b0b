"""What load balancers counted, added up over all of them, although each begins anew when its agent does. Pure.

A plain sum falls when one agent restarts, stays low while one is away, and leaps when it is back. So what each counted
between two readings is added to totals of our own: these grow by what was seen, and by nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Counts = Mapping[tuple[str, str], float]  # (node, indicator) -> how many, how long


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one load balancer counted until now."""

    lb: str
    started_s: float  # when its agent started, and its counts with it: Unix time
    counts: Counts
    gauges: Counts = field(default_factory=dict)  # at this moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """`read`: those load balancers that answered the last time, at `at_s`."""

    at_s: float = 0.0  # 0: never
    totals: Counts = field(default_factory=dict)
    read: Mapping[str, Reading] = field(default_factory=dict)


def fold(tally: Tally, readings: Iterable[Reading], now_s: float) -> Tally:
    """The tally with what was counted since the last one.

    A load balancer that did not answer the last time counts from now on: over how long its counts grew is not known
    to whoever takes the rate. One whose agent started in between counts from its start. A total never falls, and the
    first ones are what the agents have counted so far.
    """
    readings = tuple(readings)
    totals = dict(tally.totals)
    for reading in readings:
        before = tally.read.get(reading.lb)
        begun = reading.started_s > tally.at_s  # true for all of them at first
        same = before is not None and before.started_s == reading.started_s
        for key, count in reading.counts.items():
            known = totals.setdefault(key, 0.0)
            if same and before is not None:
                totals[key] = known + max(0.0, count - before.counts.get(key, 0.0))
            elif begun:
                totals[key] = known + count
    return Tally(at_s=now_s, totals=totals, read={reading.lb: reading for reading in readings})


def forget(tally: Tally, nodes: Iterable[str]) -> Tally:
    """Without the totals of all but these nodes."""
    kept = frozenset(nodes)
    totals = {key: total for key, total in tally.totals.items() if key[0] in kept}
    return Tally(at_s=tally.at_s, totals=totals, read=tally.read)
