"""When does it reach the limit? A Theil and Sen line through a node's daily peaks, continued.

A limit is an absolute figure (a load of 12, 90% of a disk), so the series is what was measured, in its own unit, and
not beside peers or per unit of work; and it is the day's peak (the 95th percentile of its cells) that hurts, not its
middle. The line is continued with the slopes of its interval: to the earliest date, and to the latest or to perhaps
never.
"""

from __future__ import annotations

import math

import numpy as np

from backstay.audit.model import Floats
from backstay.audit.review.model import Projection, Trend

PEAK = 0.95  # quantile of a day
WEEKS_LIMIT = 52.0  # farther ahead nobody should believe a line


def project(days: Floats, trend: Trend, limit: float) -> Projection | None:
    """`days`: (days,) peaks, to which `trend` was fitted. None: it moves away, or takes more than WEEKS_LIMIT.

    Works for limits from below (a load that grows to 12) and from above (free memory that shrinks to 1 GB).
    """
    places = np.flatnonzero(np.isfinite(days))
    slope = trend.per_week / 7.0
    now = float(np.median(days[places] - slope * (places - (len(days) - 1))))
    away = limit - now
    if away == 0.0 or trend.per_week == 0.0 or (away > 0.0) is not (trend.per_week > 0.0):
        return None
    fast, slow = sorted((abs(away) / one if one > 0.0 else math.inf) for one in _toward(trend, away))
    if fast > WEEKS_LIMIT:
        return None
    return Projection(
        limit=limit,
        now=now,
        per_week=trend.per_week,
        earliest_weeks=fast,
        latest_weeks=slow if slow <= WEEKS_LIMIT else None,
    )


def _toward(trend: Trend, away: float) -> tuple[float, float]:
    """Both ends of the slope's interval, as speeds toward the limit."""
    sign = math.copysign(1.0, away)
    return sign * trend.low, sign * trend.high
