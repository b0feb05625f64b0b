"""Is it slowly getting worse? Seasonal Mann-Kendall of daily medians, with Theil and Sen's slope and its interval.

Only days of the same weekday are compared (Hirsch, Slack and Smith, Techniques of trend analysis for monthly water
quality data, Water Resources Research 18, 1982): a quiet Sunday is no fall. Neighbouring days are alike, and the plain
test takes that for a trend; Hamed and Rao (A modified Mann-Kendall trend test for autocorrelated data, Journal of
Hydrology 204, 1998) widen the variance of S by the autocorrelation of what is left when the slope is out. Their factor
approximates the variance of S for Gaussian noise, a sum over pairs of pairs of (2/pi) asin(r); for some weeks of days
that sum is affordable, and is used itself, with the autocorrelation of an AR(1). On so few days the estimate of rho is
short by about (3 + 5 rho) / n (as Marriott and Pope, Biometrika 41, 1954, found for a mean) and unsure: both are put
right, and S is held against Student's t with the days that the autocorrelation leaves. Bench: `./run bench audit
trends`.

The slope is the median of the pairs' slopes (Sen, JASA 63, 1968), its interval their order statistics, by the same
variance.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy import stats

from backstay.audit.model import Floats
from backstay.audit.review.model import Trend
from backstay.audit.review.segments import RHO_LIMIT, Places

SEASON = 7  # days
DAYS_LEAST = 15  # that were measured, over
WEEKS_LEAST = 3
DAYS_LIMIT = 182  # half a year: the variance takes the square of the pairs
UNSURE = 0.3  # standard errors that are added to rho: its estimate is skewed, and too little is worse than too much


def trend_of(days: Floats) -> Trend | None:
    """The trend of daily medians (days,), NaN for gaps; None where there are too few, or where they do not vary."""
    days = days[-DAYS_LIMIT:]
    places = np.flatnonzero(np.isfinite(days))
    if len(places) < DAYS_LEAST or places[-1] - places[0] + 1 < WEEKS_LEAST * SEASON:
        return None
    values = days[places]
    early, late = _pairs(tuple(places.tolist()))
    if not len(early) or float(np.ptp(values)) <= 1e-12 * float(np.abs(values).max()):
        return None
    rises = values[late] - values[early]
    slopes = rises / (places[late] - places[early])
    slope = float(np.median(slopes))
    rho = _rho(_unbent(values - slope * places, places), places)
    variance = _variance(tuple(places.tolist()), round(rho, 2))
    effective = max(len(values) * (1.0 - rho) / (1.0 + rho), 1.0)
    freedom = max(effective - 2.0, 1.0)
    score = abs(float(np.sign(rises).sum()))
    p = 2.0 * float(stats.t.sf(max(score - 1.0, 0.0) / math.sqrt(variance), freedom))
    low, high = _interval(slopes, float(stats.t.ppf(0.975, freedom)) * math.sqrt(variance))
    return Trend(
        per_week=SEASON * slope,
        low=SEASON * low,
        high=SEASON * high,
        p=min(p, 1.0),
        days=len(values),
        effective=effective,
    )


def _interval(slopes: Floats, reach: float) -> tuple[float, float]:
    """95%: the slopes of the pairs that are `reach` (in units of S) apart, about the median."""
    ordered = np.sort(slopes)
    low = math.floor((len(ordered) - reach) / 2.0)
    high = math.ceil((len(ordered) + reach) / 2.0)
    return (
        float(ordered[low]) if low >= 0 else -math.inf,
        float(ordered[high]) if high < len(ordered) else math.inf,
    )


@lru_cache(maxsize=64)
def _pairs(places: tuple[int, ...]) -> tuple[Places, Places]:
    """Positions of two days of the same weekday, the earlier first."""
    day = np.array(places)
    early, late = np.triu_indices(len(day), 1)
    same = (day[late] - day[early]) % SEASON == 0
    return early[same], late[same]


def _unbent(left: Floats, places: Places) -> Floats:
    """Without a bend: growth that slows down leaves a bow beside the line, and a bow is no memory of the noise."""
    return np.asarray(left - np.polyval(np.polyfit(places - places.mean(), left, 2), places - places.mean()))


def _rho(left: Floats, places: Places) -> float:
    """Autocorrelation of neighbouring days of what is left, less what each weekday has; put right, and a bit more."""
    left = left.copy()
    for weekday in range(SEASON):
        mine = places % SEASON == weekday
        if mine.any():
            left[mine] -= left[mine].mean()
    near = np.diff(places) == 1
    before, after = left[:-1][near], left[1:][near]
    power = math.sqrt(float(before @ before) * float(after @ after))
    if len(before) < SEASON or not power > 0.0:
        return 0.0
    count = len(before) + 1
    raw = float(before @ after) / power
    rho = (count * raw + 3.0) / (count - 5.0) + UNSURE * math.sqrt(max(1.0 - raw * raw, 0.05) / count)
    return min(max(rho, 0.0), RHO_LIMIT)


@lru_cache(maxsize=512)
def _variance(places: tuple[int, ...], rho: float) -> float:
    """Of S for Gaussian AR(1) noise: the sum of (2/pi) asin of the correlations of all pairs of differences."""
    day = np.array(places, np.float64)
    early, late = (day[one] for one in _pairs(places))
    alike = rho ** np.arange(int(day[-1] - day[0]) + 1)
    spread = np.sqrt(2.0 - 2.0 * alike[(late - early).astype(np.int64)])
    total = 0.0
    for at in range(len(early)):  # a row of the matrix at a time: the whole would be large
        away = [np.abs(a - b[at]).astype(np.int64) for b in (late, early) for a in (late, early)]
        covariance = alike[away[0]] - alike[away[1]] - alike[away[2]] + alike[away[3]]
        total += float(np.arcsin(np.clip(covariance / (spread * spread[at]), -1.0, 1.0)).sum())
    return 2.0 / math.pi * total
