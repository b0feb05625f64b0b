"""Counters become rates; resets and wraps are seen.

A counter only grows. Where it falls, either it wrapped (32 or 64 bits were full: what is lost is known) or it was reset
(a restart: what was counted in between is not known, and is a gap, never a spike). It wrapped when it was near the top,
is near the bottom, and the rate that this gives is one that the counter has elsewhere; else it was reset. Prometheus'
rate() takes the value after a reset for the increase (https://prometheus.io/docs/prometheus/latest/querying/functions/);
that counts too little, and a comparison of means would blame the node that restarts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backstay.audit.model import Floats

WIDTHS = (2.0**32, 2.0**64)
NEAR = 0.1  # of the width, from the top before and from the bottom after
USUAL = 4.0  # times the largest rate without a wrap: no counter is that much faster for one step


@dataclass(frozen=True, slots=True, kw_only=True)
class Rated:
    times_s: Floats  # (samples - 1,): the end of each step
    values: Floats  # per second; NaN over a reset
    resets: int
    wraps: int


def rate(times_s: Floats, values: Floats) -> Rated:
    """Rate over each step of a counter. `times_s`: (samples,), strictly rising; `values`: finite.

    Raises ValueError where they are not: tidy them first (sources/gridding.py).
    """
    steps = np.diff(times_s)
    if not np.isfinite(values).all() or not (steps > 0.0).all():
        raise ValueError("a counter with times that do not rise, or values that are not finite: tidy it first")
    before, after = values[:-1], values[1:]
    increase = after - before
    fell = increase < 0.0
    grown = increase[~fell] / steps[~fell]
    usual = float(grown.max()) * USUAL if grown.size else 0.0
    wrapped = np.zeros(len(steps), bool)
    for width in WIDTHS:
        across = after + (width - before)
        near = (before <= width) & (before >= width * (1.0 - NEAR)) & (after <= width * NEAR)
        here = fell & ~wrapped & near & (across <= usual * steps)
        increase = np.where(here, across, increase)
        wrapped |= here
    reset = fell & ~wrapped
    found = np.where(reset, np.nan, increase / steps)
    return Rated(times_s=times_s[1:], values=found, resets=int(reset.sum()), wraps=int(wrapped.sum()))
