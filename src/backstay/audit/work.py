"""Normalise by work: what an indicator is for one unit of work, as a logarithm, so that differences are ratios.

Where the indicator grows in proportion to the work, the ratio does it: log(indicator / work). Where it does not (an
idle server has load too), a proportional correction would blame whoever has less work; there the logarithm of the
indicator is regressed on that of the work within each node, pooled over the cluster, and what the work explains is
taken out. The slope is within nodes (a fixed effect each), so a node that is slower for the same work keeps its
difference.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from backstay.audit.compare.effective import summary
from backstay.audit.model import Floats

ZEROS_LIMIT = 0.2  # of the values: with more, a logarithm says little
PROPORTIONAL_WITHIN = 0.1  # of a slope of 1
SLOPE_LIMIT = 3.0
CELLS_LIMIT = 20  # fewer cells with both say nothing of a slope
VARIES = 0.05  # log: work that varies less says nothing either


class Method(StrEnum):
    LOG = "log"  # no work given: the logarithm alone
    RATIO = "ratio"  # log(indicator / work)
    REGRESSION = "regression"  # log(indicator) less slope * log(work)
    LINEAR = "linear"  # mostly zeros (drops, errors): per unit of work, in shares of the cluster's mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalised:
    values: Floats  # (nodes, times); log ratios, or shares for LINEAR; NaN for gaps
    method: Method
    slope: float = 1.0  # of log(indicator) on log(work), within nodes
    problems: tuple[str, ...] = ()


def normalise(indicator: Floats, work: Floats | None = None) -> Normalised:
    """`indicator`, `work`: (nodes, times), NaN for gaps. Cells that are negative, infinite or without work are gaps."""
    values = _clean(indicator)
    problems = []
    negative = int((values < 0.0).sum())
    if negative:
        problems.append(f"{negative} negative values have no ratio: left out")
        values = np.where(values < 0.0, np.nan, values)
    if work is not None:
        work = _clean(work)
        values = np.where(work > 0.0, values, np.nan)
        if not np.isfinite(values).any():
            return Normalised(values=values, method=Method.RATIO, problems=("no cell has both a value and work",))
    present = np.isfinite(values)
    zeros = float((values[present] == 0.0).mean()) if present.any() else 0.0
    if zeros > ZEROS_LIMIT:
        return _linear(values, work, problems)
    logs = _log(values)
    if work is None:
        return Normalised(values=logs, method=Method.LOG, problems=tuple(problems))
    log_work = np.log(np.where(work > 0.0, work, np.nan))
    slope, error = within_slope(logs, log_work)
    reach = 2.0 * error
    if not math.isfinite(slope) or abs(slope - 1.0) <= max(PROPORTIONAL_WITHIN, reach):
        return Normalised(values=logs - log_work, method=Method.RATIO, problems=tuple(problems))
    slope = min(max(slope, -SLOPE_LIMIT), SLOPE_LIMIT)
    return Normalised(values=logs - slope * log_work, method=Method.REGRESSION, slope=slope, problems=tuple(problems))


def within_slope(logs: Floats, log_work: Floats) -> tuple[float, float]:
    """Slope of `logs` on `log_work` within nodes, and its standard error over the nodes; NaN where there is too little.

    Each node gives a slope of its own; their median is kept, and their spread is the error: minutes of one node are no
    independent samples.
    """
    both = np.isfinite(logs) & np.isfinite(log_work)
    counts = both.sum(axis=1, keepdims=True)
    x, y = (np.where(both, values, 0.0) for values in (log_work, logs))
    x, y = (
        np.where(both, values - values.sum(axis=1, keepdims=True) / np.maximum(counts, 1), 0.0) for values in (x, y)
    )
    squares = (x * x).sum(axis=1)
    enough = (counts[:, 0] >= CELLS_LIMIT) & (squares > VARIES**2 * counts[:, 0])
    slopes = (x * y).sum(axis=1)[enough] / squares[enough]
    if not slopes.size:
        return math.nan, math.nan
    error = float(np.std(slopes, ddof=1)) / math.sqrt(len(slopes)) if len(slopes) > 1 else 0.5
    return float(np.median(slopes)), error


def _linear(values: Floats, work: Floats | None, problems: list[str]) -> Normalised:
    """Per unit of work, in shares of the cluster's mean: 0 is 0, and a node with twice the mean has 2."""
    each = values if work is None else values / work
    means = summary(each)[0]
    mean = float(np.nanmean(means)) if np.isfinite(means).any() else 0.0
    if mean <= 0.0:
        problems.append("every value is zero: nothing differs")
        return Normalised(
            values=np.where(np.isfinite(each), 0.0, np.nan), method=Method.LINEAR, problems=tuple(problems)
        )
    return Normalised(values=each / mean, method=Method.LINEAR, problems=tuple(problems))


def _log(values: Floats) -> Floats:
    """A few zeros become half of the smallest value: below what could be measured."""
    positive = values[values > 0.0]
    if not positive.size:
        return np.full_like(values, np.nan)
    logs: Floats = np.log(np.where(values == 0.0, 0.5 * positive.min(), values))
    return logs


def _clean(values: Floats) -> Floats:
    cleaned: Floats = np.where(np.isfinite(values), values, np.nan).astype(np.float64)
    return cleaned
