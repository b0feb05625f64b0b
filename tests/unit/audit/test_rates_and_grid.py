"""Counters become rates; irregular series become a grid; what was wrong is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backstay.audit.catalogue import indicator_of
from backstay.audit.model import Floats, Resource, Series, SeriesKind
from backstay.audit.rates import rate
from backstay.audit.sources.gridding import GRID_LIMIT, step_of, tidy, to_grid

NOW = datetime(2026, 3, 2, tzinfo=UTC)
START = NOW - timedelta(hours=1)


def series(offsets_s: list[float], values: list[float], kind: SeriesKind = SeriesKind.GAUGE, node: str = "a") -> Series:
    times_s: Floats = START.timestamp() + np.array(offsets_s, float)
    return Series(node=node, indicator="load", times_s=times_s, values=np.array(values, float), kind=kind)


def test_a_counter_becomes_its_rate() -> None:
    found = rate(np.array([0.0, 10.0, 30.0]), np.array([5.0, 25.0, 65.0]))
    assert found.values.tolist() == [2.0, 2.0]
    assert found.times_s.tolist() == [10.0, 30.0]


def test_a_reset_is_a_gap_not_a_spike() -> None:
    found = rate(np.arange(4) * 10.0, np.array([1000.0, 1020.0, 5.0, 25.0]))
    assert found.values[[0, 2]].tolist() == [2.0, 2.0]
    assert np.isnan(found.values[1])
    assert (found.resets, found.wraps) == (1, 0)


@pytest.mark.parametrize("width", [2.0**32, 2.0**64])
def test_a_wrap_goes_on_counting(width: float) -> None:
    step = width / 2.0**12  # what a float can still tell apart near 2^64
    found = rate(np.arange(4) * 10.0, np.array([width - 3 * step, width - 2 * step, 0.0, step]))
    assert found.values * 10.0 / step == pytest.approx([1.0, 2.0, 1.0])
    assert (found.resets, found.wraps) == (0, 1)


def test_a_reset_near_the_top_is_no_wrap_when_the_rate_would_be_unheard_of() -> None:
    top = 2.0**32 * 0.92
    found = rate(np.arange(4) * 10.0, np.array([top, top + 20.0, 3.0, 23.0]))
    assert (found.resets, found.wraps) == (1, 0)


def test_rates_need_tidy_samples() -> None:
    with pytest.raises(ValueError, match="tidy it first"):
        rate(np.array([0.0, 0.0]), np.array([1.0, 2.0]))


@settings(max_examples=80, deadline=None)
@given(st.lists(st.floats(0.0, 2.0**64), min_size=2, max_size=30))
def test_a_rate_is_never_negative(values: list[float]) -> None:
    found = rate(np.arange(len(values), dtype=float), np.array(values))
    assert not (found.values < 0.0).any()
    assert int(np.isnan(found.values).sum()) == found.resets


def test_what_was_wrong_is_counted_and_told() -> None:
    dirty = series([60.0, 0.0, 0.0, 120.0, 180.0, 9e9], [1.0, 2.0, 3.0, np.inf, np.nan, 5.0])
    tidied = tidy([dirty], NOW)
    assert tidied.series[0].times_s.tolist() == [START.timestamp(), START.timestamp() + 60.0]
    assert tidied.series[0].values.tolist() == [3.0, 1.0]  # of two at one time the last counts
    assert [problem.split(":")[0] for problem in tidied.problems] == [
        "samples from later than now, left out (is the node's clock ahead?)",
        "values that are infinite or no number, as gaps",
        "series out of order, sorted",
        "doubled samples, of which the last counts",
    ]


def test_clean_series_have_no_problems_and_empty_ones_go() -> None:
    assert tidy([series([0.0, 60.0], [1.0, 2.0])], NOW).problems == ()
    assert tidy([series([], [])], NOW).series == ()
    assert tidy([series([5.0], [1.0], SeriesKind.COUNTER)], NOW).series == ()


def test_cells_are_means_and_gaps_are_nan() -> None:
    found = to_grid(
        [series([0.0, 30.0, 130.0], [1.0, 3.0, 7.0])], ["a", "b"], ["load"], start=START, end=NOW, step_s=60.0
    )
    assert found.values.shape == (1, 2, 60)
    assert found.values[0, 0, :3].tolist() == [2.0, pytest.approx(np.nan, nan_ok=True), 7.0]
    assert np.isnan(found.values[0, 1]).all()


def test_the_step_is_the_usual_one_within_the_limit_of_cells() -> None:
    assert step_of([series([0.0, 15.0, 30.0, 500.0], [1.0] * 4)], START, NOW) == 15.0
    assert step_of([], START, NOW) == 60.0
    assert step_of([series([0.0, 1.0], [1.0] * 2)], NOW - timedelta(days=365), NOW) > 600.0


def test_a_grid_that_does_not_fit_says_so() -> None:
    nodes = [f"n{at}" for at in range(GRID_LIMIT // 3600 + 1)]
    with pytest.raises(ValueError, match="Look at fewer nodes, or a shorter time"):
        to_grid([], nodes, ["load"], start=START, end=NOW, step_s=1.0)


@pytest.mark.parametrize(
    ("name", "resource", "per_work"),
    [
        ("load", Resource.CPU, True),
        ("node_load1", Resource.CPU, True),
        ("rx_drops_total", Resource.NETWORK, True),
        ("node_network_receive_errs_total", Resource.NETWORK, True),
        ("tcp_retransmits", Resource.NETWORK, True),
        ("memory_used_bytes", Resource.MEMORY, False),
        ("disk_read_bytes_total", Resource.STORAGE, True),
        ("disk_percent", Resource.STORAGE, False),
        ("node_filesystem_avail_bytes", Resource.STORAGE, False),
        ("request_latency_ms", Resource.SERVICE, False),
        ("cpu_temperature", Resource.CPU, False),
        ("widgets", Resource.SERVICE, False),
    ],
)
def test_an_indicator_is_known_by_its_name(name: str, resource: Resource, per_work: bool) -> None:
    found = indicator_of(name)
    assert (found.resource, found.per_work) == (resource, per_work)


def test_the_unit_of_work_is_not_divided_by_itself() -> None:
    found = indicator_of("http_requests_load", work="http_requests_load", closed_loop=True)
    assert (found.per_work, found.closed_loop) == (False, True)
