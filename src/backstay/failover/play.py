"""Plays one thing that happens to a watched load balancer, probe by probe, in simulated time. Pure.

The real schedule (look/schedule.py), the real rates and timeouts (pace.py), the real evidence (suspect.py): nothing
of the decision is written twice. Only what the probes meet is a model:

- a ping is lost by the path's loss p; an HTTP probe is missed when one of 8 packets is lost, an HTTPS probe of 12
  (no retransmission saves it: within its timeout there is seldom time for one);
- CUT loses what is sent meanwhile; PAUSE holds it back (the hypervisor queues it) and answers at its end, which is a
  miss for what has timed out by then; LOSS has a loss of its own; HANG answers pings only; REFUSE refuses connections.

Weighed after every ping and every miss of the service, at least every 50 ms in a burst (the agent ticks every 100 ms),
from the shortest patience of any sort of silence on: before it no evidence can convince, and is not added up.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

from backstay.failover import pace
from backstay.failover.model import Death, Seen, Suspicion
from backstay.failover.suspect import PACKETS_PER_TCP_PROBE, patience_s, take_in, weigh
from backstay.look.model import Outcome, ProbeKind
from backstay.look.schedule import Schedule

PACKETS: Mapping[ProbeKind, int] = {
    ProbeKind.ICMP: 1,
    ProbeKind.HTTP: PACKETS_PER_TCP_PROBE,
    ProbeKind.HTTPS: PACKETS_PER_TCP_PROBE + 4,
}
RTT_S = 0.001  # between two machines of a datacenter, with an engine that is not busy
RTT = pace.Rtt(mean_s=RTT_S, deviation_s=RTT_S / 2)
LIMIT_S = 60.0  # beyond the end of what happens: an episode that does not clear by then is left


class Chance(Protocol):
    """Where chance comes from: `random.Random(seed)` is one."""

    def random(self) -> float:
        """In [0, 1)."""
        ...


class Effect(StrEnum):
    LOSS = "loss"
    CUT = "cut"
    PAUSE = "pause"
    HANG = "hang"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plight:
    """What the target suffers from `start_s` on."""

    effect: Effect
    start_s: float
    length_s: float
    loss: float = 0.0  # LOSS: of packets, meanwhile
    background: float = 0.0  # loss of packets at any time


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """How an episode of independent loss begins: which probe is missed, and which of the first probes after it."""

    kind: ProbeKind
    missed: Mapping[ProbeKind, tuple[bool, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What the watcher made of it, at one configured rate."""

    suspicion: Suspicion  # afterwards, no episode open
    convinced_after_s: float | None  # since the plight's start; None: never


def play(
    suspicion: Suspicion, plight: Plight, rates: Sequence[float], chance: Chance, opening: Opening | None = None
) -> dict[float, Played]:
    """Play it for watchers that know the same (`suspicion`) and differ in `false_takeovers_per_year` (`rates`).

    Whoever is convinced has taken over: people move the address back and rearm, and it begins anew with what it knew
    before; a death that was acted on is not learnt as a silence (Watcher.begin_anew, unlearn_silence).
    """
    return _Play(suspicion, plight, rates, chance, opening).run()


def miss_chance(kind: ProbeKind, loss: float) -> float:
    return 1.0 - (1.0 - loss) ** PACKETS[kind]


@dataclass(order=True, slots=True)
class _Result:
    at_s: float
    order: int
    seen: Seen = field(compare=False)


