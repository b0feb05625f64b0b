"""Samples into cells: the arithmetic of the store, without a store."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from backstay.audit.store import Retention
from backstay.audit.store.indicators.cells import Means, Samples, cells_of, rates

NOTHING = Samples(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))


def samples(*rows: tuple[int, int, float]) -> Samples:
    """Rows of series, seconds, value."""
    series, times_s, values = zip(*rows, strict=True)
    return Samples(np.array(series, np.int64), np.array(times_s, np.int64) * 1000, np.array(values, float))


def test_a_counter_has_a_rate_from_its_second_sample_on() -> None:
    found = rates(samples((1, 10, 100.0), (1, 20, 150.0), (2, 15, 7.0)), {})
    assert (found.series.tolist(), found.times_ms.tolist(), found.values.tolist()) == ([1], [20_000], [5.0])


def test_the_sample_before_gives_the_first_its_rate() -> None:
    found = rates(samples((1, 10, 100.0)), {1: (0, 40.0)})
    assert found.values.tolist() == [6.0]


def test_a_reset_is_a_gap_and_a_wrap_is_counted_on() -> None:
    found = rates(samples((1, 0, 500.0), (1, 10, 600.0), (1, 20, 5.0), (1, 30, 15.0)), {})
    assert found.times_ms.tolist() == [10_000, 30_000]
    top = 2.0**32
    found = rates(samples((1, 0, top - 300.0), (1, 10, top - 200.0), (1, 20, 0.0)), {})
    assert found.values.tolist() == [10.0, 20.0]


def test_a_rate_over_more_than_a_day_is_a_gap() -> None:
    assert rates(samples((1, 100_000, 9.0)), {1: (0, 1.0)}).values.size == 0
    assert rates(NOTHING, {}).values.size == 0


def test_means_over_means_weigh_by_the_samples() -> None:
    means = Means({1: 0}, height=1, width=2)
    means.add(cells_of(samples((1, 0, 1.0), (1, 5, 2.0), (1, 9, 3.0)), start_ms=0.0, step_ms=10_000.0))
    means.add(cells_of(samples((1, 4, 10.0)), start_ms=0.0, step_ms=10_000.0))
    values = means.values()
    assert values[0, 0] == 4.0
    assert np.isnan(values[0, 1])


def test_cells_outside_the_grid_are_left_out() -> None:
    means = Means({0: 0}, height=1, width=1)
    means.add(cells_of(samples((0, 5, 1.0), (0, 15, 2.0), (0, 25, 3.0)), start_ms=10_000.0, step_ms=10_000.0))
    assert means.values().tolist() == [[2.0]]
    assert cells_of(NOTHING, start_ms=0.0, step_ms=1.0).cell.size == 0


def test_retention_counts_from_midnight_and_refuses_nonsense() -> None:
    evening = datetime(2026, 3, 10, 21, 30, tzinfo=UTC)
    assert Retention.before(evening, 7) == datetime(2026, 3, 3, tzinfo=UTC).timestamp()
    with pytest.raises(ValueError, match="at least as long as the one before"):
        Retention(raw_days=30)
