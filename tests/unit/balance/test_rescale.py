"""The rescaler: reasons by table, guards, invariants, and named scenarios."""

from __future__ import annotations

import json
import math
import random
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import NOON, Pool, noisy_times, signal, state_of, step, times, window

from backstay.balance.model import SHARE_CAP, SHARE_FLOOR
from backstay.balance.rescale import BackendScale, Frozen, PoolScale, Reason, Rescaled
from backstay.balance.signal import Nature, usual_rates
from backstay.balance.window import Signal

CASES = json.loads((Path(__file__).parents[2] / "cases" / "balance" / "rescale.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
def test_reasons(case: dict[str, Any]) -> None:
    backends = case["backends"]
    state = state_of(
        {name: b.get("share", 1.0) for name, b in backends.items()},
        {name: b.get("unloaded_ms", 18.0) for name, b in backends.items()},
    )
    seen = window({name: signal(b["ms"], b.get("n", 200), b.get("errors", 0)) for name, b in backends.items()})
    _, result = step(
        state,
        seen,
        backends=backends,
        serving=[name for name, b in backends.items() if b.get("serving", True)],
        ramping=[name for name, b in backends.items() if b.get("ramping")],
    )
    steps = {one.backend: one for one in result.steps}
    for name, (reason, direction) in case["expect"].items():
        one = steps[name]
        moved = "=" if math.isclose(one.share, one.share_before) else "+" if one.share > one.share_before else "-"
        assert one.reason == reason, one.sentence
        assert moved in direction, one.sentence


def moved(result: Rescaled) -> set[str]:
    return {one.backend for one in result.steps if one.share != one.share_before}


def by_name(result: Rescaled) -> dict[str, Any]:
    return {one.backend: one for one in result.steps}


SLOW_A = {"a": signal(60), "b": signal(20), "c": signal(20)}


def test_every_step_tells_what_it_was_decided_by() -> None:
    _, result = step(state_of({"a": 1, "b": 1, "c": 1}), window(SLOW_A), backends="abc")
    one = by_name(result)["a"]
    assert one.sentence == "its time over its unloaded time is 185% above the pool's median: share 1.00 to 0.72"
    assert (one.samples, one.confidence, one.error_rate) == (200, 0.8, 0.0)
    assert one.signal_s == pytest.approx(0.060, rel=0.03)
    assert one.unloaded_s == pytest.approx(0.018, rel=0.001)
    assert result.p95_s is not None


def test_a_window_counts_once() -> None:
    state, _ = step(state_of({"a": 1, "b": 1, "c": 1}), window(SLOW_A), backends="abc")
    after, result = step(state, window(SLOW_A), backends="abc")
    assert (result.frozen, moved(result)) == (Frozen.NO_QUORUM, set())
    assert after.backends == state.backends


def test_the_windows_of_the_tier_are_one() -> None:
    # Neither load balancer alone has enough of "a" to tell.
    few = {"a": signal(60, 4), "b": signal(20, 4), "c": signal(20, 4)}
    tier = [f"lb{n}" for n in range(1, 11)]
    seen = [window(few, lb=lb) for lb in tier]
    _, result = step(state_of({"a": 1, "b": 1, "c": 1}), *seen, backends="abc", load_balancers=tier)
    assert by_name(result)["a"].reason is Reason.SLOWER
    assert by_name(result)["a"].samples == 40


@pytest.mark.parametrize(
    ("told", "frozen"),
    [(["lb1"], Frozen.NO_QUORUM), (["lb1", "lb2"], None), (["lb2", "lb3"], None), ([], Frozen.NO_QUORUM)],
)
def test_below_a_quorum_of_the_tier_nothing_moves(told: list[str], frozen: Frozen | None) -> None:
    state = PoolScale(
        backends=state_of({"a": 1, "b": 1, "c": 1}).backends, missing=dict.fromkeys(("lb1", "lb2", "lb3"), 5)
    )
    seen = [window(SLOW_A, lb=lb) for lb in told]
    _, result = step(state, *seen, backends="abc", load_balancers=["lb1", "lb2", "lb3"])
    assert result.frozen is frozen
    assert bool(moved(result)) == (frozen is None)


def test_a_peer_that_was_heard_of_lately_still_counts() -> None:
    state: PoolScale = state_of({"a": 1, "b": 1, "c": 1})
    frozen = []
    for number in range(1, 6):
        peers = [window(SLOW_A, lb="lb2")] if number == 1 else []
        state, result = step(
            state, window(SLOW_A, number=number), *peers, backends="abc", load_balancers=["lb1", "lb2", "lb3"]
        )
        frozen.append(result.frozen)
    assert frozen == [None, None, None, Frozen.NO_QUORUM, Frozen.NO_QUORUM]


def test_the_survivor_of_two_load_balancers_goes_on_by_itself() -> None:
    state: PoolScale = state_of({"a": 1, "b": 1, "c": 1})
    for number in range(1, 6):
        state, result = step(state, window(SLOW_A, number=number), backends="abc", load_balancers=["lb1", "lb2"])
        assert result.frozen is None


def test_a_window_of_a_stranger_does_not_count() -> None:
    _, result = step(state_of({"a": 1, "b": 1}), window(SLOW_A, lb="mallory"), backends="ab")
    assert result.frozen is Frozen.NO_QUORUM


def test_without_samples_shares_stay_where_they_are() -> None:
    state = state_of({"a": 0.3, "b": 2.0, "c": 1.0})
    after, result = step(state, window({}), backends="abc")
    assert (result.frozen, moved(result)) == (Frozen.NO_DATA, set())
    assert {name: scale.share for name, scale in after.backends.items()} == {"a": 0.3, "b": 2.0, "c": 1.0}


def test_a_backend_that_joins_has_a_full_share_and_one_that_left_is_forgotten() -> None:
    state, _ = step(state_of({"a": 0.5, "gone": 0.5}), window(SLOW_A), backends="abc")
    assert list(state.backends) == ["a", "b", "c"]
    assert state.backends["b"].share == 1.0


def test_the_gain_halves_when_the_deviation_changes_sign() -> None:
    learnt = {"/": Nature(unloaded_s=0.018, steps=5)}
    state = PoolScale(backends={name: BackendScale(natures=learnt, sign=-(name == "a")) for name in "abc"})
    state, _ = step(state, window(SLOW_A), backends="abc")
    assert state.backends["a"].gain == 0.2
    state, _ = step(state, window(SLOW_A, number=2), backends="abc")
    assert state.backends["a"].gain == pytest.approx(0.22)


def a_worsening_pool(state: PoolScale, number: int, p95_factor: float) -> tuple[PoolScale, Rescaled]:
    """A step in which "a" asks for less and the whole tier's times are as said."""
    seen = {"a": signal(30 * p95_factor, 400), "b": signal(20 * p95_factor, 400), "c": signal(20 * p95_factor, 400)}
    return step(state, window(seen, number=number), backends="abc")


def test_when_the_tiers_p95_worsens_twice_after_moves_they_are_rolled_back_and_it_holds_still() -> None:
    state: PoolScale = state_of({"a": 1, "b": 1, "c": 1})
    shares, frozen = [], []
    for number, factor in enumerate((1.0, 1.3, 1.7, 1.7, 1.7, 1.7, 1.7, 1.7), start=1):
        state, result = a_worsening_pool(state, number, factor)
        shares.append(round(by_name(result)["a"].share, 2))
        frozen.append(result.frozen)
    assert shares[0] < 1.0
    assert shares[1] < shares[0]
    assert by_name(result)["a"].reason is Reason.SLOWER
    assert frozen == [None, None, *[Frozen.HELD] * 5, None]
    assert shares[2] == pytest.approx(shares[1] * 1.15, abs=0.02)
    assert shares[3:7] == [1.0] * 4
    assert state.backends["a"].gain < 0.4


def test_a_p95_that_worsens_once_or_without_a_move_rolls_nothing_back() -> None:
    state: PoolScale = state_of({"a": 1, "b": 1, "c": 1})
    for number, factor in enumerate((1.0, 1.3, 1.3, 1.7, 1.7, 2.2), start=1):
        state, result = a_worsening_pool(state, number, factor)
        assert result.frozen is None
    state = state_of({"a": 1, "b": 1, "c": 1})
    for number in range(1, 8):
        alike = window(dict.fromkeys("abc", signal(20 * 1.3**number, 400)), number=number)
        state, result = step(state, alike, backends="abc")
        assert (result.frozen, moved(result)) == (None, set())


def test_a_clock_that_goes_backwards_changes_nothing() -> None:
    forwards: PoolScale = state_of({"a": 1, "b": 1, "c": 1})
    backwards = forwards
    for number in range(1, 5):
        forwards, one = step(forwards, window(SLOW_A, number=number), backends="abc", at=NOON)
        at = NOON - timedelta(days=number)
        backwards, other = step(backwards, window(SLOW_A, number=number), backends="abc", at=at)
        assert one.steps == other.steps
    assert forwards == backwards


def test_a_sinkhole_goes_to_the_floor_and_comes_back_when_it_is_repaired() -> None:
    pool = Pool(dict.fromkeys("abcd", 20.0))
    pool.run(5)
    pool.service_ms["a"], pool.failing["a"] = 1.0, 0.5
    pool.run(20)
    assert pool.shares["a"] == SHARE_FLOOR
    pool.service_ms["a"], pool.failing["a"] = 20.0, 0.0
    pool.run(30)
    assert pool.shares["a"] > 0.75


def test_a_backend_slowed_to_half_loses_share_and_gets_it_back() -> None:
    pool = Pool(dict.fromkeys("abcd", 20.0))
    pool.run(5)
    pool.service_ms["a"] = 40.0
    pool.run(15)
    assert pool.shares["a"] < 0.6
    assert all(pool.shares[name] > 0.9 for name in "bcd")
    pool.service_ms["a"] = 20.0
    pool.run(30)
    assert pool.shares["a"] > 0.8


def test_a_backend_slow_by_nature_loses_some_share_and_is_not_starved() -> None:
    pool = Pool({"a": 40.0, "b": 20.0, "c": 20.0, "d": 20.0}, load=0.4)
    pool.run(60)
    assert 0.2 < pool.shares["a"] < 0.9


def test_noise_moves_little() -> None:
    pool = Pool(dict.fromkeys("abcdefgh", 20.0), seed=3)
    pool.run(5, requests=800, sigma=1.2)
    pool.run(60, requests=800, sigma=1.2)
    assert all(0.6 < one.share < 1.6 for result in pool.history[5:] for one in result.steps)
    still = sum(
        one.reason is Reason.WITHIN_BAND or one.reason is Reason.RETURNING for r in pool.history for one in r.steps
    )
    assert still > 0.7 * 65 * 8


def test_one_route_class_slower_than_others_is_no_bias_when_the_mix_differs() -> None:
    chance = random.Random(5)
    # "a" serves mostly reports of 400 ms, "b" and "c" mostly pages of 10 ms; each route is equally fast everywhere.
    mix = {"a": (50, 450), "b": (450, 50), "c": (450, 50)}
    state = PoolScale()
    for number in range(1, 20):
        seen = {
            name: {
                "/": Signal(requests=pages, errors=0, times=noisy_times(0.010, pages, chance, 0.5)),
                "/report": Signal(requests=reports, errors=0, times=noisy_times(0.400, reports, chance, 0.5)),
            }
            for name, (pages, reports) in mix.items()
        }
        state, result = step(state, window(seen, number=number), backends="abc")
        assert all(0.8 < one.share < 1.25 for one in result.steps)


def test_the_unloaded_time_is_followed_down_quickly_and_up_slowly() -> None:
    pool = Pool({"a": 40.0, "b": 40.0})
    pool.run(5)
    high = pool.state.backends["a"].natures["/"].unloaded_s
    pool.service_ms = {"a": 20.0, "b": 20.0}
    pool.run(10)
    low = pool.state.backends["a"].natures["/"].unloaded_s
    assert low < 0.6 * high
    pool.service_ms = {"a": 40.0, "b": 40.0}
    pool.run(10)
    assert pool.state.backends["a"].natures["/"].unloaded_s < 1.02 * low


def signals() -> st.SearchStrategy[Signal]:
    return st.builds(
        lambda good, errors, ms, other: Signal(
            requests=good + errors + other, errors=errors, times=times(ms / 1e3, good)
        ),
        st.integers(0, 300),
        st.integers(0, 60),
        st.floats(0.05, 20_000.0),
        st.integers(0, 5),
    )


NAMES = "abcde"
seen_backends = st.dictionaries(
    st.sampled_from(NAMES), st.dictionaries(st.sampled_from(["/", "/x"]), signals(), max_size=2), max_size=5
)
subsets = st.sets(st.sampled_from(NAMES))


@given(script=st.lists(st.tuples(seen_backends, subsets, subsets), min_size=1, max_size=12), start=st.floats(0.05, 3.0))
@settings(max_examples=150)
def test_whatever_comes_in_the_invariants_hold(
    script: list[tuple[dict[str, dict[str, Signal]], set[str], set[str]]], start: float
) -> None:
    state: PoolScale = state_of(dict.fromkeys(NAMES, start))
    for number, (seen, serving, ramping) in enumerate(script):
        before = state
        state, result = step(
            state, window(seen, number=number), backends=NAMES, serving=sorted(serving), ramping=sorted(ramping)
        )
        _check(before, state, result, seen, serving)


def _check(
    before: PoolScale,
    after: PoolScale,
    result: Rescaled,
    seen: dict[str, dict[str, Signal]],
    serving: set[str],
) -> None:
    rates = {
        name: sum(s.errors for s in routes.values()) / max(sum(s.requests for s in routes.values()), 1)
        for name, routes in seen.items()
    }
    assert [one.backend for one in result.steps] == list(NAMES)
    for one in result.steps:
        assert one.share_before == before.backends[one.backend].share
        assert one.share == after.backends[one.backend].share
        assert SHARE_FLOOR <= one.share <= SHARE_CAP
        assert 0.67 - 1e-9 <= one.share / one.share_before <= 1.15 + 1e-9
        assert one.sentence
        others = [rate for name, rate in rates.items() if name != one.backend]
        if one.error_rate > 0.005 + 2 * max(others, default=0.0) and one.error_rate * one.samples >= 2:
            assert one.share <= one.share_before, one
        if one.backend not in serving:
            assert one.share == one.share_before or one.reason is Reason.ROLLED_BACK
    if not any(routes for routes in seen.values()):
        assert all(one.share == one.share_before or one.reason is Reason.ROLLED_BACK for one in result.steps)


def test_weak_evidence_adds_up_over_steps() -> None:
    pool = Pool(dict.fromkeys("abcd", 20.0), seed=2)
    pool.run(8, requests=100)
    pool.service_ms["a"] = 40.0
    pool.run(12, requests=100)
    last = by_name(pool.history[-1])["a"]
    assert pool.shares["a"] < 0.8
    assert last.samples < 30
    assert last.confidence > 2 * last.samples / (last.samples + 50)


def test_strong_evidence_forgets_the_past_at_once() -> None:
    state: PoolScale = state_of({"a": 1, "b": 1, "c": 1})
    alike = dict.fromkeys("abc", signal(20, 2_000))
    for number in range(5):
        state, _ = step(state, window(alike, number=number), backends="abc")
    state, result = step(state, window({**alike, "a": signal(40, 2_000)}, number=9), backends="abc")
    assert by_name(result)["a"].deviation == pytest.approx(math.log(2), abs=0.05)


@given(st.lists(st.sampled_from([0.0, 0.001, 0.01, 0.3, 1.0]), min_size=2, max_size=9))
def test_the_usual_error_rate_is_the_median_of_the_others(rates: list[float]) -> None:
    usual = usual_rates({str(number): rate for number, rate in enumerate(rates)})
    for number in range(len(rates)):
        others = [rate for other, rate in enumerate(rates) if other != number]
        assert usual[str(number)] == pytest.approx(median(others))