class _Play:
    def __init__(
        self, suspicion: Suspicion, plight: Plight, rates: Sequence[float], chance: Chance, opening: Opening | None
    ) -> None:
        self._suspicion, self._plight, self._chance, self._opening = suspicion, plight, chance, opening
        self._open = sorted(rates, reverse=True)  # the easiest to convince first
        self._done: dict[float, Played] = {}
        self._schedule: Schedule[ProbeKind] = Schedule(salt=str(chance.random()))
        self._timeout_s = 0.0
        self._weigh_from_s = 0.0
        self._rates: dict[ProbeKind, float] = {}
        self._results: list[_Result] = []
        self._sent = 0
        self._asked = dict.fromkeys(PACKETS, 0)  # since the opening

    def run(self) -> dict[float, Played]:
        start_s = self._plight.start_s
        end_s = start_s + (self._plight.length_s if math.isfinite(self._plight.length_s) else 0.0)
        self._repace(start_s, first=True)
        while self._open:
            now_s = self._step()
            over = now_s >= end_s and self._suspicion.episode is None and not self._results
            if (over and math.isfinite(self._plight.length_s)) or now_s > end_s + LIMIT_S:
                break
        left = replace(self._suspicion, episode=None)
        return self._done | {rate: Played(suspicion=left, convinced_after_s=None) for rate in self._open}

    def _step(self) -> float:
        """To the next thing that happens: a probe is sent, or its outcome is known."""
        due_s = self._schedule.next_s()
        assert due_s is not None
        if self._results and self._results[0].at_s <= due_s:
            result = heapq.heappop(self._results)
            self._take(result.seen, result.at_s)
            return result.at_s
        for kind in self._schedule.due(due_s):
            self._send(kind, due_s)
        return due_s

    def _send(self, kind: ProbeKind, now_s: float) -> None:
        outcome, rtt_s = self._answer(kind, now_s)
        self._sent += 1
        seen = Seen(at_s=now_s, kind=kind, outcome=outcome, rtt_s=rtt_s)
        heapq.heappush(self._results, _Result(now_s + rtt_s, self._sent, seen))

    def _answer(self, kind: ProbeKind, now_s: float) -> tuple[Outcome, float]:
        plight = self._plight
        missed = (Outcome.TIMED_OUT, self._timeout_s)
        on = now_s < plight.start_s + plight.length_s
        loss = plight.loss if on and plight.effect is Effect.LOSS else plight.background
        forced = self._forced(kind)
        if forced if forced is not None else self._chance.random() < miss_chance(kind, loss):
            return missed
        if not on or plight.effect is Effect.LOSS:
            return Outcome.ANSWERED, RTT_S
        if plight.effect is Effect.CUT:
            return missed
        if plight.effect is Effect.PAUSE:
            held_s = plight.start_s + plight.length_s - now_s + RTT_S
            return (Outcome.ANSWERED, held_s) if held_s <= self._timeout_s else missed
        if kind is ProbeKind.ICMP:
            return Outcome.ANSWERED, RTT_S
        return (Outcome.REFUSED, RTT_S) if plight.effect is Effect.REFUSE else missed

    def _forced(self, kind: ProbeKind) -> bool | None:
        """Whether an opening says what becomes of this probe."""
        if self._opening is None:
            return None
        if self._sent == 0:
            return True  # the opening's own kind is asked first
        if self._suspicion.episode is None and self._asked == dict.fromkeys(PACKETS, 0):
            return None
        number = self._asked[kind]
        self._asked[kind] += 1
        said = self._opening.missed.get(kind, ())
        return said[number] if number < len(said) else None

    def _take(self, seen: Seen, now_s: float) -> None:
        before = self._suspicion.episode
        self._suspicion = take_in(self._suspicion, seen)
        self._repace(now_s)
        episode = self._suspicion.episode
        if episode is None:
            return
        if before is None:
            self._weigh_from_s = episode.began_at_s + self._shortest_patience_s()
        if now_s < self._weigh_from_s:
            return
        if seen.kind is not ProbeKind.ICMP and seen.outcome is Outcome.ANSWERED:
            return
        while self._open:
            # The bar is lower for a higher rate: when that is not convinced, none is.
            found = weigh(self._suspicion, now_s, false_takeovers_per_year=self._open[0])
            if found is None or not found.convincing:
                return
            self._done[self._open.pop(0)] = Played(
                suspicion=replace(self._suspicion, episode=None), convinced_after_s=now_s - self._plight.start_s
            )

    def _shortest_patience_s(self) -> float:
        """Of any open rate and sort; the millisecond less because time watched, which shortens it, goes on."""
        normal, rate = self._suspicion.normal, self._open[0]
        return min(patience_s(normal, death, false_takeovers_per_year=rate) for death in Death) - 0.001

    def _repace(self, now_s: float, *, first: bool = False) -> None:
        """As Watcher.repace: the rates of this moment, at once when they rise."""
        episode = self._suspicion.episode
        suspected_for_s = None if episode is None else now_s - episode.began_at_s
        self._timeout_s = pace.timeout_s(RTT, suspected_for_s=suspected_for_s)
        for kind in PACKETS:
            every_s = pace.every_s(kind, close=True, suspected_for_s=suspected_for_s)
            before = self._rates.get(kind)
            if before == every_s:
                continue
            self._rates[kind] = every_s
            opens = first and self._opening is not None and self._opening.kind is kind
            self._schedule.put(kind, every_s, now_s, at_once=opens or (before is not None and every_s < before))
