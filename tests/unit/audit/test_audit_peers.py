"""Nodes beside their peers: what is shared cancels, and samples are worth what they are worth."""

from __future__ import annotations

import numpy as np
import pytest
from audit_scenes import ar_noise
from hypothesis import given, settings
from hypothesis import strategies as st

from backstay.audit.compare.effective import summary
from backstay.audit.compare.peers import median_of_others, middle, relative, unsteadiness


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(st.one_of(st.just(float("nan")), st.floats(-1e6, 1e6)), min_size=5, max_size=5), min_size=1, max_size=7
    )
)
def test_the_median_of_others_is_what_a_loop_over_the_others_finds(rows: list[list[float]]) -> None:
    values = np.array(rows)
    found = median_of_others(values)
    for node in range(len(rows)):
        for time in range(5):
            others = [rows[k][time] for k in range(len(rows)) if k != node and np.isfinite(rows[k][time])]
            expected = np.median(others) if others else np.nan
            assert found[node, time] == pytest.approx(expected, nan_ok=True)


def test_a_shock_that_hits_all_nodes_cancels() -> None:
    shared = np.sin(np.arange(200) / 10.0)
    values = np.array([[0.0], [0.1], [0.1], [0.3]]) + shared
    assert np.allclose(relative(values), np.array([[-0.1], [0.0], [0.0], [0.2]]))


def test_a_node_alone_has_no_peers() -> None:
    assert np.isnan(relative(np.ones((1, 4)))).all()


def test_autocorrelated_samples_are_worth_few() -> None:
    rng = np.random.default_rng(1)
    _, _, samples, effective = summary(ar_noise(rng, 50, 1440, 0.95, 1.0))
    # tau = (1 + rho) / (1 - rho) = 39
    assert (samples == 1440).all()
    assert 1440 / 39 * 0.7 < np.median(effective) < 1440 / 39 * 1.6


def test_independent_samples_are_worth_themselves() -> None:
    effective = summary(np.random.default_rng(2).normal(size=(50, 1000)))[3]
    assert np.median(effective) > 700


def test_the_error_bar_covers_the_true_mean_of_autocorrelated_noise() -> None:
    means, errors, _, _ = summary(ar_noise(np.random.default_rng(3), 400, 720, 0.9, 1.0))
    assert 0.90 < np.mean(np.abs(means) < 1.96 * errors) <= 1.0


def test_gaps_change_neither_the_mean_nor_the_worth_much() -> None:
    rng = np.random.default_rng(4)
    values = ar_noise(rng, 20, 1000, 0.8, 1.0)
    holes = values.copy()
    holes[rng.random(values.shape) < 0.2] = np.nan
    whole, gapped = summary(values), summary(holes)
    assert np.allclose(whole[0], gapped[0], atol=0.1)
    assert 0.5 < np.median(gapped[3]) / np.median(whole[3]) < 2.0


@pytest.mark.parametrize(
    ("values", "samples", "error"),
    [([np.nan] * 20, 0, np.nan), ([1.0] + [np.nan] * 19, 1, 0.0), ([2.0] * 20, 20, 0.0), ([], 0, np.nan)],
    ids=["all gaps", "one sample", "constant", "empty"],
)
def test_a_series_without_content_says_so(values: list[float], samples: int, error: float) -> None:
    _, errors, found, effective = summary(np.array([values]))
    assert found[0] == samples
    assert errors[0] == pytest.approx(error, nan_ok=True)
    assert effective[0] <= samples


def test_a_node_that_swings_stands_out_in_its_unsteadiness() -> None:
    rng = np.random.default_rng(5)
    values = rng.normal(0.0, 0.01, (4, 500))
    values[2] *= 4.0
    level = unsteadiness(values).mean(axis=1)
    assert level.argmax() == 2
    assert level[2] - np.median(level) > 1.0


def test_the_middle_is_the_median_of_those_that_have_a_value() -> None:
    rng = np.random.default_rng(8)
    values = rng.normal(size=(5, 200))
    values[rng.random((5, 200)) < 0.4] = np.nan
    values[:, 7] = np.nan
    assert np.isnan(middle(values)[7])
    some = np.isfinite(values).any(axis=0)
    assert middle(values)[some] == pytest.approx(np.nanmedian(values[:, some], axis=0))
