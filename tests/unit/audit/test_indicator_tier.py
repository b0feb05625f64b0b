"""What load balancers counted, added up, whoever restarts or is away; kept between two runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.audit.sources.tier.memory import Memory
from backstay.audit.sources.tier.reading import ERRORS, IN_FLIGHT, SECONDS, WORK, reading_of
from backstay.audit.sources.tier.tally import Reading, Tally, fold, forget

KEY = ("web1", WORK)


def reading(lb: str, count: float, started_s: float = 100.0) -> Reading:
    return Reading(lb=lb, started_s=started_s, counts={KEY: count})


def total(tally: Tally) -> float:
    return tally.totals[KEY]


def test_the_total_is_the_sum_over_load_balancers() -> None:
    tally = fold(Tally(), [reading("lb1", 100.0), reading("lb2", 50.0)], 1_000.0)
    assert total(tally) == 150.0
    tally = fold(tally, [reading("lb1", 110.0), reading("lb2", 55.0)], 1_060.0)
    assert total(tally) == 165.0


def test_an_agent_that_restarted_counts_from_its_start() -> None:
    tally = fold(Tally(), [reading("lb1", 100.0), reading("lb2", 50.0)], 1_000.0)
    tally = fold(tally, [reading("lb1", 7.0, started_s=1_030.0), reading("lb2", 55.0)], 1_060.0)
    assert total(tally) == 150.0 + 7.0 + 5.0


def test_one_that_was_away_makes_no_leap_when_it_is_back() -> None:
    tally = fold(Tally(), [reading("lb1", 100.0), reading("lb2", 50.0)], 1_000.0)
    tally = fold(tally, [reading("lb1", 110.0)], 1_060.0)
    assert total(tally) == 160.0
    tally = fold(tally, [reading("lb1", 120.0), reading("lb2", 5_000.0)], 1_120.0)
    assert total(tally) == 170.0  # of how long its 4,950 are is not known to whoever takes the rate
    tally = fold(tally, [reading("lb1", 130.0), reading("lb2", 5_010.0)], 1_180.0)
    assert total(tally) == 190.0


def test_one_that_died_and_came_back_counts_from_its_start() -> None:
    tally = fold(Tally(), [reading("lb1", 100.0), reading("lb2", 50.0)], 1_000.0)
    tally = fold(tally, [reading("lb1", 110.0)], 1_060.0)
    tally = fold(tally, [reading("lb1", 120.0), reading("lb2", 9.0, started_s=1_100.0)], 1_120.0)
    assert total(tally) == 179.0


def test_a_new_load_balancer_and_one_that_is_gone() -> None:
    tally = fold(Tally(), [reading("lb1", 100.0)], 1_000.0)
    tally = fold(tally, [reading("lb1", 110.0), reading("lb3", 9_999.0)], 1_060.0)
    assert total(tally) == 110.0
    tally = fold(tally, [reading("lb3", 10_009.0)], 1_120.0)
    assert total(tally) == 120.0


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["lb1", "lb2", "lb3"]), st.tuples(st.floats(0, 1e9), st.sampled_from([1.0, 150.0, 260.0]))
        ),
        max_size=8,
    )
)
def test_a_total_never_falls(steps: list[dict[str, tuple[float, float]]]) -> None:
    tally, before = Tally(), 0.0
    for number, step in enumerate(steps):
        readings = [reading(lb, count, started) for lb, (count, started) in step.items()]
        tally = fold(tally, readings, 100.0 * (number + 1))
        after = tally.totals.get(KEY, 0.0)
        assert after >= before
        before = after


def test_nodes_that_are_gone_are_forgotten() -> None:
    tally = fold(Tally(), [Reading(lb="a", started_s=1.0, counts={KEY: 1.0, ("old", WORK): 2.0})], 10.0)
    assert forget(tally, ["web1"]).totals == {KEY: 1.0}


PAGE = """\
backstay_agent_start_time_seconds 1.7e9
backstay_backend_share{pool="web",backend="web1"} 1
backstay_backend_share{pool="web",backend="web2"} 1
backstay_backend_share{pool="api",backend="web1"} 1
backstay_backend_in_flight_requests{pool="web",backend="web1"} 2
backstay_backend_in_flight_requests{pool="api",backend="web1"} 3
backstay_backend_requests_total{pool="web",backend="web1",outcome="success"} 90
backstay_backend_requests_total{pool="web",backend="web1",outcome="error"} 10
backstay_backend_requests_total{pool="api",backend="web1",outcome="success"} 5
backstay_backend_response_seconds_count{pool="web",backend="web1"} 100
backstay_backend_response_seconds_sum{pool="web",backend="web1"} 12.5
"""


def test_an_agent_tells_requests_errors_and_latency_over_its_pools() -> None:
    found = reading_of("lb1", PAGE)
    assert found.started_s == 1.7e9
    assert found.counts == {
        ("web1", WORK): 105.0,
        ("web1", ERRORS): 10.0,
        ("web1", SECONDS): 12.5,
        ("web2", WORK): 0.0,
        ("web2", ERRORS): 0.0,
        ("web2", SECONDS): 0.0,
    }
    assert found.gauges == {("web1", IN_FLIGHT): 5.0}


@pytest.mark.parametrize("text", ["", "node_load1 3", "<html>"])
def test_what_is_no_agent_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"this is no agent|is no sample"):
        reading_of("lb1", text)


def test_the_tally_outlives_the_process(tmp_path: Path) -> None:
    tally = fold(Tally(), [reading_of("lb1", PAGE)], 1_000.0)
    assert Memory(tmp_path).keep(tally) == ""
    recalled, problem = Memory(tmp_path).recall()
    assert problem == ""
    assert (recalled.at_s, recalled.totals) == (tally.at_s, tally.totals)
    assert recalled.read["lb1"].counts == tally.read["lb1"].counts
    assert [path.name for path in tmp_path.iterdir()] == ["tier.json"]


def test_without_a_folder_it_is_kept_as_long_as_the_source_lives() -> None:
    memory = Memory(None)
    tally = fold(Tally(), [reading("lb1", 5.0)], 1_000.0)
    assert memory.recall() == (Tally(), "")
    assert memory.keep(tally) == ""
    assert memory.recall() == (tally, "")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"version": 2}', '{"version": 1, "at_s": "x", "totals": {}, "read": {}}',
             '{"version": 1, "at_s": 1, "totals": {"a": {"b": NaN}}, "read": {}}', "[" * 100_000],
)  # fmt: skip
def test_a_file_of_no_use_is_told_and_begun_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / "tier.json").write_text(text)
    memory = Memory(tmp_path)
    tally, problem = memory.recall()
    assert tally == Tally()
    assert "tier.json is of no use" in problem
    memory.keep(fold(tally, [reading("lb1", 5.0)], 1_000.0))
    assert Memory(tmp_path).recall()[1] == ""


def test_a_folder_that_nobody_may_write_to_is_told(tmp_path: Path) -> None:
    assert "not written: No such file or directory" in Memory(tmp_path / "gone").keep(Tally())
