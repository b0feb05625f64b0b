"""Samples become sums over cells of time. Pure.

Counters become rates here, when they are read: the rate of a sample needs the one before, which a late sample may
change. Kept as they came, they give the same rates however they were split over calls.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backstay.audit.model import Floats
from backstay.audit.rates import rate

Whole = NDArray[np.int64]

STEP_LIMIT_S = 86_400.0  # a counter that was not seen for longer has no rate there: the mean of a day tells nothing


@dataclass(frozen=True, slots=True)
class Samples:
    """Of several series: by series, and of each in order of time."""

    series: Whole
    times_ms: Whole
    values: Floats

    def each(self) -> Iterator[tuple[int, slice]]:
        """Series, and where it is."""
        if not self.series.size:
            return
        bounds = np.flatnonzero(np.diff(self.series)) + 1
        starts, ends = [0, *bounds.tolist()], [*bounds.tolist(), self.series.size]
        for start, end in zip(starts, ends, strict=True):
            yield int(self.series[start]), slice(start, end)


def rates(counters: Samples, before: Mapping[int, tuple[int, float]]) -> Samples:
    """Rate per second at each sample that has one before it. `before`: series -> time in ms and value of the last one
    that is earlier than these, where there is one."""
    series, times, values = [], [], []
    for one, where in counters.each():
        times_ms, counts = counters.times_ms[where], counters.values[where]
        if one in before:
            times_ms = np.concatenate([[before[one][0]], times_ms])
            counts = np.concatenate([[before[one][1]], counts])
        rated = rate(times_ms / 1000.0, counts)
        known = np.isfinite(rated.values) & (np.diff(times_ms) <= STEP_LIMIT_S * 1000.0)
        series.append(np.full(int(known.sum()), one, np.int64))
        times.append(times_ms[1:][known])
        values.append(rated.values[known])
    if not series:
        return Samples(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    return Samples(np.concatenate(series), np.concatenate(times), np.concatenate(values))


@dataclass(frozen=True, slots=True)
class Cells:
    """Sums over cells, for a mean over any of them. Each row once."""

    series: Whole
    cell: Whole
    sums: Floats
    counts: Whole


def cells_of(samples: Samples, *, start_ms: float, step_ms: float) -> Cells:
    """Cells of `step_ms`, counted from `start_ms`; only those with a sample."""
    cell = np.floor((samples.times_ms - start_ms) / step_ms).astype(np.int64)
    if not cell.size:
        return Cells(samples.series, cell, samples.values, cell)
    first = np.append(True, (np.diff(samples.series) != 0) | (np.diff(cell) != 0))
    starts = np.flatnonzero(first)
    return Cells(
        series=samples.series[starts],
        cell=cell[starts],
        sums=np.add.reduceat(samples.values, starts),
        counts=np.diff(np.append(starts, cell.size)),
    )


class Means:
    """Means over a grid, from cells that are told one after the other."""

    def __init__(self, rows: Mapping[int, int], *, height: int, width: int) -> None:
        """`rows`: series -> its row; two of one indicator and node (its kind changed) share one."""
        self._place = np.full(max(rows, default=0) + 1, -1, np.int64)
        self._place[list(rows)] = list(rows.values())
        self._width = width
        self._sums = np.zeros(height * width)
        self._counts = np.zeros(height * width)

    def add(self, cells: Cells) -> None:
        inside = (cells.cell >= 0) & (cells.cell < self._width)
        at = self._place[cells.series[inside]] * self._width + cells.cell[inside]
        np.add.at(self._sums, at, cells.sums[inside])
        np.add.at(self._counts, at, cells.counts[inside])

    def values(self) -> Floats:
        """(height, width); NaN where there was nothing."""
        means = np.full(self._sums.shape, math.nan)
        np.divide(self._sums, self._counts, out=means, where=self._counts > 0)
        found: Floats = means.reshape(-1, self._width)
        return found
