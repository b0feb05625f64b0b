"""Trends: a slow drift is found, autocorrelated noise and quiet Sundays are none; and when a limit is reached."""

from __future__ import annotations

import math

import numpy as np
import pytest
from audit_scenes import ar_noise
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from backstay.audit.review.model import Trend
from backstay.audit.review.projection import project
from backstay.audit.review.trend import trend_of

DAYS = 56
SUNDAYS = -0.3 * (np.arange(DAYS) % 7 >= 5)


def some_days(seed: int, rho: float = 0.3, per_week: float = 0.0) -> np.ndarray:
    noise = ar_noise(np.random.default_rng(seed), 1, DAYS, rho, 0.02)[0]
    return np.asarray(noise + SUNDAYS + per_week / 7.0 * np.arange(DAYS))


def test_one_percent_a_week_is_found_with_its_slope() -> None:
    found = trend_of(some_days(1, per_week=0.01))
    assert found is not None
    assert found.p < 0.05
    assert found.low <= 0.01 <= found.high
    assert found.low > 0.0


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.8, 0.95])
def test_noise_that_remembers_is_no_trend(rho: float) -> None:
    """At 5%, with room for 100 draws (99.9%)."""
    claims = [found.p <= 0.05 for seed in range(100) for found in [trend_of(some_days(seed, rho))] if found]
    assert np.mean(claims) <= 0.12


def test_the_slope_s_interval_holds_the_truth() -> None:
    """At least 95%, with room for 40 draws."""
    found = [trend_of(some_days(seed, 0.5, 0.01)) for seed in range(40)]
    assert np.mean([one.low <= 0.01 <= one.high for one in found if one]) >= 0.85


def test_three_weeks_are_needed() -> None:
    assert trend_of(some_days(1)[:20]) is None
    assert trend_of(some_days(1)[:21]) is not None


def test_days_that_are_missing_are_no_evidence() -> None:
    values = some_days(1, per_week=0.02)
    values[10:31] = np.nan
    found = trend_of(values)
    assert found is not None
    assert found.days == 35
    values[14:] = np.nan
    assert trend_of(values) is None


def test_a_constant_has_no_trend() -> None:
    assert trend_of(np.full(DAYS, 3.0)) is None


@given(arrays(np.float64, DAYS, elements=st.floats(-1e6, 1e6) | st.just(math.nan)))
@settings(max_examples=40, deadline=None)
def test_a_mirrored_series_has_the_mirrored_trend(values: np.ndarray) -> None:
    there, back = trend_of(values), trend_of(-values)
    assert (there is None) is (back is None)
    if there is not None and back is not None:
        assert 0.0 <= there.p <= 1.0
        assert there.low <= there.per_week <= there.high
        assert back.per_week == pytest.approx(-there.per_week)
        assert back.p == pytest.approx(there.p, rel=0.05, abs=1e-9)


def a_trend(per_week: float, low: float, high: float) -> Trend:
    return Trend(per_week=per_week, low=low, high=high, p=0.001, days=DAYS, effective=30.0)


def peaks(now: float, per_week: float) -> np.ndarray:
    return np.asarray(now + per_week / 7.0 * np.arange(-DAYS + 1, 1))


def test_a_load_that_grows_reaches_its_limit_within_the_slope_s_interval() -> None:
    found = project(peaks(9.0, 0.5), a_trend(0.5, 0.3, 0.6), 12.0)
    assert found is not None
    assert found.now == pytest.approx(9.0)
    assert found.earliest_weeks == pytest.approx(5.0)
    assert found.latest_weeks == pytest.approx(10.0)


def test_free_memory_that_shrinks_reaches_its_limit_from_above() -> None:
    found = project(peaks(4.0, -0.5), a_trend(-0.5, -0.6, -0.4), 1.0)
    assert found is not None
    assert found.earliest_weeks == pytest.approx(5.0)
    assert found.latest_weeks == pytest.approx(7.5)


def test_a_slope_that_may_be_none_reaches_it_perhaps_never() -> None:
    found = project(peaks(9.0, 0.5), a_trend(0.5, -0.1, 0.6), 12.0)
    assert found is not None
    assert found.latest_weeks is None


@pytest.mark.parametrize(("now", "per_week"), [(9.0, -0.5), (15.0, 0.5), (9.0, 0.001), (9.0, 0.0)])
def test_what_moves_away_or_takes_a_year_is_not_projected(now: float, per_week: float) -> None:
    assert project(peaks(now, per_week), a_trend(per_week, per_week - 0.01, per_week + 0.01), 12.0) is None
