"""What a user saw: downtime, losses and latency, from the fates of requests."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.look.witness import Fate, Histogram, Witness


def run(fates: str, every_s: float = 0.1) -> Witness:
    """One request every `every_s`; "." is answered after 10 ms, "x" lost."""
    witness = Witness()
    for number, fate in enumerate(fates):
        due = number * every_s
        witness.ended(witness.sent(due), Fate.ANSWERED if fate == "." else Fate.LOST, due + 0.01)
    return witness


@pytest.mark.parametrize(
    ("fates", "downtime_s", "longest_s", "outages"),
    [
        ("..........", 0.0, 0.0, 0),
        (".x........", 0.1, 0.1, 1),
        ("..xxx.....", 0.3, 0.3, 1),
        (".x..xx....", 0.3, 0.2, 2),
        ("x.x.x.x.x.", 0.5, 0.1, 5),
        (".......xxx", 0.3, 0.3, 1),
        ("xxxxxxxxxx", 1.0, 1.0, 1),
        ("", 0.0, 0.0, 0),
    ],
)
def test_downtime_is_the_sum_of_the_intervals_in_which_requests_failed(
    fates: str, downtime_s: float, longest_s: float, outages: int
) -> None:
    found = run(fates).summary(len(fates) * 0.1)
    assert (found["downtime_s"], found["longest_outage_s"], found["outages"]) == (
        pytest.approx(downtime_s),
        pytest.approx(longest_s),
        outages,
    )


def test_downtime_follows_the_order_in_which_requests_were_due_not_in_which_they_ended() -> None:
    witness = Witness()
    numbers = [witness.sent(due) for due in (0.0, 1.0, 2.0, 3.0)]
    witness.ended(numbers[3], Fate.ANSWERED, 3.1)
    witness.ended(numbers[0], Fate.ANSWERED, 3.2)
    assert witness.summary(4.0)["downtime_s"] == 0.0
    witness.ended(numbers[2], Fate.TIMED_OUT, 7.0)
    witness.ended(numbers[1], Fate.TIMED_OUT, 7.0)
    assert witness.summary(8.0)["downtime_s"] == 2.0


def test_an_outage_that_goes_on_counts_until_now() -> None:
    witness = run("..x")
    assert witness.summary(5.2)["downtime_s"] == 5.0
    assert witness.summary(6.2)["longest_outage_s"] == 6.0


def test_each_fate_is_counted_and_only_good_answers_have_a_latency() -> None:
    witness = Witness(slow_s=0.5)
    for fate in Fate:
        witness.ended(witness.sent(0.0), fate, 2.0)
    witness.ended(witness.sent(0.0), Fate.ANSWERED, 0.25)
    witness.sent(1.0)
    found = witness.summary(1.0)
    assert found["sent"] == 8
    assert found["in_flight"] == 1
    assert found["ended"] == 7
    assert found["answered"] == 2
    assert found["unanswered"] == 3  # lost, timed out, no connection
    assert found["failed"] == 5
    assert found["slow"] == 1
    assert found["latency_ms_max"] == 2000.0


def test_an_interval_has_what_ended_since_the_last_one() -> None:
    witness = run("..x")
    assert (witness.interval()["ended"], witness.interval()["ended"]) == (3, 0)
    assert witness.interval()["latency_ms_p99"] is None
    assert witness.summary(1.0)["ended"] == 3


def test_a_request_ends_once() -> None:
    witness = Witness()
    first, second = witness.sent(0.0), witness.sent(0.1)
    witness.ended(second, Fate.ANSWERED, 0.2)
    with pytest.raises(ValueError, match="ended already"):
        witness.ended(second, Fate.LOST, 0.3)
    witness.ended(first, Fate.ANSWERED, 0.3)
    with pytest.raises(ValueError, match="ended already"):
        witness.ended(first, Fate.LOST, 0.3)


def test_a_due_time_that_goes_back_is_taken_as_the_last_one() -> None:
    witness = Witness()
    witness.ended(witness.sent(5.0), Fate.LOST, 5.0)
    witness.ended(witness.sent(4.9), Fate.ANSWERED, 5.0)
    assert witness.summary(6.0)["downtime_s"] == 0.0


@given(st.lists(st.floats(1e-5, 99), min_size=1, max_size=200), st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0]))
def test_a_quantile_is_within_two_percent_of_the_exact_one(values: list[float], q: float) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    exact = sorted(values)[max(math.ceil(q * len(values)), 1) - 1]
    assert histogram.quantile_ms(q) == pytest.approx(exact * 1e3, rel=0.02, abs=1e-3)


def test_the_histogram_takes_any_duration_and_stays_small() -> None:
    histogram = Histogram()
    for value in (0.0, -1.0, 1e-9, 5000.0):
        histogram.add(value)
    assert histogram.quantile_ms(1.0) == pytest.approx(100_000, rel=0.02)
    assert histogram.max_s == 5000.0
    assert len(histogram._buckets) < 1000
