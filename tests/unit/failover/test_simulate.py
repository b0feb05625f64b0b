"""Years of suspicion, simulated."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from xml.etree.ElementTree import fromstring

import pytest

from backstay.cli.ip.simulate import simulate_report
from backstay.failover.model import Death
from backstay.failover.play import Effect, Opening, Plight, play
from backstay.failover.simulate import (
    DEATHS,
    MEASURED,
    PATTERNS,
    Disturbance,
    Pattern,
    Tally,
    fresh,
    poisson_interval,
    simulate,
)
from backstay.failover.suspect import OUTAGE_S, patience_s
from backstay.look.model import ProbeKind

CALM = Pattern(name="calm", sources=("none",), loss=0.0, disturbances=())
CUTS = Disturbance(name="cut", effect=Effect.CUT, per_year=2.0, shortest_s=12.0, longest_s=12.0)
HICCUPS = Disturbance(name="hiccup", effect=Effect.PAUSE, per_year=20.0, shortest_s=0.05, longest_s=0.2)


def tally(pattern: Pattern, rate: float = 0.1, *, years: float = 20, seed: int = 1) -> Tally:
    [found] = simulate(pattern, [rate], years, random.Random(seed))
    return found


def told(found: Tally) -> tuple[object, ...]:
    return found.happened, found.false, found.justified, found.took_s, found.missed


def test_the_same_seed_gives_the_same_years_and_another_one_others() -> None:
    first, again, other = (tally(MEASURED, years=8, seed=seed) for seed in (1, 1, 2))
    assert told(first) == told(again)
    assert told(first) != told(other)


def test_where_nothing_happens_nobody_takes_over() -> None:
    found = tally(CALM, 10.0)
    assert found.false.total() == found.justified.total() == 0
    assert found.happened.total() == 0


@pytest.mark.parametrize("rate", [0.01, 10.0])
def test_every_death_is_detected_within_seconds_after_years_of_what_the_pattern_teaches(rate: float) -> None:
    for pattern in (CALM, MEASURED):
        found = tally(pattern, rate)
        assert not found.missed
        for death in DEATHS:
            worst = found.detection_s(death, 1.0)
            assert worst is not None
            assert 0.0 < worst < OUTAGE_S + 1.0


def test_a_higher_configured_rate_detects_sooner() -> None:
    careful, quick = simulate(CALM, [0.01, 10.0], 50, random.Random(1))
    for death in DEATHS:
        slow_s, fast_s = careful.detection_s(death, 0.5), quick.detection_s(death, 0.5)
        assert slow_s is not None
        assert fast_s is not None
        assert fast_s < slow_s


def test_an_outage_that_users_feel_is_taken_for_a_death_and_that_is_justified() -> None:
    found = tally(replace(CALM, disturbances=(CUTS,)))
    assert found.happened["cut"] > 10
    assert found.justified == found.happened
    assert found.false.total() == 0


def test_a_path_that_is_cut_for_this_watcher_alone_justifies_nothing() -> None:
    found = tally(replace(CALM, disturbances=(replace(CUTS, everybody=False),)))
    assert found.false == found.happened
    assert found.justified.total() == 0


def test_a_pause_shorter_than_the_wait_for_an_answer_is_none() -> None:
    found = tally(replace(CALM, disturbances=(HICCUPS,)))
    assert found.happened["hiccup"] > 100
    assert found.false.total() == 0


def test_one_pause_that_was_sat_out_makes_the_watcher_patient_with_the_next() -> None:
    pause = Plight(effect=Effect.PAUSE, start_s=10.0, length_s=2.0)
    start, rate = fresh(), 0.0001  # so careful that it waits
    after = play(start, pause, [rate], random.Random(3))[rate]
    assert after.convinced_after_s is None
    [silence] = after.suspicion.normal.silences
    assert 1.4 < silence.duration_s <= 2.1
    known = [patience_s(one.normal, Death.HOST, false_takeovers_per_year=0.1) for one in (start, after.suspicion)]
    assert known[1] > 1.5 * known[0]
    dead = Plight(effect=Effect.CUT, start_s=20.0, length_s=math.inf)
    early, late = (play(one, dead, [0.1], random.Random(4))[0.1].convinced_after_s for one in (start, after.suspicion))
    assert early is not None
    assert late is not None
    assert late > early


@pytest.mark.parametrize(("effect", "length_s"), [(Effect.CUT, 30.0), (Effect.HANG, 5.0)])
def test_what_was_a_death_teaches_no_silence(effect: Effect, length_s: float) -> None:
    plight = Plight(effect=effect, start_s=10.0, length_s=length_s)
    played = play(fresh(), plight, [0.1, 10.0], random.Random(5))
    for one in played.values():
        assert one.convinced_after_s is not None
        assert one.suspicion.normal.silences == ()
        assert one.suspicion.episode is None


def test_a_host_that_is_back_before_any_machine_could_have_started_teaches_though_it_was_taken_for_dead() -> None:
    pause = Plight(effect=Effect.PAUSE, start_s=10.0, length_s=3.0)
    played = play(fresh(), pause, [0.001, 0.1, 1.0], random.Random(5))
    assert [one.convinced_after_s is None for one in (played[0.001], played[0.1], played[1.0])] == [True, False, False]
    [silence] = played[0.1].suspicion.normal.silences
    assert 2.4 < silence.duration_s <= 3.1
    assert played[0.1].suspicion.normal.silences == played[0.001].suspicion.normal.silences


@pytest.mark.parametrize("kind", [ProbeKind.HTTP, ProbeKind.HTTPS])
def test_one_lost_probe_is_no_silence(kind: ProbeKind) -> None:
    lost = Plight(effect=Effect.LOSS, start_s=10.0, length_s=0.0)
    opening = Opening(kind=kind, missed={})
    [played] = play(fresh(), lost, [10.0], random.Random(6), opening).values()
    assert played.convinced_after_s is None
    assert played.suspicion.normal.silences == ()


def test_packets_that_are_lost_one_by_one_convince_nobody() -> None:
    found = simulate(replace(CALM, loss=1e-4), [0.1, 1.0], 10, random.Random(7))
    assert all(one.false.total() == 0 for one in found)
    assert all(one.happened["independent loss"] > 0 for one in found)


def test_a_rate_at_which_two_lost_packets_convince_is_refused() -> None:
    with pytest.raises(ValueError, match="give a lower rate"):
        tally(MEASURED, 1e6)


@pytest.mark.parametrize(("rates", "years"), [([], 1.0), ([0.0], 1.0), ([0.1], 0.0), ([0.1], math.inf)])
def test_numbers_that_are_not_positive_are_refused(rates: list[float], years: float) -> None:
    with pytest.raises(ValueError, match="give positive ones"):
        simulate(CALM, rates, years, random.Random(1))


def test_worse_is_ten_times_as_often_and_no_longer() -> None:
    worse = PATTERNS["worse"]
    assert worse.loss == pytest.approx(10 * MEASURED.loss)
    for one, other in zip(MEASURED.disturbances, worse.disturbances, strict=True):
        assert other.per_year == pytest.approx(10 * one.per_year)
        assert (other.shortest_s, other.longest_s) == (one.shortest_s, one.longest_s)


def test_the_report_has_both_numbers_the_sources_and_a_plot() -> None:
    report, drawn = simulate_report(["measured"], [0.1], 40, 1)
    assert report.rows is not None
    [row] = report.rows
    assert {"false a pair-year", "justified", "link down (s)"} <= row.keys()
    words = "\n".join(report.notes)
    assert all(word in words for word in ("published:", "assumed:", "measured by us:", "(justified)"))
    assert fromstring(drawn).tag.endswith("svg")


@pytest.mark.parametrize(
    ("count", "low", "high"), [(0, 0.0, 3.689), (1, 0.0253, 5.572), (10, 4.795, 18.39), (100, 81.36, 121.63)]
)
def test_the_poisson_interval_is_the_published_one(count: int, low: float, high: float) -> None:
    assert list(poisson_interval(count)) == pytest.approx([low, high], rel=1e-3, abs=1e-6)
