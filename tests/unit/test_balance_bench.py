"""The balance bench's own parts: what is measured, and the model in which parameters are chosen."""

from __future__ import annotations

from dataclasses import replace

import pytest
from benches.balance import figures_of
from benches.balance_model import Model, Setting
from benches.balance_policies import POLICIES, an_estate
from benches.harness import quantile

from backstay.balance.signal import Parameters
from backstay.estate.model import EngineKind

ALONE = Setting(
    speeds=(1.0, 1.0, 0.4),
    inner_loop="leastconn",
    load=0.5,
    slots=2,
    cv=1.0,
    becomes_at_s=0.0,
    every_s=2.0,
    known=None,
)


def test_only_good_answers_are_timed_and_every_other_is_an_error() -> None:
    results = [(0.0, 0.010, 200), (0.1, 0.030, 404), (0.2, 0.001, 500), (0.3, 20.0, 0)]
    figures = figures_of(results)
    assert (figures["requests"], figures["errors_percent"]) == (4, 50.0)
    assert figures["p50_ms"] == pytest.approx(20.0)


def test_the_model_is_the_same_for_the_same_seed() -> None:
    assert Model(ALONE, seed=1).run() == Model(ALONE, seed=1).run()
    assert Model(ALONE, seed=1).run() != Model(ALONE, seed=2).run()


def test_in_the_model_the_rescaler_helps_a_pool_with_a_slow_backend() -> None:
    rescaled = Model(replace(ALONE, known=Parameters()), seed=1)
    p99_s = quantile(rescaled.run(), 0.99)
    assert p99_s < quantile(Model(ALONE, seed=1).run(), 0.99)
    assert rescaled.state.backends["b2"].share < 0.7


@pytest.mark.parametrize("engine", list(EngineKind))
def test_every_policy_has_an_estate(engine: EngineKind) -> None:
    for policy in POLICIES[engine]:
        estate = an_estate(policy, engine, ["127.77.0.1", "127.77.0.2"], 8080, 9000)
        assert estate.pools["web"].balance is policy.balance
