"""When a change is over, whatever the clocks do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from backstay.change import (
    DURATION_LIMIT_S,
    ChangeInvalid,
    ClockReading,
    deadline_at,
    format_duration,
    is_due,
    parse_duration,
    read_clock,
    remaining_s,
)

CASES: list[dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parents[2] / "cases" / "change" / "expiry.yaml").read_text()
)
START = ClockReading(wall=datetime(2026, 11, 22, 12, 0, tzinfo=UTC), boot_id="one", boottime_s=1_000.0)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_expiry(case: dict[str, Any]) -> None:
    hours, minutes = map(int, case["wall"].split(":"))
    reading = ClockReading(
        wall=START.wall.replace(hour=hours, minute=minutes), boot_id=case["boot"], boottime_s=float(case["boottime_s"])
    )
    start = START if case["boot"] else ClockReading(wall=START.wall, boot_id="", boottime_s=START.boottime_s)
    deadline = deadline_at(start, 1_800)
    assert remaining_s(deadline, reading) == pytest.approx(case["left"])
    assert is_due(deadline, reading) is case["due"]


def test_a_change_without_a_deadline_is_never_over() -> None:
    assert not is_due(None, START)


@given(
    duration_s=st.floats(0.001, DURATION_LIMIT_S),
    passed_s=st.floats(0, 2 * DURATION_LIMIT_S),
    steps_s=st.lists(st.integers(-7_200, 7_200), max_size=5),
)
def test_within_one_boot_no_step_of_the_wall_clock_moves_the_end(
    duration_s: float, passed_s: float, steps_s: list[int]
) -> None:
    deadline = deadline_at(START, duration_s)
    reading = ClockReading(
        wall=START.wall + timedelta(seconds=passed_s + sum(steps_s)),
        boot_id=START.boot_id,
        boottime_s=START.boottime_s + passed_s,
    )
    assert remaining_s(deadline, reading) == pytest.approx(duration_s - passed_s, abs=1e-3)


@given(
    duration_s=st.integers(1, DURATION_LIMIT_S), off_s=st.integers(0, 2 * DURATION_LIMIT_S), boot_s=st.floats(0, 1e9)
)
def test_after_a_reboot_the_wall_clock_rules(duration_s: int, off_s: int, boot_s: float) -> None:
    deadline = deadline_at(START, duration_s)
    reading = ClockReading(wall=START.wall + timedelta(seconds=off_s), boot_id="two", boottime_s=boot_s)
    assert remaining_s(deadline, reading) == pytest.approx(duration_s - off_s)


@given(st.integers(1, DURATION_LIMIT_S))
def test_a_deadline_is_due_exactly_when_nothing_remains(duration_s: int) -> None:
    deadline = deadline_at(START, duration_s)
    for boottime_s in (START.boottime_s, deadline.boottime_s - 0.5, deadline.boottime_s, deadline.boottime_s + 0.5):
        reading = ClockReading(wall=START.wall, boot_id="one", boottime_s=boottime_s)
        assert is_due(deadline, reading) == (remaining_s(deadline, reading) <= 0)


def test_the_clocks_of_this_machine_can_be_read() -> None:
    first, second = read_clock(), read_clock()
    assert second.boottime_s >= first.boottime_s > 0
    assert second.boot_id == first.boot_id
    assert first.wall.tzinfo is UTC


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("30m", 1_800),
        ("2h", 7_200),
        ("1d", 86_400),
        ("1h30m", 5_400),
        (" 1D2h3M4s ", 93_784),
        ("30d", 2_592_000),
    ],
)
def test_durations_are_read(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", " ", "m", "30", "-5m", "1.5h", "30m1h", "1h1h", "1w", "٣m", "9" * 500 + "s", "m" * 100, "1 h"]
)
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ChangeInvalid, match="Write a number and a unit"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "words"), [("0s", "over at once"), ("31d", "30 days at most"), ("9" * 30 + "d", "30 days")]
)
def test_durations_have_limits(text: str, words: str) -> None:
    with pytest.raises(ChangeInvalid, match=words):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (-5, "0s"),
        (0.4, "0s"),
        (59.6, "1m"),
        (1_752, "29m 12s"),
        (90_000, "1d 1h"),
        (86_405, "1d 5s"),
        (float("inf"), "11574074d 1h"),
    ],
)
def test_durations_are_shown_in_their_two_largest_units(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(1, DURATION_LIMIT_S))
def test_a_duration_that_is_shown_is_nearly_what_it_was(seconds: int) -> None:
    shown = parse_duration(format_duration(seconds).replace(" ", ""))
    assert shown <= seconds < shown + max(1, shown)
