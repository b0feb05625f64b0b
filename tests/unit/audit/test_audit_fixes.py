"""Fixes: what is said of a change that was registered, by what came with it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from audit_scenes import START
from hypothesis import given, settings
from hypothesis import strategies as st

from backstay.audit.explain.grade import STRONG
from backstay.audit.fix.effect import Changed, before_after
from backstay.audit.fix.judge import judge
from backstay.audit.fix.model import Outcome, Reason
from backstay.audit.fix.proof import interventions, telling
from backstay.audit.fix.record import fix_of, of_fix
from backstay.audit.fix.story import duration, expectation, sentence, tell_fix
from backstay.audit.model import EvidenceKind, FactChange
from backstay.audit.report.page import as_html
from backstay.audit.report.render import as_markdown, as_text
from backstay.audit.work import Method
from fix_scenes import DAY, FACT, FIX, a_scene, at, change, fixed, judged, noise

CHANGED = [change("web1", 7.0)]


def test_what_was_expected_came_with_the_change() -> None:
    found = judged(fixed(1), CHANGED)
    assert (found.outcome, found.reason) == (Outcome.CONFIRMED, Reason.CAME)
    assert found.effect is not None
    assert found.effect.low < math.log(0.7) < found.effect.high < 0.0
    assert STRONG <= found.log_odds <= math.log(found.placebos + 1.0)
    assert [one.node for one in found.nodes] == ["web1"]


@pytest.mark.parametrize(
    ("day", "reason"), [(2.0, Reason.NOT_CHANGED), (40.0, Reason.OVERDUE)], ids=["before its time", "after it"]
)
def test_a_fact_that_has_not_changed_is_waited_for(day: float, reason: Reason) -> None:
    found = judge(FIX, a_scene(noise(2, 3.0), []), at(day))
    assert (found.outcome, found.reason, found.missing) == (Outcome.WAITING, reason, ("web1",))


def test_another_value_than_the_one_registered_is_not_the_fix() -> None:
    assert judged(fixed(3), [change("web1", 7.0, after="V9")]).outcome is Outcome.WAITING
    assert judged(fixed(3), [change("web1", 7.0, after="V9")], value=None).outcome is Outcome.CONFIRMED


def test_a_change_from_before_it_was_registered_proves_nothing() -> None:
    found = judged(fixed(4), CHANGED, registered=at(8.0))
    assert (found.outcome, found.reason) == (Outcome.WAITING, Reason.LATE)


def test_an_hour_after_the_change_it_is_too_early_and_said_for_how_long() -> None:
    found = judged(fixed(5, days=7.0 + 1.0 / 24.0), CHANGED)
    assert (found.outcome, found.reason) == (Outcome.TOO_EARLY, Reason.SHORT)
    assert found.wait_s is not None
    assert 600.0 <= found.wait_s <= 3600.0


def test_a_small_effect_in_much_noise_is_waited_for() -> None:
    values = noise(6, 8.0, sigma=0.2)
    found = judged(values, CHANGED, expected=-0.1)
    assert (found.outcome, found.reason) == (Outcome.TOO_EARLY, Reason.WIDE)
    assert found.wait_s is not None
    assert found.wait_s > 12 * 3600.0


def test_nothing_came() -> None:
    found = judged(fixed(7, effect=0.0), CHANGED)
    assert (found.outcome, found.reason) == (Outcome.NOT_CONFIRMED, Reason.NO_EFFECT)
    assert found.log_odds < 0.0


def test_less_than_half_of_it_came() -> None:
    assert judged(fixed(8, effect=-0.08), CHANGED).reason is Reason.SMALLER


def test_the_opposite_came() -> None:
    found = judged(fixed(9, effect=0.3), CHANGED)
    assert (found.outcome, found.reason) == (Outcome.CONTRADICTED, Reason.OPPOSITE)


def test_the_unchanged_peers_moved_as_well() -> None:
    values = fixed(10, effect=0.0)
    values[:, 7 * DAY :] += math.log(0.7)
    assert judged(values, CHANGED).reason is Reason.EVERYWHERE


def test_it_had_come_a_day_before() -> None:
    found = judged(fixed(11, day=6.0), CHANGED)
    assert (found.outcome, found.reason) == (Outcome.NOT_CONFIRMED, Reason.CAME_BEFORE)


def test_a_node_that_was_drifting_away_anyway_is_not_fixed() -> None:
    values = noise(12, 10.0)
    values[0] += np.linspace(0.0, -0.5, values.shape[1])
    assert judged(values, CHANGED).reason is Reason.DRIFT


def test_equal_to_its_peers_is_the_distance_that_there_was() -> None:
    values = noise(13, 10.0)
    values[0] += 0.4 - (values[0, : 7 * DAY] - np.median(values[1:, : 7 * DAY], axis=0)).mean()
    values[0, 7 * DAY :] -= 0.4
    found = judged(values, CHANGED, expected=None)
    assert found.outcome is Outcome.CONFIRMED
    assert found.expected == pytest.approx(-0.4, abs=0.01)


def test_shares_of_the_mean_are_expected_in_shares() -> None:
    values = np.abs(noise(14, 10.0, sigma=0.1))
    values[0] += 3.0
    before = values[0, : 7 * DAY].mean()
    values[0, 7 * DAY :] -= 0.9 * before
    scene = a_scene(values, CHANGED, Method.LINEAR)
    found = judge(replace(FIX, expected=-0.9), scene, scene.grid.end)
    assert found.outcome is Outcome.CONFIRMED
    assert found.expected == pytest.approx(-0.9 * before)
    assert found.effect is not None
    assert found.effect.unit == "share of the cluster's mean"


def test_where_every_node_changed_there_is_none_to_compare_with() -> None:
    nodes = ("web1", "web2", "web3", "web4")
    found = judged(fixed(15), [change(node, 7.0) for node in nodes], nodes=nodes)
    assert (found.outcome, found.reason) == (Outcome.TOO_EARLY, Reason.NO_PEERS)


def test_a_peer_whose_fact_changed_unplanned_is_no_peer() -> None:
    values = fixed(16)
    values[1, 7 * DAY :] += math.log(0.7)
    found = judged(values, [*CHANGED, change("web2", 7.0)])
    assert found.outcome is Outcome.CONFIRMED


def test_a_node_of_another_fix_is_a_peer_until_its_own_turn() -> None:
    """Fixed one after the other, each registered by itself; web4 was never measured."""
    values = fixed(30, days=12.0)
    values[1, 9 * DAY :] += math.log(0.7)
    values[2, 9 * DAY :] += math.log(0.7)
    values[3] = np.nan
    others = [change("web2", 9.0), change("web3", 9.0)]
    assert judged(values, [*CHANGED, *others]).outcome is Outcome.CONFIRMED
    assert judged(values, [*CHANGED, change("web2", 7.0), change("web3", 7.0)]).reason is Reason.NO_PEERS


def test_nodes_fixed_one_by_one_add_up() -> None:
    """Alone each is too noisy; each is a peer of the others until its own turn."""
    values = noise(17, 16.0, sigma=0.12)
    days = {0: 7.0, 1: 9.0, 2: 11.0}
    for place, day in days.items():
        values[place, int(day * DAY) :] += math.log(0.85)
    nodes = tuple(f"web{place + 1}" for place in days)
    alone = judged(values[:, : 9 * DAY], [change("web1", 7.0)], expected=-0.15)
    together = judged(
        values, [change(f"web{place + 1}", day) for place, day in days.items()], expected=-0.15, nodes=nodes
    )
    assert together.log_odds > alone.log_odds
    assert together.outcome is Outcome.CONFIRMED
    assert len({one.changed for one in together.nodes}) == 3


def test_some_changed_and_others_are_still_missing() -> None:
    found = judged(fixed(18), CHANGED, nodes=("web1", "web2"))
    assert found.outcome is Outcome.CONFIRMED
    assert found.missing == ("web2",)


def test_a_confirmed_fix_whose_effect_went_is_reopened() -> None:
    values = fixed(19, days=21.0)
    first = judged(values[:, : 10 * DAY], CHANGED)
    assert first.outcome is Outcome.CONFIRMED
    assert judged(values, CHANGED, confirmed=first).outcome is Outcome.CONFIRMED
    values[0, 16 * DAY :] -= math.log(0.7)
    found = judged(values, CHANGED, confirmed=first)
    assert (found.outcome, found.reason) == (Outcome.REOPENED, Reason.WENT)


def test_a_confirmed_fix_that_is_undone_is_reopened() -> None:
    values = fixed(20, days=12.0)
    first = judged(values, CHANGED)
    found = judged(values, [*CHANGED, change("web1", 11.0, "V2", "V1")], confirmed=first)
    assert (found.outcome, found.reason) == (Outcome.REOPENED, Reason.CHANGED_BACK)
    assert found.nodes[0].gone


def test_between_two_reads_nobody_knows_when_it_changed() -> None:
    """The effect came six hours before the read that saw the change: no effect "before" the change."""
    values = fixed(21, day=6.75)
    seen = FactChange(node="web1", fact=FACT, before="V1", after="V2", time=at(7.0), unseen_from=at(6.5))
    assert judged(values, [seen]).outcome is Outcome.CONFIRMED


def test_facts_that_changed_with_it_are_not_told_apart() -> None:
    together = [*CHANGED, change("web1", 7.0, "0x1", "0x2", "cpu.microcode"), change("web1", 3.0, "a", "b", "os.name")]
    assert judged(fixed(22), together).together == ("cpu.microcode",)


def test_the_same_look_gives_the_same_verdict() -> None:
    values = fixed(23)
    first = judged(values, CHANGED)
    assert judged(values, CHANGED, verdict=first) == first


@settings(max_examples=15, deadline=None)
@given(st.floats(-3.0, 3.0), st.permutations([1, 2, 3]), st.integers(0, 50))
def test_what_hits_all_nodes_and_the_order_of_the_peers_do_not_matter(
    shock: float, order: list[int], seed: int
) -> None:
    values = fixed(seed, days=9.0)
    plain = before_after(values, {0: Changed(first=7 * DAY, after=7 * DAY, until=9 * DAY)})
    values[:, 8 * DAY :] += shock
    mixed = before_after(values[[0, *order]], {0: Changed(first=7 * DAY, after=7 * DAY, until=9 * DAY)})
    assert plain is not None
    assert mixed is not None
    assert mixed.whole.estimate == pytest.approx(plain.whole.estimate, abs=1e-9)
    assert mixed.whole.noise == pytest.approx(plain.whole.noise, rel=1e-6)


def test_gaps_and_nodes_without_values_are_no_trouble() -> None:
    values = fixed(24)
    values[0, 100:300] = np.nan
    values[1] = np.nan
    values[:, 900:910] = np.nan
    assert judged(values, CHANGED).outcome is Outcome.CONFIRMED
    values[:, : 7 * DAY] = np.nan
    assert judged(values, CHANGED).reason is Reason.NO_VALUES
    assert judged(np.full((4, 1440), np.nan), CHANGED).outcome is Outcome.TOO_EARLY


def test_noise_alone_is_rarely_confirmed() -> None:
    found = [judged(noise(seed, 8.0), CHANGED, expected=-0.05).outcome for seed in range(100, 130)]
    assert found.count(Outcome.CONFIRMED) <= 2


def test_a_fix_survives_its_record() -> None:
    verdict = judged(fixed(25), CHANGED)
    fix = replace(FIX, verdict=verdict, confirmed=verdict)
    assert fix_of(json.loads(json.dumps(of_fix(fix), allow_nan=False))) == fix
    assert fix_of(of_fix(FIX)) == FIX


def test_a_confirmed_fix_is_an_intervention_here_and_a_replication_elsewhere() -> None:
    verdict = replace(judged(fixed(26), CHANGED), together=("cpu.microcode",))
    fix = replace(FIX, verdict=verdict, confirmed=verdict)
    here = interventions([fix], "queue", "load")
    assert [(one.kind, one.fact) for one in here] == [
        (EvidenceKind.INTERVENTION, FACT),
        (EvidenceKind.INTERVENTION, "cpu.microcode"),
    ]
    assert all(one.log_odds >= STRONG for one in here)
    assert {one.kind for one in interventions([fix], "web", "load")} == {EvidenceKind.REPLICATION}
    assert interventions([fix], "queue", "drops") == ()


@pytest.mark.parametrize(
    ("outcome", "reason", "counts"),
    [
        (Outcome.WAITING, Reason.NOT_CHANGED, False),
        (Outcome.TOO_EARLY, Reason.WIDE, False),
        (Outcome.REOPENED, Reason.WENT, False),
        (Outcome.REOPENED, Reason.CHANGED_BACK, True),
        (Outcome.NOT_CONFIRMED, Reason.NO_EFFECT, True),
    ],
)
def test_what_counts_as_evidence(outcome: Outcome, reason: Reason, counts: bool) -> None:
    verdict = replace(judged(fixed(27), CHANGED), outcome=outcome, reason=reason)
    assert (telling(replace(FIX, verdict=verdict, confirmed=verdict)) is not None) is counts


def test_every_reason_has_its_words() -> None:
    verdict = judged(fixed(28), CHANGED)
    for reason in Reason:
        said = sentence(FIX, replace(verdict, reason=reason, wait_s=7200.0))
        assert "{" not in said
        assert said.endswith("Look again in 2 h.")


def test_the_report_shows_before_and_after() -> None:
    scene = a_scene(fixed(29), CHANGED)
    fix = replace(FIX, verdict=judge(FIX, scene, scene.grid.end))
    story = tell_fix(fix, scene)
    text = as_text(story)
    assert text.startswith("Confirmed by intervention: -")
    assert "Expected of load: -30%. Told by alice" in text
    assert "placebos (other times before, other nodes) show as much" in text
    assert as_markdown(story).startswith("# Fix queue-load-1")
    assert 'stroke-dasharray="4 3"' in as_html(story)


def test_words_for_times_and_expectations() -> None:
    assert [duration(one) for one in (30.0, 3000.0, 20_000.0, 200_000.0)] == ["1 min", "50 min", "6 h", "3 d"]
    assert expectation(FIX) == "-30%"
    assert expectation(replace(FIX, expected=None)) == "equal to its peers"
    assert START + timedelta(days=30) == FIX.by
