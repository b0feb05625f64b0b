"""Plays one thing that happens to a watched load balancer, probe by probe, in simulated time. Pure.

The real schedule (look/schedule.py), the real rates and timeouts (pace.py), the real evidence (suspect.py): nothing
of the decision is written twice. Only what the probes meet is a model:

- a ping is lost by the path's loss p; an HTTP probe is missed when one of 8 packets is lost, an HTTPS probe of 12
  (no retransmission saves it: within its timeout there is seldom time for one);
- CUT loses what is sent meanwhile; PAUSE holds it back (the hypervisor queues it) and answers at its end, which is a
  miss for what has timed out by then; LOSS has a loss of its own; HANG answers pings, and takes connections to which
  nothing is said; REFUSE refuses connections, and so does GONE, whose agent is known not to run.

Weighed after every ping and every miss of the service, at least every 50 ms in a burst (the agent ticks every 100 ms),
from the end of patience on: before it no evidence can convince, and is not added up.
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
from backstay.failover.suspect import (
    OUTAGE_S,
    PACKETS,
    PACKETS_AFTER_CONNECT,
    hear_of_agent,
    patience_s,
    sort,
    take_in,
    unlearn_death,
    weigh,
)
from backstay.look.model import Outcome, ProbeKind
from backstay.look.schedule import Schedule

KINDS = (ProbeKind.ICMP, ProbeKind.HTTP, ProbeKind.HTTPS)  # that a load balancer with HTTPS is asked by
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
    GONE = "gone"


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

    Whoever is convinced has taken over, and sees the old holder come back (by the burst's resolution, not by that of a
    probe a second, which it would have); what that teaches is `unlearn_death`'s. Then people move the address back and
    rearm. Of a death that never ends nothing is learnt.
    """
    return _Play(suspicion, plight, rates, chance, opening).run()


def miss_chance(kind: ProbeKind, loss: float) -> float:
    return 1.0 - (1.0 - loss) ** PACKETS[kind]


