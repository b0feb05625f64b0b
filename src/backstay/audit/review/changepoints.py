"""Change points of one series: where its level, its slope or its swing changed for good, and how sure that is.

1. What repeats daily and weekly was taken out before (cells.py).
2. PELT with AR(1) costs (segments.py) proposes borders, at a penalty of 2.5 log(n_eff) a border: samples count only as
   far as the autocorrelation leaves them. Noise and borders are estimated in turn.
3. Each border is tested: the difference of the levels beside it against the long-run variance of what is left, which
   knows noise that is no AR(1), too (the larger of AR(1)'s and of Geyer's sequence, compare/effective.py). Student's t
   with the degrees of freedom that the effective samples leave, times the places where it could have been. The
   weakest goes until all that are left stand.
4. A stair may be a slope in disguise. If a line, or a level that turns into a slope, describes the series at less cost,
   there is no step: a line is the trend's affair (trend.py), a turn is a change of slope.
5. A change of swing is a step in the logarithm of the shocks, found in the same way.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from backstay.audit.compare.effective import effective_samples
from backstay.audit.model import Floats
from backstay.audit.review.model import Shape
from backstay.audit.review.segments import (
    Costs,
    Noise,
    Places,
    first_noise,
    noise_of,
    profile,
    refined,
    search,
    without_spikes,
)

LEAST = 6  # values of a segment
CELLS_LEAST = 36  # of a series
PENALTY = 2.5  # log(n_eff) a border, between BIC's 2 and the modified BIC's 3: what it proposes is tested
ALPHA = 0.01  # of a border, adjusted for its places
ROUNDS = 4  # noise and borders are estimated in turn, until rho is
SETTLED = 0.02
REACH = 3.84  # of -2 log likelihood: 95%
TINY = 1e-9  # of the level: less is rounding, no noise
# The largest of n neighbouring splits of noise is as large as that of so many independent ones (simulated, n to 672).
PLACES, PLACES_POWER = 1.2, 0.6
BURST = 2.0  # standard errors of a segment's mean square step: more is no chance
FLOOR = 0.25  # of the usual shock: a few that happen to be near zero are no calm
SPREAD_LEAST = math.log(1.3)  # of a swing: less is nobody's trouble


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """A change point, in cells of the series."""

    cell: int  # the first of the new segment
    earliest: int
    latest: int
    shape: Shape
    size: float  # SLOPE: per cell; SPREAD: log ratio
    low: float
    high: float
    p: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """What a search found. `levels`: (cells,) the steps of LEVEL breaks alone, from 0; to be taken out of a trend."""

    breaks: tuple[Break, ...]
    levels: Floats
    rho: float = 0.0  # of what is left, between neighbouring cells


def find_breaks(values: Floats) -> Broken:
    """Change points of one series (cells,), NaN for gaps; cycles taken out before. Too short or constant: none."""
    places = np.flatnonzero(np.isfinite(values))
    present = without_spikes(values[places].astype(np.float64))
    none = Broken(breaks=(), levels=np.zeros(len(values)))
    noise = first_noise(present, places) if len(places) >= CELLS_LEAST else None
    if noise is None or noise.sigma <= TINY * float(np.abs(present).max()):
        return none
    borders, noise = _borders(present, places, noise)
    costs = Costs(present, places, noise)
    tested = _stand(present, borders, costs)
    turned = _slope(present, places, [one.at for one in tested], noise) if tested else None
    left: Floats
    levels: Floats = np.zeros(len(values))
    if turned is not None:
        found, left = [_as_slope(one, tested) for one in turned.turns], turned.left
    else:
        bounds = [0, *(one.at for one in tested), len(present)]
        found = [_as_level(one, costs, bounds, at) for at, one in enumerate(tested, 1)]
        left = _without(present, bounds[1:-1])
        levels = _steps(len(values), places, present, bounds)
    rho = noise.rho
    found += _spread(left, places, rho)
    breaks = tuple(_in_cells(one, places) for one in sorted(found, key=lambda one: one.cell))
    return Broken(breaks=breaks, levels=levels, rho=rho)


def _borders(present: Floats, places: Places, noise: Noise) -> tuple[list[int], Noise]:
    """Noise and borders in turn: what is left after the levels tells the noise better than differences do."""
    borders: list[int] = []
    for _ in range(ROUNDS):
        costs = Costs(present, places, noise)
        effective = max(len(present) * (1.0 - noise.rho) / (1.0 + noise.rho), math.e)
        borders = search(costs, PENALTY * math.log(effective) + costs.step, LEAST)
        better = noise_of(_without(present, borders), places, len(borders) + 1)
        if better is None:
            break
        settled, noise = abs(better.rho - noise.rho) < SETTLED, better
        if settled:
            break
    return borders, noise


def _without(present: Floats, borders: list[int]) -> Floats:
    """Each value less the mean of its segment."""
    left = present.copy()
    bounds = [0, *borders, len(present)]
    for start, end in itertools.pairwise(bounds):
        left[start:end] -= present[start:end].mean()
    return left


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tested:
    at: int
    size: float
    error: float
    reach: float  # quantile of t, 95%
    p: float


def _stand(present: Floats, borders: list[int], costs: Costs) -> list[_Tested]:
    """The borders that stand a test; the weakest goes first, and the others find their place again without it."""
    while borders:
        tested = _test(present, borders)
        weakest = max(range(len(tested)), key=lambda at: (tested[at].p, -abs(tested[at].size / tested[at].error)))
        if tested[weakest].p <= ALPHA:
            return tested
        del borders[weakest]
        borders = refined(costs, borders, LEAST)
    return []


def _test(present: Floats, borders: list[int]) -> list[_Tested]:
    count, left = len(present), _without(present, borders)
    means = len(borders) + 1
    worth = _repetition(left, means)
    effective = count / worth
    freedom = max(effective - means, 1.0)
    # What is left varies less than the noise, as the means took some of it.
    usual = float(left @ left) / max(count * freedom / max(effective, 1.0), 1.0)
    rough, places = _roughness(left), PLACES * max(effective, 1.0) ** PLACES_POWER
    # There and back again: two borders were chosen at once, from as many pairs of places.
    places **= min(len(borders), 2)
    bounds = [0, *borders, count]
    tested = []
    for start, at, end in zip(bounds, bounds[1:], bounds[2:], strict=False):
        size = float(present[at:end].mean() - present[start:at].mean())
        (before, sure), (after, sure_after) = (
            _error(left[one], usual, rough, worth) for one in (slice(start, at), slice(at, end))
        )
        free = min(freedom, sure, sure_after)
        error = max(math.sqrt(before + after), TINY * abs(size), 1e-300)
        # A short segment could have been in many more places than one half of the series.
        tries = places * count / (2.0 * min(at - start, end - at))
        p = min(1.0, 2.0 * float(stats.t.sf(abs(size) / error, free)) * tries)
        tested.append(_Tested(at=at, size=size, error=error, reach=float(stats.t.ppf(0.975, free)), p=p))
    return tested


def _error(left: Floats, usual: float, rough: float, worth: float) -> tuple[float, float]:
    """Squared standard error of a segment's mean, and its degrees of freedom (infinite: those of the whole series).

    A segment that jumps about more than the series is judged by itself (Welch): noise comes in bursts, and the
    mean of a burst is no level. By its steps, as a slope within the segment is no burst.
    """
    count = len(left)
    more = _roughness(left) / rough if rough > 0.0 else 1.0
    if more <= 1.0 + BURST * math.sqrt(3.0 / count):  # 3: the variance of a squared step of noise, about its mean
        return usual * worth / count, math.inf
    return usual * more * worth / count, max(count / worth - 1.0, 1.0)


def _roughness(left: Floats) -> float:
    """Mean square of the steps from value to value."""
    steps = np.diff(left)
    return float(steps @ steps) / max(len(steps), 1)


def _repetition(left: Floats, means: int) -> float:
    """Values that are worth one: the integrated autocorrelation time of what `means` levels leave; 1 or more."""
    count, power = len(left), float(left @ left)
    if not power > 0.0:
        return 1.0
    rho = (count * float(left[1:] @ left[:-1]) / power + means) / max(count - 3 * means, 1)
    rho += math.sqrt(max(1.0 - rho * rho, 0.0) / count)  # it is an estimate: too little memory is the worse error
    rho = min(max(rho, 0.0), 0.99)
    geyer = count / float(effective_samples(left[None, :], np.ones((1, count), bool))[0])
    return max((1.0 + rho) / (1.0 - rho), geyer, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turned:
    turns: tuple[tuple[int, float, float], ...]  # (border, slope a value, its error): none for a line
    left: Floats


def _slope(present: Floats, places: Places, borders: list[int], noise: Noise) -> _Turned | None:
    """A line, or a level that turns into a slope, if either costs less than the steps. Least squares of the shocks."""
    costs = Costs(present, places, noise)
    count, price = len(present), math.log(max(len(present) * (1.0 - noise.rho) / (1.0 + noise.rho), math.e))
    # A line catches three quarters of what a step does: neither may be cheaper before the data are asked.
    steps = costs.whole(borders) + (3 * len(borders) - 2) * price + len(borders) * costs.step
    time = places.astype(np.float64)
    carried = noise.rho ** np.diff(places)
    scale = np.concatenate([[1.0], np.sqrt(1.0 - carried**2)])

    def whitened(rows: Floats) -> Floats:
        found: Floats = np.concatenate([rows[..., :1], rows[..., 1:] - carried * rows[..., :-1]], axis=-1) / scale
        return found

    target, ones = whitened(present / noise.sigma), whitened(np.ones(count))
    turns = np.arange(LEAST, count - LEAST, JUMP_TURN)
    ramps = np.maximum(time[None, :] - time[turns, None], 0.0)
    shapes = whitened(np.concatenate([(time - time[0])[None, :], ramps]))
    across = shapes - ((shapes @ ones) / (ones @ ones))[:, None] * ones
    aim = target - (target @ ones) / (ones @ ones) * ones
    power = (across * across).sum(axis=1)
    slopes = across @ aim / power
    rest = float(aim @ aim) - slopes * slopes * power
    line, turn = float(rest[0]) + price, float(rest[1:].min()) + 2.0 * price
    if min(line, turn) >= steps:
        return None
    best = 0 if line <= turn else 1 + int(np.argmin(rest[1:]))
    shape = time - time[0] if best == 0 else ramps[best - 1]
    slope, error = float(slopes[best]) * noise.sigma, noise.sigma / math.sqrt(float(power[best]))
    left = present - slope * shape
    turned = () if best == 0 else ((int(turns[best - 1]), slope, error),)
    return _Turned(turns=turned, left=left - left.mean())


JUMP_TURN = 2  # where a slope begins cannot be told to the cell


def _as_slope(turn: tuple[int, float, float], tested: list[_Tested]) -> Break:
    """The steps that it was taken for are its evidence: the surest of them."""
    at, slope, error = turn
    reach = tested[0].reach * error
    # Where a slope begins is told by how soon it stands out of the noise.
    vague = round(abs(error / slope) * len(tested) * LEAST) + LEAST if slope else LEAST
    return Break(
        cell=at,
        earliest=at - vague,
        latest=at + vague,
        shape=Shape.SLOPE,
        size=slope,
        low=slope - reach,
        high=slope + reach,
        p=min(one.p for one in tested),
    )


def _as_level(one: _Tested, costs: Costs, bounds: list[int], at: int) -> Break:
    places, found = profile(costs, bounds[at - 1], bounds[at], bounds[at + 1], LEAST)
    likely = places[found <= found.min() + REACH]
    return Break(
        cell=one.at,
        earliest=min(int(likely.min()), one.at),
        latest=max(int(likely.max()), one.at),
        shape=Shape.LEVEL,
        size=one.size,
        low=one.size - one.reach * one.error,
        high=one.size + one.reach * one.error,
        p=one.p,
    )


def _steps(cells: int, places: Places, present: Floats, bounds: list[int]) -> Floats:
    """The levels beside the first one, cell by cell."""
    levels = np.zeros(cells)
    first = present[: bounds[1]].mean()
    for start, end in itertools.pairwise(bounds):
        levels[places[start] :] = present[start:end].mean() - first
    return levels


def _spread(left: Floats, places: Places, rho: float) -> list[Break]:
    """Steps in the logarithm of the shocks' size."""
    shocks = left[1:] - rho ** np.diff(places) * left[:-1]
    usual = float(np.median(np.abs(shocks)))
    if not usual > 0.0:
        return []
    sizes = np.log(np.abs(shocks) + FLOOR * usual)
    where = places[1:]
    noise = first_noise(sizes, where)
    if noise is None:
        return []
    borders, noise = _borders(sizes, where, noise)
    costs = Costs(sizes, where, noise)
    tested = [one for one in _stand(sizes, borders, costs) if abs(one.size) >= SPREAD_LEAST]
    bounds = [0, *(one.at for one in tested), len(sizes)]
    found = []
    for at, one in enumerate(tested, 1):
        level = _as_level(one, costs, bounds, at)
        found.append(
            Break(
                cell=level.cell + 1,
                earliest=level.earliest + 1,
                latest=level.latest + 1,
                shape=Shape.SPREAD,
                size=level.size,
                low=level.low,
                high=level.high,
                p=level.p,
            )
        )
    return found


def _in_cells(one: Break, places: Places) -> Break:
    """From positions among the values that are there to cells of the series."""
    last = len(places) - 1
    first, at, end = (int(places[min(max(here, 0), last)]) for here in (one.earliest, one.cell, one.latest))
    return Break(
        cell=at, earliest=first, latest=end, shape=one.shape, size=one.size, low=one.low, high=one.high, p=one.p
    )
