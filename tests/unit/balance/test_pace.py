"""When an engine may be reloaded, and how a share grows after a return."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from backstay.balance.desired import FAIL_OPEN
from backstay.balance.model import Backend, BackendState, Desired, DesiredPool
from backstay.balance.pace import RELOADS_LIMIT, Pace, When, when
from backstay.balance.slowstart import STEPS, next_step_s, ramp, started
from backstay.estate.model import Balance, EngineKind, Protocol

ACTIVE, DOWN, DRAINING = BackendState.ACTIVE, BackendState.DOWN, BackendState.DRAINING


def a_desired(revision: str = "1", **backends: Any) -> Desired:
    """web1=1.0 is an active backend with that share; web1=DOWN one in that state."""
    made = tuple(
        Backend(name=name, address="10.0.0.1", port=80, state=value)
        if isinstance(value, BackendState)
        else Backend(name=name, address="10.0.0.1", port=80, share=value)
        for name, value in backends.items()
    )
    pool = DesiredPool(
        name="web",
        protocol=Protocol.HTTP,
        balance=Balance.LEAST_TIME,
        backends=made,
        check=None,
        slow_start_s=20.0,
        connect_timeout_s=2.0,
        response_timeout_s=60.0,
    )
    return Desired(
        estate="e", lb="lb1", engine=EngineKind.NGINX, listen=("*",), services=(), pools=(pool,), revision=revision
    )


RUNNING = a_desired(a=1.0, b=1.0)
FULL = Pace(reloads_s=(10.0, 11.0, 12.0, 13.0))


@pytest.mark.parametrize(
    ("wanted", "pace", "runtime", "expect"),
    [
        (RUNNING, Pace(), False, When.NOTHING),
        (a_desired("2", a=0.95, b=1.0), Pace(), False, When.LATER),
        (a_desired("2", a=0.9, b=1.0), Pace(), False, When.NOW),
        (a_desired("2", a=0.9, b=1.0), FULL, False, When.LATER),
        (a_desired("2", a=0.99, b=1.0), FULL, True, When.NOW),
        (a_desired("2", a=DOWN, b=1.0), FULL, False, When.NOW),
        (a_desired("2", a=DRAINING, b=1.0), FULL, False, When.NOW),
        (a_desired("2", a=1.0), FULL, False, When.NOW),
        (a_desired("2", a=1.0, b=1.0, c=1.0), FULL, False, When.NOW),
        (replace(RUNNING, listen=("10.0.0.9",), revision="2"), FULL, False, When.NOW),
    ],
)
def test_when(wanted: Desired, pace: Pace, runtime: bool, expect: When) -> None:
    assert when(RUNNING, wanted, pace, 14.0, runtime_changes=runtime) is expect


def test_what_does_not_run_starts_at_once() -> None:
    assert when(None, RUNNING, FULL, 14.0, runtime_changes=False) is When.NOW


def test_at_most_four_reloads_a_minute() -> None:
    pace, reloads = Pace(), []
    for now_s in range(300):
        if pace.may_reload(9.9, float(now_s)):
            pace = pace.reloaded(float(now_s))
            reloads.append(now_s)
    assert all(later - earlier >= 60 for earlier, later in zip(reloads, reloads[RELOADS_LIMIT:], strict=False))
    assert len(reloads) == 20


def test_each_reload_lately_asks_for_a_larger_move() -> None:
    pace, needed = Pace(), []
    for now_s in (0.0, 20.0, 40.0, 70.0, 100.0, 1_000.0):
        needed.append(next(percent for percent in range(200) if pace.may_reload(percent / 100, now_s)))
        pace = pace.reloaded(now_s)
    assert needed == [10, 20, 30, 40, 50, 10]


def test_a_clock_that_goes_backwards_does_not_stop_reloads() -> None:
    assert FULL.may_reload(0.1, 5.0)


def test_a_share_grows_in_few_steps() -> None:
    seen = [ramp(100.0, 20.0, 100.0 + second) for second in range(22)]
    assert seen == [STEPS[0]] * 5 + [STEPS[1]] * 5 + [STEPS[2]] * 5 + [STEPS[3]] * 5 + [1.0] * 2
    assert [next_step_s(100.0, 20.0, 100.0 + second) for second in (0, 4, 5, 19, 20)] == [105, 105, 110, 120, None]


def test_no_slow_start_and_a_clock_that_goes_backwards_are_a_full_share() -> None:
    assert ramp(100.0, 0.0, 100.0) == ramp(100.0, 20.0, 99.0) == 1.0


@pytest.mark.parametrize(
    ("before", "after", "begins"),
    [
        (None, a_desired(a=1.0, b=1.0), set()),  # the start of everything
        (a_desired(a=1.0, b=DRAINING), a_desired(a=1.0, b=1.0), {"b"}),
        (a_desired(a=1.0, b=DOWN), a_desired(a=1.0, b=1.0), {"b"}),
        (a_desired(a=1.0), a_desired(a=1.0, b=1.0), {"b"}),  # a new member
        (a_desired(a=DOWN, b=DOWN), a_desired(a=1.0, b=1.0), set()),  # all come back: all are needed
        (a_desired(a=1.0, b=1.0), a_desired(a=1.0, b=1.0), set()),
        (a_desired(a=1.0, b=1.0), a_desired(a=1.0, b=DRAINING), set()),
    ],
)
def test_who_begins_slowly(before: Desired | None, after: Desired, begins: set[str]) -> None:
    assert set(started(before, after, {}, 50.0)) == {("web", name) for name in begins}


def test_a_ramp_goes_on_until_it_is_over_or_its_backend_leaves() -> None:
    both = a_desired(a=1.0, b=1.0)
    assert started(both, both, {("web", "b"): 40.0}, 50.0) == {("web", "b"): 40.0}
    assert started(both, both, {("web", "b"): 40.0}, 60.0) == {}
    assert started(both, a_desired(a=1.0, b=DOWN), {("web", "b"): 40.0}, 50.0) == {}


def test_a_backend_readmitted_after_its_probation_begins_slowly() -> None:
    both = a_desired(a=1.0, b=1.0)
    assert started(both, both, {}, 50.0, fresh={("web", "b")}) == {("web", "b"): 50.0}


def test_who_is_kept_serving_by_failing_open_does_not_begin_slowly() -> None:
    before, after = a_desired(a=1.0, b=DOWN), a_desired(a=DOWN, b=1.0)
    kept = replace(after.pools[0].backends[1], reason=f"{FAIL_OPEN} (refused)")
    after = replace(after, pools=(replace(after.pools[0], backends=(after.pools[0].backends[0], kept)),))
    assert started(before, after, {}, 50.0) == {}