def _connected_if_missed(kind: ProbeKind, loss: float) -> float:
    """The chance that a missed probe lost its packet after TCP's handshake."""
    if kind is ProbeKind.ICMP or loss == 0.0:
        return 0.0
    after = PACKETS_AFTER_CONNECT[kind]
    return (1.0 - loss) ** (PACKETS[kind] - after) * (1.0 - (1.0 - loss) ** after) / miss_chance(kind, loss)


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
        self._convinced: dict[float, float] = {}  # rate -> after how long; what it learns is still to come
        self._timeout_s = 0.0
        self._patience_s: dict[tuple[Death, float], float] = {}  # of this episode
        self._rates: dict[ProbeKind, float] = {}
        self._results: list[_Result] = []
        self._sent = 0
        self._asked = dict.fromkeys(KINDS, 0)  # since the opening

    def run(self) -> dict[float, Played]:
        start_s = self._plight.start_s
        dead = math.isinf(self._plight.length_s)
        end_s = start_s + (0.0 if dead else self._plight.length_s)
        # In whichever moment of the second it strikes; an opening strikes when a probe is sent.
        self._repace(start_s if self._opening else start_s - pace.HOLDER_S * self._chance.random(), first=True)
        while self._open or (self._convinced and not dead):
            now_s = self._step()
            if now_s > end_s + LIMIT_S:
                break
            if not dead and now_s >= end_s and self._suspicion.episode is None and not self._results:
                break
        self._settle()
        left = replace(self._suspicion, episode=None)
        return self._done | {rate: Played(suspicion=left, convinced_after_s=None) for rate in self._open}

    def _settle(self) -> None:
        """Who was convinced has seen what there was to see."""
        known = replace(self._suspicion, episode=None)
        if self._suspicion.episode is None:
            known = replace(known, normal=unlearn_death(known.normal, self._plight.start_s))
        for rate, after_s in self._convinced.items():
            self._done[rate] = Played(suspicion=known, convinced_after_s=after_s)
        self._convinced.clear()

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
        outcome, rtt_s, connected = self._answer(kind, now_s)
        self._sent += 1
        seen = Seen(at_s=now_s, kind=kind, outcome=outcome, rtt_s=rtt_s, connected=connected)
        heapq.heappush(self._results, _Result(now_s + rtt_s, self._sent, seen))

    def _answer(self, kind: ProbeKind, now_s: float) -> tuple[Outcome, float, bool]:
        """Outcome, time until it is known, and whether the host took the connection."""
        plight = self._plight
        on = plight.start_s <= now_s < plight.start_s + plight.length_s
        loss = plight.loss if on and plight.effect is Effect.LOSS else plight.background
        forced = self._forced(kind)
        if forced if forced is not None else self._chance.random() < miss_chance(kind, loss):
            lossy = not on or plight.effect is Effect.LOSS
            connected = lossy and self._chance.random() < _connected_if_missed(kind, loss)
            return Outcome.TIMED_OUT, self._timeout_s, connected
        if not on or plight.effect is Effect.LOSS:
            return Outcome.ANSWERED, RTT_S, True
        if plight.effect is Effect.CUT:
            return Outcome.TIMED_OUT, self._timeout_s, False
        if plight.effect is Effect.PAUSE:
            held_s = plight.start_s + plight.length_s - now_s + RTT_S
            answered = held_s <= self._timeout_s
            return (Outcome.ANSWERED, held_s, True) if answered else (Outcome.TIMED_OUT, self._timeout_s, False)
        if kind is ProbeKind.ICMP:
            return Outcome.ANSWERED, RTT_S, True
        if plight.effect is Effect.HANG:
            return Outcome.TIMED_OUT, self._timeout_s, True
        return Outcome.REFUSED, RTT_S, False

    def _forced(self, kind: ProbeKind) -> bool | None:
        """Whether an opening says what becomes of this probe."""
        if self._opening is None:
            return None
        if self._sent == 0:
            return True  # the opening's own kind is asked first
        if self._suspicion.episode is None and self._asked == dict.fromkeys(KINDS, 0):
            return None
        number = self._asked[kind]
        self._asked[kind] += 1
        said = self._opening.missed.get(kind, ())
        return said[number] if number < len(said) else None

    def _take(self, seen: Seen, now_s: float) -> None:
        before = self._suspicion.episode
        self._suspicion = take_in(self._suspicion, seen)
        if self._plight.effect is Effect.GONE:
            self._suspicion = hear_of_agent(self._suspicion, gone=True)
        self._repace(now_s)
        episode = self._suspicion.episode
        if episode is None:
            if before is not None:
                self._settle()
            return
        if before is None:
            self._patience_s.clear()
        if now_s - episode.began_at_s > OUTAGE_S:
            self._settle()  # its end teaches nothing
        if seen.kind is not ProbeKind.ICMP and seen.outcome is Outcome.ANSWERED:
            return
        # The bar is lower for a higher rate: when that is not convinced, none is.
        while self._open and now_s >= episode.began_at_s + self._least_patience_s(sort(episode), self._open[0]):
            found = weigh(self._suspicion, now_s, false_takeovers_per_year=self._open[0])
            if found is None or not found.convincing:
                return
            self._convinced[self._open.pop(0)] = now_s - self._plight.start_s

    def _least_patience_s(self, death: Death, rate: float) -> float:
        """The millisecond less because time watched, which shortens it, goes on."""
        if (death, rate) not in self._patience_s:
            known_s = patience_s(self._suspicion.normal, death, false_takeovers_per_year=rate)
            self._patience_s[death, rate] = known_s - 0.001
        return self._patience_s[death, rate]

    def _repace(self, now_s: float, *, first: bool = False) -> None:
        """As Watcher.repace: the rates of this moment, at once when they rise."""
        episode = self._suspicion.episode
        suspected_for_s = None if episode is None else now_s - episode.began_at_s
        self._timeout_s = pace.timeout_s(RTT, doubled=episode is not None and not episode.mute)
        for kind in KINDS:
            every_s = pace.every_s(kind, close=True, suspected_for_s=suspected_for_s)
            before = self._rates.get(kind)
            if before == every_s:
                continue
            self._rates[kind] = every_s
            opens = first and self._opening is not None and self._opening.kind is kind
            bursts = before is not None and every_s < before
            phase = pace.PHASE[kind] if every_s == pace.HOLDER_S else None
            self._schedule.put(kind, every_s, now_s, at_once=opens or bursts, phase=phase)
