"""Where a series with autocorrelated noise changes its level: PELT on the likelihood of AR(1) noise.

The search is PELT (Killick, Fearnhead and Eckley, Optimal detection of changepoints with a linear computational cost,
JASA 107, 2012). Its cost is not the sum of squares, which takes every wave of correlated noise for a new level, but
what an AR(1) process around the segment's own mean costs (Davis, Lee and Rodriguez-Yam, JASA 101, 2006; Chakar,
Lebarbier, Levy-Leduc and Robin, A robust approach for estimating change-points in the mean of an AR(1) process,
Bernoulli 23, 2017). Within a segment each value is predicted from the one before; across a border it is not, so
segments are independent and the recursion is exact. Gaps widen the step of the prediction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backstay.audit.model import Floats

Places = NDArray[np.integer]

RHO_LIMIT = 0.98  # more cannot be told from a walk at random in a few hundred cells
JUMP = 3  # borders are searched on every third cell first, and then to the cell
SPIKE = 5.0  # robust standard deviations from the neighbours: one cell, not a level


@dataclass(frozen=True, slots=True)
class Noise:
    """AR(1): `rho` between neighbouring cells, `sigma` of a cell (marginal)."""

    rho: float
    sigma: float


class Costs:
    """-2 log likelihood of segments, each about its own best mean, in O(1) from running sums; sigma is 1.

    `values`, `places`: (n,) what is there, and the cell of each.
    """

    def __init__(self, values: Floats, places: Places, noise: Noise) -> None:
        self._values = values / noise.sigma
        self.count = len(values)
        carried = noise.rho ** np.diff(places)  # of a value, until the next one that is there
        spread = np.sqrt(1.0 - carried**2)
        shocks = np.concatenate([[0.0], (self._values[1:] - carried * self._values[:-1]) / spread])
        pulls = np.concatenate([[0.0], (1.0 - carried) / spread])  # what a mean of 1 adds to a shock
        self._squares, self._cross, self._weights = (
            np.concatenate([[0.0], np.cumsum(one)]) for one in (shocks**2, shocks * pulls, pulls**2)
        )
        # A border saves the log of the variance of the step across it; that is no evidence for one.
        self.step = -float(np.median(np.log(spread**2))) if len(spread) else 0.0
        self.shocks, self.pulls = shocks, pulls

    def of(self, starts: Places, ends: Places) -> Floats:
        """Of the segments [start, end)."""
        first = self._values[starts]
        squares = first**2 + self._squares[ends] - self._squares[starts + 1]
        cross = first + self._cross[ends] - self._cross[starts + 1]
        weight = 1.0 + self._weights[ends] - self._weights[starts + 1]
        found: Floats = squares - cross * cross / weight
        return found

    def whole(self, borders: list[int]) -> float:
        """Of the series with these borders."""
        bounds = np.array([0, *borders, self.count])
        return float(self.of(bounds[:-1], bounds[1:]).sum())


def noise_of(residuals: Floats, places: Places, means: int) -> Noise | None:
    """AR(1) of what is left after `means` levels were taken out; None: it does not vary.

    Neighbours only; the estimate is short by (1 + 3 rho) / n for one mean (Kendall, Biometrika 41, 1954), and more for
    more. Sigma is robust: from the median of the shocks.
    """
    near = np.diff(places) == np.diff(places).min(initial=1 << 30)
    before, after = residuals[:-1][near], residuals[1:][near]
    power = float(np.sqrt((before @ before) * (after @ after)))
    if len(before) < 3 * (means + 1) or not power > 0.0:
        return None
    count = len(before)
    rho = (count * float(before @ after) / power + means) / max(count - 3 * means, 1)
    return _robust(before, after, rho)


def first_noise(values: Floats, places: Places) -> Noise | None:
    """AR(1) of a series with unknown levels, from differences over one and two cells, which a few steps hardly move.

    E(y[t+2]-y[t])^2 / E(y[t+1]-y[t])^2 = 1 + rho (Chakar et al., section 2); medians instead of means. Noise that is
    smoother than an AR(1) makes this too large, and steps make the usual estimate too large: the smaller counts.
    """
    gap = np.diff(places)
    single, double = np.abs(np.diff(values)), np.abs(values[2:] - values[:-2])
    two = double[(gap[1:] == 1) & (gap[:-1] == 1)]
    one = single[gap == 1]
    if len(two) < 8 or not np.median(one) > 0.0:
        return None
    rho = float((np.median(two) / np.median(one)) ** 2) - 1.0
    usual = noise_of(values - values.mean(), places, 1)
    rho = min(rho, usual.rho) if usual else rho
    near = gap == 1
    return _robust(values[:-1][near], values[1:][near], rho)


def _robust(before: Floats, after: Floats, rho: float) -> Noise | None:
    rho = min(max(rho, 0.0), RHO_LIMIT)
    shocks = after - rho * before
    sigma = 1.4826 * float(np.median(np.abs(shocks - np.median(shocks)))) / math.sqrt(1.0 - rho * rho)
    return Noise(rho=rho, sigma=sigma) if sigma > 0.0 else None


def without_spikes(values: Floats) -> Floats:
    """Single values far from both neighbours are drawn in: they are no level. (n,)"""
    if len(values) < 5:
        return values
    padded = np.pad(values, 2, mode="reflect")
    middle = np.median(np.lib.stride_tricks.sliding_window_view(padded, 5), axis=1)
    away = values - middle
    usual = 1.4826 * float(np.median(np.abs(away)))
    reach = SPIKE * usual if usual > 0.0 else np.inf
    found: Floats = middle + np.clip(away, -reach, reach)
    return found


def search(costs: Costs, penalty: float, least: int) -> list[int]:
    """Borders of the segmentation with the least cost and `penalty` a border; segments of `least` values or more."""
    ends = [*range(least, costs.count - least + 1, JUMP), costs.count]
    best = {0: -penalty}
    before: dict[int, int] = {}
    kept, totals = np.array([0]), np.array([-penalty])
    for end in ends:
        able = end - kept >= least
        sums = totals[able] + costs.of(kept[able], np.full(int(able.sum()), end))
        at = int(np.argmin(sums))
        best[end], before[end] = float(sums[at]) + penalty, int(kept[able][at])
        # Pruned: what costs more without a border than the best does with one never comes first again.
        stays = np.ones(len(kept), bool)
        stays[able] = sums <= best[end]
        kept, totals = np.append(kept[stays], end), np.append(totals[stays], best[end])
    borders, end = [], costs.count
    while before[end] > 0:
        end = before[end]
        borders.append(end)
    return refined(costs, borders[::-1], least)


def refined(costs: Costs, borders: list[int], least: int) -> list[int]:
    """Each border where it costs least between its neighbours, to the value; one round."""
    bounds = [0, *borders, costs.count]
    for at in range(1, len(bounds) - 1):
        places, found = profile(costs, bounds[at - 1], bounds[at], bounds[at + 1], least)
        bounds[at] = int(places[int(np.argmin(found))])
    return bounds[1:-1]


def profile(costs: Costs, start: int, border: int, end: int, least: int) -> tuple[Places, Floats]:
    """Where the border in [start, end) might be instead, and what each place costs."""
    places = np.arange(start + least, end - least + 1) if end - start >= 2 * least else np.array([border])
    ones = np.ones_like(places)
    return places, costs.of(start * ones, places) + costs.of(places, end * ones)
