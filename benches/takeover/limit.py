"""The limit that the evidence itself sets: every probe sent on time, every answer there at once. Pure.

What is measured beyond it is scheduling, a loaded machine, Python. It is made of the mean wait for the first probe
after the fault, the burst until the evidence convinces, and (measured) the provider.
"""

from __future__ import annotations

from itertools import pairwise

from backstay.failover import pace
from backstay.failover.model import Seen, Suspicion
from backstay.failover.suspect import hear_of_agent, take_in, weigh
from backstay.look.model import Outcome, ProbeKind

SERVICE = (ProbeKind.HTTP, ProbeKind.HTTPS)
KINDS = (ProbeKind.ICMP, *SERVICE)
HEALTH_S = 600
STEP_S = 0.01
DEFAULT_RATE = 0.1  # false_takeovers_per_year
NOTICED_BY = {"crash": SERVICE, "hang": SERVICE, "isolate": KINDS}


def wait_s(fault: str) -> float:
    """The mean time until the first probe that fails is sent, for a fault at any moment: the kinds take turns."""
    phases = sorted(pace.PHASE[kind] for kind in NOTICED_BY[fault])
    gaps = [after - before for before, after in pairwise([*phases, phases[0] + 1.0])]
    return pace.HOLDER_S * sum(gap * gap / 2 for gap in gaps)


def burst_s(fault: str) -> float:
    """From the first failed probe's sending to conviction."""
    suspicion = Suspicion()
    for second in range(HEALTH_S):
        for kind in KINDS:
            seen = Seen(at_s=float(second), kind=kind, outcome=Outcome.ANSWERED, rtt_s=0.001)
            suspicion = take_in(suspicion, seen)
    for known_s, seen in sorted(_seen(fault), key=lambda one: one[0]):
        suspicion = hear_of_agent(take_in(suspicion, seen), gone=fault == "crash")  # a crash ends the agent as well
        found = weigh(suspicion, HEALTH_S + known_s, false_takeovers_per_year=DEFAULT_RATE)
        if found is not None and found.convincing:
            return known_s
    raise AssertionError(f"{fault} never convinces")


def _seen(fault: str) -> list[tuple[float, Seen]]:
    """Each probe with the moment at which its outcome is known, from the first failed one on."""
    first = NOTICED_BY[fault][-1]
    known_s = _known_after_s(_outcome(fault, first), pace.timeout_s(_RTT, doubled=False))
    found = [(known_s, _probe(fault, first, 0.0))]
    for kind in KINDS:
        every_s = pace.every_s(kind, close=True, suspected_for_s=0.0)
        wait = _known_after_s(_outcome(fault, kind), pace.timeout_s(_RTT, doubled=fault == "isolate"))
        for number in range(round(pace.BURST_LIMIT_S / every_s)):
            sent_s = known_s + number * every_s
            found.append((sent_s + wait, _probe(fault, kind, sent_s)))
    return found


_RTT = pace.Rtt(mean_s=0.001, deviation_s=0.0)


def _probe(fault: str, kind: ProbeKind, sent_s: float) -> Seen:
    connected = fault == "hang" and kind is not ProbeKind.ICMP
    return Seen(at_s=HEALTH_S + sent_s, kind=kind, outcome=_outcome(fault, kind), rtt_s=0.001, connected=connected)


def _known_after_s(outcome: Outcome, timeout_s: float) -> float:
    return timeout_s if outcome is Outcome.TIMED_OUT else 0.0


def _outcome(fault: str, kind: ProbeKind) -> Outcome:
    if fault == "isolate":
        return Outcome.TIMED_OUT
    if kind is ProbeKind.ICMP:
        return Outcome.ANSWERED
    return Outcome.REFUSED if fault == "crash" else Outcome.TIMED_OUT
