"""Which target is probed how often, and how long an answer is waited for. Pure.

In health a probe a second of each kind to the holder, and one in five seconds to everybody else: a second death is
looked at closely as soon as there is a first. From the holder's first miss on everybody is probed in a burst, the
others because their answers tell whether it is us who are cut off.
"""

from __future__ import annotations

from dataclasses import dataclass

from backstay.look.model import ProbeKind

HOLDER_S = 1.0
ASIDE_S = 5.0
# In a second of the holder's the kinds take turns, so that the service is asked every half second by one of them.
PHASE = {ProbeKind.HTTP: 0.0, ProbeKind.ICMP: 0.25, ProbeKind.HTTPS: 0.5, ProbeKind.TCP: 0.75}
BURST_ICMP_S = 0.05
BURST_SERVICE_S = 0.05
BURST_LIMIT_S = 30.0  # what is not decided by then will not be by more probes

STARTING = 4  # answers
TIMEOUT_MIN_S = 0.2  # less than a loaded machine's own scheduling would count as loss
TIMEOUT_MAX_S = 1.0


def every_s(kind: ProbeKind, *, close: bool, suspected_for_s: float | None) -> float:
    """Between two probes. `close`: it holds an address, or does not answer. `suspected_for_s`: how long a holder has
    been suspected; None: none is."""
    if suspected_for_s is None or suspected_for_s > BURST_LIMIT_S:
        return HOLDER_S if close else ASIDE_S
    return BURST_ICMP_S if kind is ProbeKind.ICMP else BURST_SERVICE_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Rtt:
    """Smoothed round-trip time and its deviation (RFC 6298, section 2)."""

    mean_s: float
    deviation_s: float
    answers: int = STARTING  # that it is made of, as far as that matters


def take_rtt(rtt: Rtt | None, seen_s: float) -> Rtt:
    if rtt is None or (rtt.answers < STARTING and seen_s < rtt.mean_s):
        # The fastest of the first few: an agent that starts is slow itself, and at a probe a second the slowness of its
        # first answer would make every miss known half a second later for a quarter of a minute.
        return Rtt(mean_s=seen_s, deviation_s=seen_s / 2, answers=1 if rtt is None else rtt.answers + 1)
    return Rtt(
        mean_s=0.875 * rtt.mean_s + 0.125 * seen_s,
        deviation_s=0.75 * rtt.deviation_s + 0.25 * abs(seen_s - rtt.mean_s),
        answers=min(STARTING, rtt.answers + 1),
    )


def timeout_s(rtt: Rtt | None, *, doubled: bool) -> float:
    """How long one probe may take. `doubled` in a burst: a slow answer is to be told from none (the wait of one probe
    delays no other, they overlap). Not for a host that takes connections at once: nothing on the way is slow then."""
    if rtt is None:
        return TIMEOUT_MAX_S
    usual_s = max(TIMEOUT_MIN_S, rtt.mean_s + 4 * rtt.deviation_s)
    return min(TIMEOUT_MAX_S, 2 * usual_s if doubled else usual_s)
