"""From a grid to cells that can be reviewed: medians of equal cells, and what repeats daily and weekly taken out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from backstay.audit.model import Floats

DAY_S = 86_400.0
WEEK_S = 7 * DAY_S
CELLS_LIMIT = 720  # of a series that is searched for changes: eight weeks of two hours
# Parts of a day, so that a cell is the same time of every day.
WIDTHS_S = (60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 10_800, 14_400, 21_600, 28_800, 43_200, 86_400)
DAYS_FOR_A_CYCLE = 7
WEEKS_FOR_A_CYCLE = 3
WEEKEND_DAYS = 4  # that have to be there for weekends to get a daily cycle of their own
MONDAY_S = 4 * DAY_S  # Unix time began on a Thursday


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """Rows on equal cells that begin at multiples of the width since 1970."""

    start_s: float  # Unix time of the first cell
    width_s: float
    values: Floats  # (rows, cells); NaN: a gap

    @property
    def count(self) -> int:
        return int(self.values.shape[1])

    @property
    def times_s(self) -> Floats:
        """Where each cell begins."""
        times: Floats = self.start_s + self.width_s * np.arange(self.count)
        return times

    def time(self, cell: float) -> datetime:
        return datetime.fromtimestamp(self.start_s + cell * self.width_s, UTC)


def width_for(span_s: float, step_s: float) -> float:
    """Width of a cell: at least the grid's step, and not more than CELLS_LIMIT of them in `span_s`."""
    least = max(step_s, span_s / CELLS_LIMIT)
    return float(next((one for one in WIDTHS_S if one >= least), math.ceil(least / DAY_S) * DAY_S))


def in_cells(values: Floats, start_s: float, step_s: float, width_s: float, *, rare: bool = False) -> Cells:
    """Medians of cells: (rows, times) on a grid -> Cells. A median: one spike is no level.

    `rare`: means, for what is mostly zero and has no other middle.
    """
    at = np.floor((start_s + step_s * (np.arange(values.shape[1]) + 0.5)) / width_s).astype(np.int64)
    if not at.size:
        return Cells(start_s=start_s, width_s=width_s, values=np.empty((values.shape[0], 0)))
    cells = at - at[0]
    bounds = np.searchsorted(cells, np.arange(cells[-1] + 2))
    deep = int(np.diff(bounds).max())
    places = bounds[:-1, None] + np.arange(deep)[None, :]
    padded = np.concatenate([values, np.full((values.shape[0], 1), np.nan)], axis=1)
    inside = np.where(places < bounds[1:, None], places, values.shape[1])
    return Cells(start_s=float(at[0]) * width_s, width_s=width_s, values=(mean if rare else median)(padded[:, inside]))


def median(values: Floats) -> Floats:
    """Median over the last axis of what is finite; NaN where nothing is."""
    clean = np.where(np.isfinite(values), values, np.nan)
    ordered = np.sort(clean, axis=-1)  # NaN last
    counts = np.isfinite(clean).sum(axis=-1, keepdims=True)
    low = np.take_along_axis(ordered, np.maximum(counts - 1, 0) // 2, axis=-1)
    high = np.take_along_axis(ordered, np.minimum(counts // 2, max(clean.shape[-1] - 1, 0)), axis=-1)
    found: Floats = np.where(counts > 0, 0.5 * (low + high), np.nan)[..., 0]
    return found


def mean(values: Floats) -> Floats:
    """As `median`."""
    present = np.isfinite(values)
    counts = present.sum(axis=-1)
    sums = np.where(present, values, 0.0).sum(axis=-1)
    found: Floats = np.divide(sums, counts, out=np.full(counts.shape, np.nan), where=counts > 0)
    return found


def without_cycles(values: Floats, times_s: Floats, width_s: float) -> Floats:
    """(cells,) less what repeats every day and every week, as medians; unchanged where too few of them were seen.

    What a time of day has is measured against the running median of a day around it, so that a step or a drift stays
    where it is. Weekends have a daily cycle of their own once enough of them were seen.
    """
    found = values.copy()
    days = np.floor(times_s / DAY_S).astype(np.int64)
    if not found.size or days[-1] - days[0] + 1 < DAYS_FOR_A_CYCLE:
        return found
    weekday = np.floor((times_s - MONDAY_S) / DAY_S).astype(np.int64) % 7
    if width_s <= DAY_S / 2:
        slot = np.round((times_s % DAY_S) / width_s).astype(np.int64)
        weekend = weekday >= 5
        apart = len(np.unique(days[weekend & np.isfinite(values)])) >= WEEKEND_DAYS
        slots = slot + (weekend * (slot.max() + 1) if apart else 0)
        found -= _by_slot(found - _running_median(found, round(DAY_S / width_s)), slots)
    if (days[-1] - days[0] + 1) / 7 >= WEEKS_FOR_A_CYCLE and width_s <= DAY_S:
        found -= _by_slot(found - _running_median(found, round(WEEK_S / width_s)), weekday)
    return found


def _by_slot(values: Floats, slots: Floats) -> Floats:
    """Each cell's median over the cells of its slot, about zero; 0 where a slot was never measured."""
    count = int(slots.max()) + 1
    order = np.argsort(slots, kind="stable")
    sizes = np.bincount(slots, minlength=count)
    table = np.full((count, int(sizes.max())), np.nan)
    ranks = np.arange(len(slots)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    table[slots[order], ranks] = values[order]
    medians = median(table)
    medians = np.where(np.isfinite(medians), medians, 0.0)
    centred: Floats = (medians - np.average(medians, weights=sizes))[slots]
    return centred


def _running_median(values: Floats, window: int) -> Floats:
    """Median of the `window` cells around each; near the ends, of those that are there."""
    window += 1 - window % 2
    padded = np.pad(values, window // 2, constant_values=np.nan)
    return median(sliding_window_view(padded, window))


def daily(values: Floats, times_s: Floats, share: float | None = 0.5) -> Floats:
    """The `share` quantile of each day (0.5: medians; None: means), from the first cell's on. (cells,) -> (days,).

    NaN for a day of which less than a quarter was measured: half a night is no day.
    """
    if not values.size:
        return np.empty(0)
    days = np.floor(times_s / DAY_S).astype(np.int64)
    days -= days[0]
    counts = np.bincount(days)
    least = max(1.0, float(counts.max()) / 4.0)
    found = np.full(len(counts), np.nan)
    for day in range(len(counts)):
        here = values[days == day]
        here = here[np.isfinite(here)]
        if here.size >= least:
            found[day] = here.mean() if share is None else np.quantile(here, share)
    return found
