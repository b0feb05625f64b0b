"""Node-level comparison: time samples never stand in for nodes."""

from __future__ import annotations

import numpy as np
import pytest
from audit_scenes import LOAD, TIGHT, WIDE, ar_noise, levels
from scipy import stats

from backstay.audit.compare import compare, compare_levels, levels_beside_peers
from backstay.audit.compare.between import contrast, holm, learn_spread, standings
from backstay.audit.model import Partition, Pooling
from backstay.audit.work import Method, Normalised

NODES = ("web1", "web2", "web3", "web4")


def alike_nodes(rng: np.random.Generator, sigma_b: float = 0.01) -> np.ndarray:
    """Four nodes that are alike within `sigma_b`, over a day of minutes with a daily cycle: (nodes, times)."""
    noise = ar_noise(rng, 4, 1440, 0.9, 0.03)
    return noise + rng.normal(0.0, sigma_b, (4, 1)) + 0.3 * np.sin(np.arange(1440) / 229.0)


def test_the_naive_test_calls_a_one_percent_node_effect_significant_and_ours_does_not() -> None:
    rng = np.random.default_rng(7)
    spread = learn_spread([levels_beside_peers(NODES, alike_nodes(rng)) for _ in range(40)])
    naive = ours = 0
    for _ in range(100):
        values = alike_nodes(rng)
        # The daily cycle taken out, as a careful notebook would; every minute still counts as a sample.
        flat = values - values.mean(axis=0)
        naive += stats.ttest_ind(flat[0], flat[1:].ravel()).pvalue < 0.05
        found = levels_beside_peers(NODES, values)
        ours += contrast(found[1:], found[:1], spread).p < 0.05
    assert naive >= 80
    assert ours <= 10


def test_a_real_difference_is_still_found() -> None:
    rng = np.random.default_rng(8)
    spread = learn_spread([levels_beside_peers(NODES, alike_nodes(rng)) for _ in range(40)])
    values = alike_nodes(rng)
    values[1] += 0.15
    found = compare("queue", NODES, Normalised(values=values, method=Method.LOG), LOAD, spread)
    assert found.differs == ("web2",)
    assert found.standings[1].low < 0.15 < found.standings[1].high


def test_two_against_two_is_a_split_and_not_two_outliers() -> None:
    found = compare_levels("queue", LOAD, levels((0.0, 0.2, 0.201, 0.001)), TIGHT)
    assert found.split == Partition((0, 1, 1, 0))
    assert found.differs == ()


def test_alike_nodes_do_not_split() -> None:
    assert compare_levels("queue", LOAD, levels((0.0, 0.001, 0.002, 0.001)), TIGHT).split is None


def test_the_spread_of_alike_nodes_is_learned_through_the_noise_of_their_series() -> None:
    rng = np.random.default_rng(9)
    groups = [levels((rng.normal(0.0, 0.02, 4) + rng.normal(0.0, 0.01, 4)).tolist(), error=0.01) for _ in range(300)]
    spread = learn_spread(groups)
    assert spread.pooling is Pooling.ALIKE
    assert 0.013 < spread.variance**0.5 < 0.03
    assert spread.freedom >= 4.0


def test_nodes_with_a_cause_of_their_own_are_counted_and_do_not_widen_the_spread() -> None:
    rng = np.random.default_rng(10)
    groups = []
    for at in range(60):
        means = rng.normal(0.0, 0.005, 6)
        means[0] += 0.2 * (at % 3 == 0)
        groups.append(levels(means.tolist(), error=0.0005))
    spread = learn_spread(groups)
    assert spread.variance**0.5 < 0.01
    assert 0.03 < spread.own_share < 0.1
    assert 0.15 < spread.own_scale < 0.25


def test_without_alike_nodes_the_prior_is_wide() -> None:
    assert learn_spread([]) == WIDE
    assert learn_spread([levels((0.1,))]) == WIDE


def test_a_node_without_values_is_told_and_the_others_are_compared() -> None:
    found = compare_levels("queue", LOAD, levels((0.0, 0.001, float("nan"), 0.3)), TIGHT)
    assert found.problems == ("web3 has no usable values",)
    assert np.isnan(found.standings[2].p)
    assert not found.standings[2].differs
    assert found.differs == ("web4",)


def test_one_node_is_compared_with_nobody() -> None:
    found = compare_levels("queue", LOAD, levels((0.5,)), TIGHT)
    assert found.differs == ()
    assert found.split is None
    assert found.problems == ("1 of 1 nodes have values: nothing to compare",)


def test_two_nodes_that_differ_are_both_or_neither() -> None:
    far = standings(levels((0.0, 0.5)), TIGHT)
    assert [one.differs for one in far] == [True, True]
    assert [one.differs for one in standings(levels((0.0, 0.5)), WIDE)] == [False, False]


def test_a_contrast_without_nodes_is_refused() -> None:
    with pytest.raises(ValueError, match="name at least one"):
        contrast([], levels((0.1,)), TIGHT)


def test_holm_multiplies_the_smallest_by_all_and_never_falls() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
