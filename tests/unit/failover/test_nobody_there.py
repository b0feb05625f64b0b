"""What tells a death sooner: the agent that does not run either, and connections that are taken and then left."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from backstay.failover import pace
from backstay.failover.model import Death, Evidence, Seen, Suspicion
from backstay.failover.suspect import hear_of_agent, take_in, weigh
from backstay.failover.watch import Watcher
from backstay.look.model import Observation, Outcome, ProbeKind, Target

ICMP, HTTP, HTTPS = ProbeKind.ICMP, ProbeKind.HTTP, ProbeKind.HTTPS
KINDS = (ICMP, HTTP, HTTPS)
OK, TIMED_OUT, REFUSED = Outcome.ANSWERED, Outcome.TIMED_OUT, Outcome.REFUSED
HEALTH_S = 600


def healthy() -> Suspicion:
    suspicion = Suspicion()
    for second in range(HEALTH_S):
        for kind in KINDS:
            suspicion = take_in(suspicion, Seen(at_s=float(second), kind=kind, outcome=OK, rtt_s=0.001))
    return suspicion


def see(suspicion: Suspicion, at_s: float, outcomes: dict[ProbeKind, Outcome], *, connected: bool = False) -> Suspicion:
    for kind, outcome in outcomes.items():
        seen = Seen(at_s=at_s, kind=kind, outcome=outcome, rtt_s=0.001, connected=connected and kind is not ICMP)
        suspicion = take_in(suspicion, seen)
    return suspicion


def evidence(suspicion: Suspicion, now_s: float) -> Evidence:
    found = weigh(suspicion, now_s, false_takeovers_per_year=0.1)
    assert found is not None
    return found


def seconds_to_conviction(outcomes: dict[ProbeKind, Outcome], *, gone: bool) -> float:
    suspicion = healthy()
    for step in range(200):
        now_s = HEALTH_S + step / 20
        suspicion = hear_of_agent(see(suspicion, now_s, outcomes), gone=gone)
        if evidence(suspicion, now_s).convincing:
            return step / 20
    raise AssertionError("it never convinces")


def test_an_engine_that_is_refused_and_whose_agent_is_gone_is_given_no_time_to_restart() -> None:
    refused = {ICMP: OK, HTTP: REFUSED, HTTPS: REFUSED}
    assert seconds_to_conviction(refused, gone=True) < 1.0 < seconds_to_conviction(refused, gone=False)


def test_an_agent_that_answers_again_brings_the_time_of_a_restart_back() -> None:
    refused = see(healthy(), HEALTH_S, {ICMP: OK, HTTP: REFUSED, HTTPS: REFUSED})
    gone = hear_of_agent(refused, gone=True)
    assert evidence(gone, HEALTH_S).death is Death.GONE
    back = hear_of_agent(gone, gone=False)
    assert evidence(back, HEALTH_S).death is Death.REFUSED
    assert evidence(back, HEALTH_S).patience_s > evidence(gone, HEALTH_S).patience_s


@pytest.mark.parametrize("outcome", [TIMED_OUT, OK])
def test_an_agent_that_is_gone_says_nothing_of_an_engine_that_is_not_refused(outcome: Outcome) -> None:
    seen = see(healthy(), HEALTH_S, {HTTP: TIMED_OUT, HTTPS: outcome, ICMP: OK})
    with_agent, without = evidence(seen, HEALTH_S), evidence(hear_of_agent(seen, gone=True), HEALTH_S)
    assert (with_agent.death, with_agent.patience_s) == (without.death, without.patience_s)


def test_an_agent_that_is_gone_while_its_engine_serves_raises_no_suspicion() -> None:
    assert hear_of_agent(healthy(), gone=True).episode is None


def test_what_was_heard_of_the_agent_ends_with_the_episode() -> None:
    suspicion = hear_of_agent(see(healthy(), HEALTH_S, {HTTP: REFUSED, HTTPS: REFUSED}), gone=True)
    suspicion = see(suspicion, HEALTH_S + 0.1, {HTTP: OK, HTTPS: OK})
    suspicion = see(suspicion, HEALTH_S + 60, {HTTP: REFUSED, HTTPS: REFUSED})
    assert evidence(suspicion, HEALTH_S + 60).death is Death.REFUSED


def test_connections_that_are_taken_and_left_weigh_more_than_none() -> None:
    weights = []
    for connected in (True, False):
        suspicion = healthy()
        for step in range(6):
            at_s = HEALTH_S + step / 10
            suspicion = see(suspicion, at_s, {ICMP: OK, HTTP: TIMED_OUT, HTTPS: TIMED_OUT}, connected=connected)
        weights.append(evidence(suspicion, HEALTH_S + 0.6).log_likelihood)
    assert weights[0] > weights[1] + 1.0


def test_a_host_that_takes_connections_lives_though_its_pings_are_filtered() -> None:
    suspicion = see(healthy(), HEALTH_S, dict.fromkeys(KINDS, TIMED_OUT), connected=True)
    assert evidence(suspicion, HEALTH_S).death is Death.HUNG


def test_a_lossy_path_that_lets_a_connection_through_is_no_hang() -> None:
    """Under 30% loss some probes get as far as the connection; what they prove is counted for them alone."""
    suspicion = healthy()
    for step in range(40):
        at_s = HEALTH_S + step / 10
        suspicion = see(suspicion, at_s, {ICMP: TIMED_OUT if step % 3 == 0 else OK})
        suspicion = see(suspicion, at_s, {HTTP: TIMED_OUT}, connected=step % 8 == 0)
        suspicion = see(suspicion, at_s, {HTTPS: OK if step % 13 == 12 else TIMED_OUT})
    found = weigh(suspicion, HEALTH_S + 4.0, false_takeovers_per_year=0.1)
    assert found is None or not found.convincing


class Idle:
    async def probe(self, target: Target, *, timeout_s: float) -> Observation:
        raise AssertionError("the test says itself what is seen")

    async def close(self) -> None: ...


async def test_a_burst_waits_longer_for_a_silent_host_than_for_one_that_takes_connections() -> None:
    now_s = [1_000.0]
    watcher = Watcher(Idle(), "lb2", lambda: now_s[0], lambda: None)
    watcher.follow({"lb1": {kind: Target(kind=kind, address="192.0.2.1", port=1) for kind in KINDS}}, None)
    watcher.attend({"lb1"})

    def saw(outcome: Outcome, *, connected: bool) -> None:
        target = watcher.asked["lb1", HTTP].target
        seen = Observation(
            target=target, time=datetime(2026, 3, 1, tzinfo=UTC), outcome=outcome, rtt_s=0.001, connected=connected
        )
        watcher._seen(("lb1", HTTP), seen)

    saw(OK, connected=True)
    now_s[0] += 1.0
    saw(TIMED_OUT, connected=False)
    assert watcher._rates["lb1", HTTP][2] == 2 * pace.TIMEOUT_MIN_S
    saw(TIMED_OUT, connected=True)
    watcher.repace()
    assert watcher._rates["lb1", HTTP][2] == pace.TIMEOUT_MIN_S
