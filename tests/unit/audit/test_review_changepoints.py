"""Change points of one series: what is found, where, how large; and what is not claimed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from review_scenes import CELL_S, CELLS, a_series, cycles

from backstay.audit.review.cells import daily, in_cells, width_for, without_cycles
from backstay.audit.review.changepoints import find_breaks
from backstay.audit.review.segments import Costs, Noise, search

CASES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "cases" / "audit" / "review" / "series.json").read_text()
)
TOLERANCE = {"level": 8, "slope": 60, "spread": 24}  # cells


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_what_is_planted_is_found_and_nothing_else(case: dict[str, Any]) -> None:
    found = find_breaks(a_series(case)).breaks
    assert [one.shape.value for one in found] == [one["shape"] for one in case["found"]]
    for one, planted in zip(found, case["found"], strict=True):
        assert abs(one.cell - planted["at"]) <= TOLERANCE[planted["shape"]]
        assert one.earliest <= one.cell <= one.latest
        assert one.low <= one.size <= one.high
        assert one.p <= 0.01
        if planted["shape"] == "level":
            assert one.low <= planted["size"] <= one.high
        if planted["shape"] == "spread":
            assert one.size == pytest.approx(math.log(planted["size"]), abs=0.5)


def test_daily_and_weekly_cycles_are_no_change_points() -> None:
    times = np.arange(CELLS) * CELL_S
    calm = a_series({"rho": 0.5, "planted": []})
    assert find_breaks(without_cycles(calm + cycles(CELLS, CELL_S), times, CELL_S)).breaks == ()


def test_a_step_stays_where_it_is_when_the_cycles_are_taken_out() -> None:
    times = np.arange(CELLS) * CELL_S
    stepped = a_series({"rho": 0.5, "planted": [{"shape": "level", "size": 0.15, "at": 333}]})
    (found,) = find_breaks(without_cycles(stepped + cycles(CELLS, CELL_S), times, CELL_S)).breaks
    assert abs(found.cell - 333) <= 8


def test_the_steps_can_be_taken_out_again() -> None:
    values = a_series({"rho": 0.3, "planted": [{"shape": "level", "size": 0.5, "at": 300}]})
    broken = find_breaks(values)
    assert find_breaks(values - broken.levels).breaks == ()


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3), st.integers(0, 5))
@settings(max_examples=6, deadline=None)
def test_units_do_not_matter(offset: float, scale: float, seed: int) -> None:
    values = a_series({"rho": 0.5, "planted": [{"shape": "level", "size": 0.1, "at": 400}]}, seed)[200:500]
    there, here = find_breaks(values).breaks, find_breaks(offset + scale * values).breaks
    assert [one.cell for one in there] == [one.cell for one in here]
    assert [one.size * scale for one in there if one.shape == "level"] == pytest.approx(
        [one.size for one in here if one.shape == "level"], rel=1e-3
    )


@given(arrays(np.float64, st.integers(0, 120), elements=st.floats(allow_nan=True, allow_infinity=True, width=32)))
@settings(max_examples=60, deadline=None)
def test_nonsense_is_survived(values: np.ndarray) -> None:
    for one in find_breaks(values).breaks:
        assert 0 <= one.earliest <= one.cell <= one.latest < len(values)
        assert 0.0 <= one.p <= 0.01


def test_the_search_finds_the_cheapest_segmentation() -> None:
    """Against all segmentations into up to three segments, on the places that the search looks at."""
    rng = np.random.default_rng(3)
    values = rng.normal(0.0, 1.0, 42) + 3.0 * (np.arange(42) >= 21)
    costs = Costs(values, np.arange(42), Noise(0.3, 1.0))
    places = range(6, 37)
    every = [[], *([a] for a in places), *([a, b] for a in places for b in places if b - a >= 6)]
    best = min(every, key=lambda borders: costs.whole(borders) + 8.0 * len(borders))
    assert search(costs, 8.0, 6) == best == [21]


def test_cells_are_the_same_time_of_every_day_and_a_spike_is_no_level() -> None:
    values = np.ones((1, 60 * 24 * 2))
    values[0, 100] = 1e9
    values[0, 300:420] = np.nan
    cells = in_cells(values, 86_400.0 + 1800.0, 60.0, 3600.0)
    assert cells.start_s == 86_400.0
    assert cells.count == 49
    assert np.nanmax(cells.values) == 1.0
    assert np.isnan(cells.values[0, 6])


@pytest.mark.parametrize(
    ("days", "step_s", "width_s"),
    [(56, 60, 7200), (56, 3600, 7200), (1, 60, 120), (7, 86_400, 86_400), (9000, 1, 1.123e6)],
)
def test_the_width_of_a_cell_follows_from_the_history(days: float, step_s: float, width_s: float) -> None:
    assert width_for(days * 86_400.0, step_s) == pytest.approx(width_s, rel=0.01)


def test_half_a_night_is_no_day() -> None:
    times = np.arange(24 * 4) * 3600.0
    values = np.ones(96)
    values[24:44] = np.nan
    assert np.isnan(daily(values, times)).tolist() == [False, True, False, False]
