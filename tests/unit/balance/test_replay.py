"""The rescaler's record: state and steps as JSON, replays of them, and what explain shows."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes import NOON, Pool, signal, state_of, step, window

from backstay.balance.explain import rows
from backstay.balance.model import Sample
from backstay.balance.record import BadRecord, Occasion, line, read_line, state_from_json, state_to_json
from backstay.balance.replay import parameters, replay_samples, replay_steps
from backstay.balance.rescale import PoolScale, Reason, Rescaled
from backstay.balance.signal import Parameters
from backstay.balance.window import Window


def recorded(steps: int) -> tuple[list[str], list[Rescaled]]:
    """A log as the agent writes it: "a" is slow from the first step on."""
    state: PoolScale = state_of({"a": 1.0, "b": 1.0, "c": 1.0})
    lines, results = [], []
    for number in range(1, steps + 1):
        seen: Window = window({"a": signal(50), "b": signal(20), "c": signal(20)}, number=number)
        occasion = Occasion(
            pool="web",
            at=NOON + timedelta(seconds=15 * number),
            windows=(seen,),
            load_balancers=("lb1",),
            backends=("a", "b", "c"),
            serving=("a", "b", "c"),
            ramping=(),
        )
        before = state
        state, result = step(state, seen, backends="abc", at=occasion.at)
        lines.append(json.dumps(line(occasion, before, result)))
        results.append(result)
    return lines, results


def test_a_replay_with_the_same_parameters_decides_the_same() -> None:
    lines, results = recorded(6)
    replayed = list(replay_steps([*lines, "\n"], Parameters()))
    assert [one.rescaled for one in replayed] == results
    assert replayed[-1].recorded == {one.backend: one.share for one in results[-1].steps}


def test_a_replay_with_other_parameters_goes_its_own_way() -> None:
    lines, _ = recorded(6)
    *_, bold = replay_steps(lines, parameters(["gain=0.8", "pull=0"]))
    *_, plain = replay_steps(lines, Parameters())
    assert bold.rescaled.steps[0].share < plain.rescaled.steps[0].share


def test_a_replay_of_one_pool_passes_over_the_others() -> None:
    lines, _ = recorded(3)
    assert list(replay_steps(lines, Parameters(), pool="other")) == []


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("speed=3", "Names: gain, "),
        ("gain", "no NAME=NUMBER"),
        ("gain=fast", "'fast' is no number"),
        ("held=1.5", "'1.5' is no number"),
    ],
)
def test_a_wrong_parameter_is_named(word: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parameters([word])


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"pool": "web", "at": 5}', '"x"', "1e999"])
def test_a_line_that_is_no_step_is_named_by_its_number(text: str) -> None:
    lines, _ = recorded(1)
    with pytest.raises(BadRecord, match="line 2"):
        list(replay_steps([*lines, text], Parameters()))


def test_the_state_survives_the_disk() -> None:
    pool = Pool({"a": 40.0, "b": 20.0, "c": 20.0})
    pool.run(6)
    again = state_from_json(json.loads(json.dumps(state_to_json(pool.state))))
    assert again == pool.state
    assert again.guard.before


def test_a_share_on_the_disk_is_brought_within_its_bounds() -> None:
    plain = json.loads(json.dumps(state_to_json(state_of({"a": 1.0}))))
    plain["backends"]["a"]["share"] = 99
    assert state_from_json(plain).backends["a"].share == 3.0


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["backends", "a", "share", "gain", "sign", "natures", "seen", "missing", "guard"]),
            inner,
            max_size=6,
        )
    ),
    max_leaves=15,
)


@given(json_values)
def test_whatever_is_on_the_disk_is_a_state_or_a_fault(data: Any) -> None:
    with contextlib.suppress(BadRecord):
        state_from_json(data)
    with contextlib.suppress(BadRecord):
        read_line(data if isinstance(data, dict) else {"state": data})


def access_log(seconds: int) -> list[Sample]:
    """Three backends, a request each 20 ms; "a" becomes three times slower after a minute."""
    samples = []
    for number in range(seconds * 50):
        backend = "abc"[number % 3]
        slow = backend == "a" and number > 60 * 50
        header_s = (0.060 if slow else 0.020) * (0.7 + 0.6 * (number * 7919 % 100) / 100)
        samples.append(
            Sample(
                time=datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=number / 50),
                request_id=str(number),
                service="app",
                route="/",
                pool="web",
                backend=backend,
                status=200,
                connect_time_s=0.001,
                header_time_s=header_s,
                total_time_s=header_s,
                final=True,
                cut=False,
            )
        )
    return samples


def test_an_access_log_is_cut_into_steps() -> None:
    replayed = list(replay_samples(access_log(180), Parameters(), every_s=15.0))
    assert len(replayed) == 12
    assert [one.rescaled.steps[0].reason for one in replayed[1:4]] == [Reason.WITHIN_BAND] * 3
    assert replayed[-1].rescaled.steps[0].share < 0.6
    assert list(replay_samples([], Parameters(), every_s=15.0)) == []


def test_a_gap_in_an_access_log_is_one_long_step() -> None:
    first = access_log(10)
    later = [replace(sample, time=sample.time + timedelta(days=1)) for sample in first]
    assert len(list(replay_samples([*first, *later], Parameters(), every_s=15.0))) == 2


def test_explain_shows_the_last_step_for_each_backend() -> None:
    _, results = recorded(1)
    first, second, _ = rows(results[0])
    assert first["reason"] == "slower"
    assert first["why"].startswith("its time over its unloaded time is ")
    assert (first["signal_ms"], first["samples"], first["confidence"]) == (pytest.approx(50, rel=0.03), 200, 0.8)
    assert first["against_pool"] is not None and first["against_pool"] > 2.0
    assert second["reason"] == "within_band"
    assert json.dumps(first)


def test_explain_shows_what_was_not_measured_as_nothing() -> None:
    _, result = step(state_of({"a": 1.0}), window({}), backends="a")
    [row] = rows(result)
    assert (row["signal_ms"], row["inflation"], row["band"], row["reason"]) == (None, None, None, "frozen")
