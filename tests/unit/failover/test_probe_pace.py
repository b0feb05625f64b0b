"""How often is probed, and how long an answer is waited for."""

from __future__ import annotations

import pytest

from backstay.failover.pace import (
    BURST_ICMP_S,
    BURST_LIMIT_S,
    BURST_SERVICE_S,
    HOLDER_S,
    PHASE,
    TIMEOUT_MAX_S,
    TIMEOUT_MIN_S,
    every_s,
    take_rtt,
    timeout_s,
)
from backstay.look.model import ProbeKind


def test_in_health_the_holder_is_asked_once_a_second_and_the_others_seldom() -> None:
    assert every_s(ProbeKind.HTTP, close=True, suspected_for_s=None) == 1.0
    assert every_s(ProbeKind.HTTP, close=False, suspected_for_s=None) == 5.0


@pytest.mark.parametrize(("kind", "rate_s"), [(ProbeKind.ICMP, BURST_ICMP_S), (ProbeKind.HTTPS, BURST_SERVICE_S)])
def test_from_the_first_miss_on_everybody_is_asked_in_a_burst(kind: ProbeKind, rate_s: float) -> None:
    assert every_s(kind, close=True, suspected_for_s=0.0) == rate_s
    assert every_s(kind, close=False, suspected_for_s=2.0) == rate_s


def test_a_burst_ends_also_when_it_decides_nothing() -> None:
    assert every_s(ProbeKind.ICMP, close=True, suspected_for_s=BURST_LIMIT_S + 1) == 1.0


def test_timeouts_follow_what_was_seen_within_limits() -> None:
    assert timeout_s(None, doubled=False) == TIMEOUT_MAX_S
    fast = slow = None
    for _ in range(50):
        fast, slow = take_rtt(fast, 0.001), take_rtt(slow, 0.6)
    assert timeout_s(fast, doubled=False) == TIMEOUT_MIN_S
    assert 0.6 < timeout_s(slow, doubled=False) <= TIMEOUT_MAX_S


def test_a_first_answer_that_is_slow_is_forgotten_by_the_next() -> None:
    rtt = take_rtt(take_rtt(None, 0.3), 0.001)
    assert timeout_s(rtt, doubled=False) == TIMEOUT_MIN_S


def test_answers_that_are_slow_now_and_then_are_waited_for() -> None:
    rtt = None
    for number in range(100):
        rtt = take_rtt(rtt, 0.4 if number % 4 == 0 else 0.2)
    assert timeout_s(rtt, doubled=False) > 0.4


def test_in_a_burst_a_slow_answer_is_waited_for_longer() -> None:
    rtt = take_rtt(None, 0.05)
    assert timeout_s(rtt, doubled=True) == 2 * timeout_s(rtt, doubled=False)


def test_the_kinds_take_turns_so_that_the_service_is_asked_twice_a_second() -> None:
    assert PHASE[ProbeKind.HTTPS] - PHASE[ProbeKind.HTTP] == HOLDER_S / 2
    assert len(set(PHASE.values())) == len(PHASE)
