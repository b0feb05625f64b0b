"""Backends whose check says ready and whose live traffic fails."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backstay.balance.eject import BACKOFF_LIMIT_S, BACKOFF_S, FORGET_S, GOOD_ENOUGH, judge
from backstay.balance.health import HealthEventKind, Port, checked, health_of, start
from backstay.balance.model import HealthState, Sample
from backstay.estate.model import Check

EJECTED, PROBATION, READMITTED = HealthEventKind.EJECTED, HealthEventKind.PROBATION, HealthEventKind.READMITTED


def a_pool(size: int) -> Any:
    return start([f"web{n}" for n in range(1, size + 1)], None, engine_checks=False)


def requests(backend: str, outcomes: str) -> list[Sample]:
    """One sample a character: "+" went well, "-" failed."""
    return [
        Sample(
            time=datetime(2026, 3, 1, tzinfo=UTC),
            request_id="r",
            service="app",
            route="/",
            pool="web",
            backend=backend,
            status=200 if outcome == "+" else 500,
            connect_time_s=0.001,
            header_time_s=0.02,
            total_time_s=0.02,
            final=True,
            cut=False,
        )
        for outcome in outcomes
    ]


def state(pool: Any, backend: str) -> HealthState:
    return health_of(pool[backend]).state


def ejected(pool: Any) -> set[str]:
    return {name for name in pool if state(pool, name) is HealthState.EJECTED}


@pytest.mark.parametrize(
    ("outcomes", "out"),
    [
        ("-----", True),  # five in a row
        ("----", False),
        ("+-" * 6, True),  # half of them
        (("+" * 9 + "-") * 10, False),  # one in ten: the rescaler's, not ours
        ("+" * 500 + "--" + "+" * 500 + "--", False),
    ],
)
def test_enough_errors_against_its_peers_eject(outcomes: str, out: bool) -> None:
    pool, events = judge(a_pool(4), requests("web1", outcomes), now_s=0.0)
    assert (state(pool, "web1") is HealthState.EJECTED) == out
    assert [event.kind for event in events] == ([EJECTED] if out else [])


def test_an_ejection_says_that_the_check_lied_and_with_what_evidence() -> None:
    _, [event] = judge(a_pool(3), requests("web2", "+++" + "-" * 6), now_s=0.0)
    assert event.reason == (
        "its check says ready, and 6 of its last 6 requests failed (its peers: at most 1.0%); next try in 30 s"
    )
    assert event.data == {"errors": 6, "requests": 6, "peers_error_rate": 0.01, "backoff_s": 30.0, "check": "ready"}


def test_errors_that_every_backend_has_eject_nobody() -> None:
    pool = a_pool(4)
    for _ in range(40):
        for name in pool:
            pool, events = judge(pool, requests(name, "-"), now_s=0.0)
            assert events == []


def test_a_backend_is_never_ejected_by_errors_at_its_peers_rate() -> None:
    chance = random.Random(7)
    pool = a_pool(4)
    names = list(pool)
    for second in range(200):
        samples = [
            sample
            for _ in range(50)
            for sample in requests(chance.choice(names), "-" if chance.random() < 0.005 else "+")
        ]
        pool, events = judge(pool, samples, now_s=float(second))
        assert events == []


@pytest.mark.parametrize(("size", "most"), [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2)])
def test_never_more_than_half_of_a_pool_and_never_the_last(size: int, most: int) -> None:
    pool = a_pool(size)
    for name in list(pool):
        pool, _ = judge(pool, requests(name, "-" * 30), now_s=0.0)
    assert len(ejected(pool)) <= most


def test_drained_and_failed_backends_cannot_stand_in_for_an_ejected_one() -> None:
    drained, _ = judge(a_pool(2), requests("web1", "-" * 9), now_s=0.0, drained={"web2"})
    assert ejected(drained) == set()

    check = Check(rise=1, fall=1)
    pool, _ = checked(a_pool(2), "web2", Port.HEALTH, ok=False, detail="refused", check=check)
    pool, _ = judge(pool, requests("web1", "-" * 9), now_s=0.0)
    assert ejected(pool) == set()


def test_it_comes_back_by_a_canarys_share_after_its_backoff() -> None:
    pool, _ = judge(a_pool(3), requests("web1", "-" * 9), now_s=100.0)
    pool, early = judge(pool, [], now_s=100.0 + BACKOFF_S - 0.1)
    pool, [trial] = judge(pool, [], now_s=100.0 + BACKOFF_S)
    assert (early, trial.kind) == ([], PROBATION)
    assert (health_of(pool["web1"]).serving, health_of(pool["web1"]).factor) == (True, 0.05)

    pool, [back] = judge(pool, requests("web1", "+" * GOOD_ENOUGH), now_s=150.0)
    assert back.kind is READMITTED
    assert health_of(pool["web1"]).factor == 1.0


def test_two_errors_on_probation_put_it_out_for_twice_as_long() -> None:
    pool, now_s, waits = a_pool(3), 0.0, []
    pool, events = judge(pool, requests("web1", "-" * 9), now_s=now_s)
    for _ in range(8):
        waits.append(events[0].data["backoff_s"])
        now_s += waits[-1]
        pool, _ = judge(pool, [], now_s=now_s)
        pool, events = judge(pool, requests("web1", "+--"), now_s=now_s)
    assert waits == [30, 60, 120, 240, 300, 300, 300, 300]


def test_a_canary_that_gets_no_requests_grows_until_it_is_measured() -> None:
    pool, _ = judge(a_pool(3), requests("web1", "-" * 9), now_s=0.0)
    factors, kinds = [], []
    for now_s in range(30, 81, 5):
        pool, events = judge(pool, [], now_s=float(now_s))
        factors.append(health_of(pool["web1"]).factor)
        kinds += [event.kind for event in events]
    assert factors == [0.05, 0.05, 0.1, 0.1, 0.2, 0.2, 0.4, 0.4, 0.8, 0.8, 1.0]
    assert kinds == [PROBATION, READMITTED]


def test_when_others_go_away_an_ejection_ends_early() -> None:
    pool, _ = judge(a_pool(2), requests("web1", "-" * 9), now_s=0.0)
    assert ejected(pool) == {"web1"}
    pool, [event] = judge(pool, [], now_s=1.0, drained={"web2"})
    assert (event.kind, event.reason) == (PROBATION, "others are gone, and it is needed: a canary's share")
    assert health_of(pool["web1"]).serving


def test_ejections_are_forgotten_after_a_calm_while() -> None:
    pool, _ = judge(a_pool(3), requests("web1", "-" * 9), now_s=0.0)
    pool, _ = judge(pool, [], now_s=BACKOFF_S)
    pool, _ = judge(pool, requests("web1", "+" * GOOD_ENOUGH), now_s=BACKOFF_S + 1.0)
    assert pool["web1"].traffic.ejections == 1
    pool, _ = judge(pool, [], now_s=BACKOFF_S + 2.0 + FORGET_S)
    assert pool["web1"].traffic.ejections == 0


def test_a_clock_that_goes_backwards_keeps_nobody_out() -> None:
    pool, _ = judge(a_pool(3), requests("web1", "-" * 9), now_s=1_000_000.0)
    pool, [event] = judge(pool, [], now_s=5.0)
    assert event.kind is PROBATION
    assert BACKOFF_LIMIT_S < 1_000_000.0


def test_under_maintenance_nothing_is_told() -> None:
    pool, events = judge(a_pool(3), requests("web1", "-" * 9), now_s=0.0, quiet={"web1"})
    assert events == []
    assert ejected(pool) == {"web1"}


steps = st.lists(
    st.tuples(st.integers(1, 6), st.text("+-", max_size=40), st.floats(-50.0, 400.0), st.booleans()), max_size=40
)


@given(size=st.integers(1, 6), script=steps)
@settings(max_examples=200)
def test_whatever_happens_at_least_half_of_those_that_could_serve_do(
    size: int, script: list[tuple[int, str, float, bool]]
) -> None:
    pool, now_s = a_pool(size), 0.0
    check = Check(rise=1, fall=1)
    for number, outcomes, dt_s, ok in script:
        now_s += dt_s
        name = f"web{min(number, size)}"
        pool, _ = judge(pool, requests(name, outcomes), now_s=now_s)
        could = [n for n in pool if state(pool, n) not in (HealthState.DOWN, HealthState.UNCHECKED)]
        assert len(ejected(pool)) <= len(could) // 2
        assert all(health.traffic.suspicion >= 0.0 for health in pool.values())
        pool, _ = checked(pool, name, Port.HEALTH, ok=ok, detail="", check=check)
