"""What the server's audit does when: what is due, what is told, and told once."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from backstay.estate.audit import Review, Weekday
from backstay.server.audit.judge import MISSES, again_after, announce, is_due, retry_after, reviewed_before
from backstay.server.audit.model import SPANS, Key, Kind, Result

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)  # a Monday
MINUTE = timedelta(minutes=1)


def a_finding(indicator: str = "load", grade: str = "consistent") -> Result:
    key = Key(kind=Kind.FINDING, cluster="queue", indicator=indicator, span="1d")
    head = {"grade": grade, "sentence": f"{grade}: cpu.version", "facts": ["cpu.version"]}
    return Result(key=key, at=NOW, head=head)


def test_the_servers_own_process_loads_neither_numpy_nor_duckdb() -> None:
    code = (
        "import sys, backstay.server.run; sys.exit(any(name in sys.modules for name in ('numpy', 'scipy', 'duckdb')))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_a_result_is_renewed_when_a_sixtieth_of_its_interval_is_new() -> None:
    assert [again_after(span, MINUTE) for span in SPANS] == [
        MINUTE,
        6 * MINUTE,
        24 * MINUTE,
        timedelta(hours=1),
        timedelta(hours=1),
        timedelta(hours=1),
    ]


def test_nothing_is_looked_at_more_often_than_it_is_collected() -> None:
    assert again_after("1h", timedelta(minutes=10)) == timedelta(minutes=10)


def test_what_was_never_done_is_due() -> None:
    assert is_due(None, MINUTE, NOW)
    assert is_due(NOW - MINUTE, MINUTE, NOW)
    assert not is_due(NOW, MINUTE, NOW)


def test_a_failure_is_tried_again_after_twice_as_long_each_time_up_to_a_bound() -> None:
    waits = [retry_after(failures).total_seconds() for failures in (1, 2, 3, 6, 7, 1_000)]
    assert waits == [30.0, 60.0, 120.0, 900.0, 900.0, 900.0]


@pytest.mark.parametrize(
    ("now", "last"),
    [
        (NOW, datetime(2026, 11, 23, 6, tzinfo=UTC)),
        (datetime(2026, 11, 23, 5, 59, tzinfo=UTC), datetime(2026, 11, 16, 6, tzinfo=UTC)),
        (datetime(2026, 11, 22, 23, tzinfo=UTC), datetime(2026, 11, 16, 6, tzinfo=UTC)),
    ],
)
def test_the_week_is_reviewed_at_the_estates_weekday_and_hour(now: datetime, last: datetime) -> None:
    assert reviewed_before(now, Review(weekday=Weekday.MONDAY, hour=6)) == last


def test_a_finding_is_told_once_however_often_it_is_seen() -> None:
    first = announce([a_finding()], [], NOW)
    assert [(one.kind, one.subject) for one in first.events] == [("audit.found", "audit/queue/load")]
    again = announce([a_finding()], first.results, NOW)
    assert (again.events, again.results, again.gone) == ((), (), ())


def test_a_finding_that_gains_in_grade_is_kept_so_and_not_told_again() -> None:
    told = announce([a_finding()], [], NOW).results
    surer = announce([a_finding(grade="probable")], told, NOW)
    assert surer.events == ()
    assert [one.head["grade"] for one in surer.results] == ["probable"]


def test_a_finding_is_closed_when_it_was_missed_several_times_in_a_row_and_names_its_beginning() -> None:
    first = announce([a_finding()], [], NOW)
    told = first.results
    for _ in range(MISSES - 1):
        missed = announce([], told, NOW)
        assert missed.events == ()
        told = missed.results
    closed = announce([], told, NOW)
    assert [(one.kind, one.cause) for one in closed.events] == [("audit.closed", first.events[0].id)]
    assert closed.gone == (told[0].key,)


def test_one_look_without_it_is_forgotten_when_it_is_seen_again() -> None:
    told = announce([], announce([a_finding()], [], NOW).results, NOW).results
    assert told[0].head["misses"] == 1
    back = announce([a_finding()], told, NOW)
    assert (back.events, [one.head["misses"] for one in back.results]) == ((), [0])
