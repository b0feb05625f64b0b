"""When a page is tried again, and when it is given up."""

from __future__ import annotations

import pytest

from backstay.notify.model import Delivery
from backstay.notify.schedule import Schedule

SCHEDULE = Schedule()


@pytest.mark.parametrize(
    ("failures", "wait_s"), [(1, 1.0), (2, 2.0), (3, 4.0), (9, 256.0), (10, 300.0), (100, 300.0), (299, 300.0)]
)
def test_the_wait_doubles_up_to_five_minutes(failures: int, wait_s: float) -> None:
    assert SCHEDULE.next_s(Delivery(failures=failures), None) == wait_s


def test_after_three_hundred_tries_a_page_is_given_up() -> None:
    assert SCHEDULE.next_s(Delivery(failures=300), None) is None


def test_the_tries_last_about_a_day() -> None:
    waits = [SCHEDULE.next_s(Delivery(failures=tries), None) for tries in range(1, SCHEDULE.tries)]
    assert 23 * 3_600 < sum(wait_s for wait_s in waits if wait_s is not None) < 25 * 3_600


def test_what_a_person_must_mend_is_tried_seldom_and_for_an_hour() -> None:
    waits = [SCHEDULE.next_s(Delivery(failures=tries, refusals=tries), None) for tries in range(1, 13)]
    assert waits == [300.0] * 11 + [None]


def test_a_channel_that_names_its_wait_gets_it() -> None:
    assert SCHEDULE.next_s(Delivery(failures=1), 42.0) == 42.0


def test_a_wait_shorter_than_ours_is_not_taken() -> None:
    assert SCHEDULE.next_s(Delivery(failures=5), 1.0) == 16.0


def test_a_wait_without_end_is_bounded() -> None:
    assert SCHEDULE.next_s(Delivery(failures=1), 1e12) == 3_600.0
