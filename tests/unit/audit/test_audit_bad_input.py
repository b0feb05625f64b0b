"""Bad input: a clear message, and no wrong claim."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from audit_scenes import LOAD, START, a_grid, facts, find, levels
from hypothesis import given, settings
from hypothesis import strategies as st

from backstay.audit.compare import compare, compare_levels
from backstay.audit.examine import examine
from backstay.audit.explain import explain
from backstay.audit.explain.volatility import learn_habits
from backstay.audit.model import UNREAD, Cluster, FactTable, Grade, Grid
from backstay.audit.work import Method, normalise

NONSENSE = st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.just(0.0), st.just(-1.0))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(NONSENSE, min_size=12, max_size=12), min_size=1, max_size=5))
def test_nonsense_never_raises_and_never_gives_more_than_a_difference(rows: list[list[float]]) -> None:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        nodes = tuple(f"web{at + 1}" for at in range(len(rows)))
        found = compare("queue", nodes, normalise(np.array(rows)), LOAD)
        finding = explain(found, FactTable.of({node: {} for node in nodes}), LOAD)
    assert finding.grade.rank <= Grade.DIFFERS.rank
    assert all(not (math.isnan(one.p) and one.differs) for one in found.standings)


@pytest.mark.parametrize(
    "values",
    [
        np.full((4, 100), np.nan),
        np.full((4, 100), np.inf),
        np.zeros((4, 100)),
        np.full((4, 100), -3.0),
        np.empty((4, 0)),
        np.ones((4, 100)),
        np.full((4, 100), 1e308),
    ],
    ids=["NaN", "infinite", "zero", "negative", "empty", "constant", "huge"],
)
def test_series_without_content_give_no_finding(values: np.ndarray) -> None:
    grid = a_grid(values[None])
    table = facts(cpu_model_name=("V1", "V2", "V2", "V3"))
    found = examine(Cluster(name="queue", nodes=grid.nodes), grid, LOAD, table)
    assert found.finding.grade is Grade.NOTHING
    assert found.comparison.differs == ()


def test_two_samples_a_node_are_no_series() -> None:
    grid = a_grid(np.array([[[8.0, 8.1], [4.0, 4.1], [4.1, 4.0], [2.0, 2.1]]]))
    found = examine(Cluster(name="queue", nodes=grid.nodes), grid, LOAD, facts(cpu_model_name=("V1", "V2", "V2", "V3")))
    assert found.finding.grade is Grade.NOTHING
    assert any("2 of the 3 samples that a series needs at least" in one for one in found.comparison.problems)


def test_one_node_has_no_peers() -> None:
    found = find((0.5,), facts(cpu_model_name=("V1",)))
    assert found.grade is Grade.NOTHING
    assert found.caps == ("fewer than two nodes have values and facts: nothing to compare",)


def test_no_nodes_at_all_is_an_empty_finding() -> None:
    found = explain(compare_levels("queue", LOAD, ()), FactTable.of({}), LOAD)
    assert found.grade is Grade.NOTHING
    assert found.hypotheses == ()


def test_a_node_without_facts_is_left_out_and_named() -> None:
    table = facts(cpu_model_name=("V1", "V2", "V2"))
    found = find((0.0, 0.3, 0.3, 0.9), table)
    assert found.nodes == ("web1", "web2", "web3")
    assert found.problems == ("web4 is left out: no facts: collect them (backstay audit collect)",)


def test_facts_of_any_text_are_values() -> None:
    table = facts(cpu_model_name=("", "\x00\n", "V" * 100_000, "é"), memory_speed=("nan", "inf", "1e999", "-0.0"))
    assert find((0.0, 0.3, 0.3, 0.45), table).grade.rank <= Grade.CONSISTENT.rank


def test_a_million_labels_are_one_class_each_partition() -> None:
    values = {f"web{at + 1}": {f"label.l{k}": str((k >> at) & 1) for k in range(20_000)} for at in range(4)}
    found = find((0.0, 0.3, 0.3, 0.0), FactTable.of(values))
    assert len(found.hypotheses) <= 7 + 2
    assert found.grade.rank <= Grade.CONSISTENT.rank


def test_zeros_are_measured_in_shares_of_the_mean() -> None:
    drops = np.zeros((4, 100))
    drops[3, ::2] = 8.0
    found = normalise(drops)
    assert found.method is Method.LINEAR
    assert found.values.mean(axis=1) == pytest.approx([0.0, 0.0, 0.0, 4.0])


def test_work_that_the_indicator_is_proportional_to_is_divided_out() -> None:
    rng = np.random.default_rng(1)
    work = rng.lognormal(3.0, 0.5, (3, 300))
    found = normalise(2.0 * work, work)
    assert found.method is Method.RATIO
    assert found.values == pytest.approx(np.full((3, 300), math.log(2.0)))


def test_load_that_is_there_without_work_is_regressed() -> None:
    rng = np.random.default_rng(2)
    work = rng.lognormal(0.0, 0.5, (4, 500))
    work[0] *= 0.25  # gets less work, and is as good as the others
    found = normalise(work**0.5 * rng.lognormal(0.0, 0.01, work.shape), work)
    assert found.method is Method.REGRESSION
    assert found.slope == pytest.approx(0.5, abs=0.02)
    assert np.ptp(found.values.mean(axis=1)) < 0.02


def test_cells_without_work_are_gaps() -> None:
    work = np.ones((2, 30))
    work[0, :10] = 0.0
    assert np.isnan(normalise(np.ones((2, 30)), work).values[0, :10]).all()
    nothing = normalise(np.ones((2, 30)), np.zeros((2, 30)))
    assert nothing.problems == ("no cell has both a value and work",)


def test_a_grid_of_the_wrong_shape_says_which() -> None:
    with pytest.raises(ValueError, match="give \\(indicators, nodes, times\\)"):
        Grid(nodes=("a",), indicators=("load",), start=START, step_s=60.0, values=np.zeros((1, 2, 3)))
    with pytest.raises(ValueError, match="step above 0"):
        Grid(nodes=("a",), indicators=("load",), start=START, step_s=0.0, values=np.zeros((1, 1, 3)))


def test_an_unknown_indicator_and_an_unknown_node_are_named() -> None:
    grid = a_grid(np.zeros((1, 2, 3)))
    with pytest.raises(KeyError, match="There is: load"):
        grid.of("temperature")
    with pytest.raises(KeyError, match="web9"):
        facts(a_b=("1", "2")).rows(["web9"])


def test_unread_is_not_absent_and_another_source_wins() -> None:
    table = FactTable.of({"a": {"dmi.bios": "1"}, "b": {}, "c": {"dmi.bios": "2"}}, {"b": ["dmi.*"], "c": ["dmi.*"]})
    assert table.columns["dmi.bios"].codes.tolist() == [0, UNREAD, 1]


def test_habits_need_a_time() -> None:
    with pytest.raises(ValueError, match="give the time"):
        learn_habits(facts(a_b=("1",)), [], days=0.0)


def test_errors_of_zero_do_not_make_certain() -> None:
    found = compare_levels("queue", LOAD, levels((0.0, 1e-9, 2e-9, 1e-6), error=0.0))
    assert found.differs == ()
    assert found.split is None
