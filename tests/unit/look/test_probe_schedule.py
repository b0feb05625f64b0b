"""When each of many targets is due, by a clock that the test moves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.look.schedule import JITTER, Schedule


def times(schedule: Schedule[str], until_s: float) -> dict[str, list[float]]:
    """Run the schedule to `until_s`: when each key was due."""
    found: dict[str, list[float]] = {}
    while (now := schedule.next_s()) is not None and now <= until_s:
        for key in schedule.due(now):
            found.setdefault(key, []).append(now)
    return found


def test_the_rate_is_exact_over_a_long_time() -> None:
    schedule = Schedule[str]()
    schedule.put("web1", 0.5, now_s=100.0)
    assert 1998 <= len(times(schedule, 1100.0)["web1"]) <= 2000


def test_jitter_moves_each_probe_by_at_most_a_tenth_of_the_interval() -> None:
    schedule = Schedule[str]()
    schedule.put("web1", 1.0, now_s=0.0, at_once=True)
    found = times(schedule, 500.0)["web1"]
    offsets = [when - number for number, when in enumerate(found)]
    assert all(-1e-9 <= offset <= JITTER + 1e-9 for offset in offsets)
    assert len({round(offset, 4) for offset in offsets}) > 100


def test_a_thousand_targets_added_at_once_are_spread_over_the_interval() -> None:
    schedule = Schedule[int]()
    for number in range(1000):
        schedule.put(number, 10.0, now_s=0.0)
    assert all(70 <= len(schedule.due(float(second))) <= 130 for second in range(1, 11))


def test_two_load_balancers_probe_the_same_target_at_different_moments() -> None:
    one, two = Schedule[str](salt="lb1"), Schedule[str](salt="lb2")
    for schedule in (one, two):
        schedule.put("web1", 1.0, now_s=0.0)
    assert one.next_s() != two.next_s()


def test_keys_with_a_phase_take_turns() -> None:
    schedule = Schedule[str]()
    for key, phase in (("http", 0.0), ("https", 0.5)):
        schedule.put(key, 1.0, now_s=100.0, phase=phase)
    assert schedule.due(100.0) == ["http"]
    assert schedule.due(100.5) == ["https"]


def test_after_a_pause_missed_probes_are_skipped_not_made_up_for() -> None:
    schedule = Schedule[str]()
    schedule.put("web1", 1.0, now_s=0.0, at_once=True)
    assert schedule.due(0.0) == ["web1"]
    assert schedule.due(3600.0) == ["web1"]
    assert schedule.due(3600.0) == []
    following = schedule.next_s()
    assert following is not None
    assert 3600.0 < following <= 3601.1


def test_a_burst_begins_at_once_and_ends_with_the_next_plan() -> None:
    schedule = Schedule[str]()
    schedule.put("lb1", 1.0, now_s=0.0)
    schedule.put("lb1", 0.05, now_s=10.0, at_once=True)
    assert schedule.due(10.0) == ["lb1"]
    assert len(times(schedule, 11.0)["lb1"]) in (18, 19, 20)
    schedule.put("lb1", 1.0, now_s=11.0)
    assert len(times(schedule, 21.0)["lb1"]) in (9, 10)


def test_an_equal_plan_is_kept_so_that_a_reload_delays_no_probe() -> None:
    schedule = Schedule[str]()
    schedule.put("web1", 1.0, now_s=0.0)
    before = schedule.next_s()
    schedule.put("web1", 1.0, now_s=0.9)
    assert schedule.next_s() == before


def test_what_was_removed_is_never_due_again() -> None:
    schedule = Schedule[str]()
    schedule.put("web1", 1.0, now_s=0.0)
    assert "web1" in schedule
    schedule.remove("web1")
    schedule.remove("unknown")
    assert schedule.next_s() is None
    assert schedule.due(100.0) == []
    assert len(schedule) == 0


@pytest.mark.parametrize("every_s", [0.0, -1.0, float("inf"), float("nan")])
def test_an_interval_that_is_not_positive_is_refused(every_s: float) -> None:
    with pytest.raises(ValueError, match="give a positive one"):
        Schedule[str]().put("web1", every_s, now_s=0.0)


@given(
    st.dictionaries(st.text(max_size=3), st.floats(0.05, 100), max_size=20),
    st.lists(st.floats(0.001, 50), max_size=30),
)
def test_every_key_is_due_once_a_call_at_most_and_never_forgotten(plans: dict[str, float], steps: list[float]) -> None:
    schedule = Schedule[str]()
    for key, every_s in plans.items():
        schedule.put(key, every_s, now_s=0.0)
    now, last = 0.0, dict.fromkeys(plans, 0.0)
    for step in steps:
        now += step
        found = schedule.due(now)
        assert len(found) == len(set(found))
        last.update(dict.fromkeys(found, now))
        assert all(now - seen <= plans[key] * (1 + JITTER) + step for key, seen in last.items())
