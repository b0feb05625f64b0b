"""Watches candidates: probes in, suspicion out. One watcher for all addresses of an agent.

    Prober -> look.shell.Watch (rates of pace.py) -> take_in -> Suspicion of each candidate

Beside the candidates it asks the gateway (a reference point: does anybody answer us?) and this machine's own engine.
When this process itself stood still, everything that was suspected meanwhile is dropped: the silence was ours.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field, replace
from pathlib import Path

from backstay.failover import pace
from backstay.failover.model import Death, Seen, Silence, Suspicion
from backstay.failover.suspect import hear_of_agent, learn_silence, patience_s, take_in, unlearn_death
from backstay.look.model import Observation, Outcome, ProbeKind, Target
from backstay.look.ports import Prober
from backstay.look.shell import Watch

GATEWAY = "(gateway)"  # no node's name: it is no DNS label
TICK_S = 0.1
PAUSE_S = 0.5  # a tick this late: the process, or the machine, stood still
JUST_NOW_S = 2.0
SEEN_KEPT = 120  # a target, for people
ROUTES = Path("/proc/net/route")

Key = tuple[str, ProbeKind]


@dataclass(slots=True)
class Asked:
    """One kind of probe to one candidate."""

    target: Target
    rtt: pace.Rtt | None = None
    last: Seen | None = None
    answered_at_s: float | None = None  # when the last probe that was answered was sent
    detail: str = ""
    seen: deque[Seen] = field(default_factory=lambda: deque(maxlen=SEEN_KEPT))


class Watcher:
    def __init__(self, prober: Prober, me: str, now_s: Callable[[], float], noticed: Callable[[], None]) -> None:
        """`noticed` is called when there may be something to decide."""
        self._me = me
        self._now_s = now_s
        self._noticed = noticed
        self._watch: Watch[Key] = Watch(prober, self._seen, salt=f"failover/{me}")
        self._rates: dict[Key, tuple[Target, float, float]] = {}
        self._holders: frozenset[str] = frozenset()
        self.asked: dict[Key, Asked] = {}
        self.suspicions: dict[str, Suspicion] = {}
        self.paused_at_s: float | None = None
        self.pauses = 0
        self.sent = 0  # probes, since the start

    # --- who is watched ------------------------------------------------------------------------------------------

    def follow(self, wanted: Mapping[str, Mapping[ProbeKind, Target]], gateway: str | None) -> None:
        """Watch these candidates (this machine among them, for its own engine) and the gateway."""
        keys = {(node, kind): target for node, kinds in wanted.items() for kind, target in kinds.items()}
        if gateway:
            keys[GATEWAY, ProbeKind.ICMP] = Target(kind=ProbeKind.ICMP, address=gateway)
        for key in self.asked.keys() - keys.keys():
            self._watch.remove(key)
            del self.asked[key]
            self._rates.pop(key, None)
        for gone in self.suspicions.keys() - wanted.keys():
            del self.suspicions[gone]
        for key, target in keys.items():
            known = self.asked.get(key)
            if known is None:
                self.asked[key] = Asked(target=target)
            elif known.target != target:
                known.target = target
        for node in wanted:
            self.suspicions.setdefault(node, Suspicion())
        self.repace()

    def attend(self, holders: Set[str]) -> None:
        """These hold an address now: they are watched closely."""
        if self._holders != holders:
            self._holders = frozenset(holders)
            self.repace()

    def suspected_for_s(self) -> float | None:
        """How long a holder has been suspected."""
        now_s = self._now_s()
        return max(
            (
                now_s - episode.began_at_s
                for node in self._holders - {self._me}
                if node in self.suspicions and (episode := self.suspicions[node].episode) is not None
            ),
            default=None,
        )

    def repace(self) -> None:
        """Give every target the rate and the timeout of this moment."""
        suspected_for_s = self.suspected_for_s()
        for key, asked in self.asked.items():
            node, kind = key
            # Whoever does not answer, this machine's own engine too, is looked at closely: its return is to be known.
            suspicion = self.suspicions.get(node)
            close = node in self._holders or (suspicion is not None and suspicion.episode is not None)
            rate_s = pace.every_s(kind, close=close, suspected_for_s=suspected_for_s)
            # To the centisecond, so that a little more experience is no new plan.
            wait_s = round(pace.timeout_s(asked.rtt, doubled=suspected_for_s is not None and not _takes(suspicion)), 2)
            plan = (asked.target, rate_s, wait_s)
            before = self._rates.get(key)
            if before == plan:
                continue
            bursts = suspected_for_s is not None and before is not None and rate_s < before[1]
            self._rates[key] = plan
            phase = pace.PHASE[kind] if rate_s == pace.HOLDER_S else None
            at_once = bursts or before is None
            self._watch.put(key, asked.target, every_s=rate_s, timeout_s=wait_s, at_once=at_once, phase=phase)

    # --- what is seen --------------------------------------------------------------------------------------------

    def _seen(self, key: Key, observation: Observation) -> None:
        asked = self.asked.get(key)
        if asked is None:
            return
        self.sent += 1
        node, kind = key
        # By the clock that is not stepped, not by the observation's wall time.
        seen = Seen(
            at_s=self._now_s() - observation.rtt_s,
            kind=kind,
            outcome=observation.outcome,
            rtt_s=observation.rtt_s,
            connected=observation.connected,
        )
        if self.paused_at_s is not None and seen.at_s < self.paused_at_s:
            return  # asked before we stood still: what became of it is not the target's doing
        if seen.outcome is not Outcome.NOT_SENT and (asked.last is None or seen.at_s >= asked.last.at_s):
            asked.last, asked.detail = seen, observation.detail
        asked.seen.append(seen)
        if seen.outcome is Outcome.ANSWERED:
            asked.rtt = pace.take_rtt(asked.rtt, seen.rtt_s)
            asked.answered_at_s = max(seen.at_s, asked.answered_at_s or seen.at_s)
        if node not in self.suspicions:
            return
        before, served = self.suspicions[node], self.served(node)
        after = self.suspicions[node] = take_in(before, seen)
        if not served and after.normal.silences != before.normal.silences:
            # It was starting.
            self.suspicions[node] = replace(after, normal=replace(after.normal, silences=before.normal.silences))
        if (before.episode is None) != (after.episode is None):
            self.repace()
        if after.episode is not None or before.episode is not None:
            self._noticed()

    def hear_of_agent(self, node: str, *, gone: bool) -> None:
        """Whether the agent of `node` runs; asked just now."""
        if node in self.suspicions:
            self.suspicions[node] = hear_of_agent(self.suspicions[node], gone=gone)
            self._noticed()

    def answered_since(self, node: str, since_s: float) -> bool:
        """Did `node` answer any probe that was sent at `since_s` or later?"""
        return any(
            known.answered_at_s is not None and known.answered_at_s >= since_s
            for (asked, _), known in self.asked.items()
            if asked == node
        )

    def served(self, node: str) -> bool:
        """Did its service (its host, where it has none) ever answer since this watch began?"""
        kinds = {kind for name, kind in self.asked if name == node}
        wanted = kinds - {ProbeKind.ICMP} or kinds
        return any(kind in self.suspicions[node].seen_at_s for kind in wanted)

    def serves(self, node: str) -> bool:
        """Did its service (its host, where it has none) answer when it was asked last, by every kind?"""
        asked = {kind: one.last for (name, kind), one in self.asked.items() if name == node}
        wanted = asked.keys() - {ProbeKind.ICMP} or asked.keys()
        return all(one is not None and one.outcome is Outcome.ANSWERED for one in (asked[kind] for kind in wanted))

    def begin_anew(self, node: str) -> None:
        """`node` holds an address from now on: what was suspected of it before is over."""
        known = self.suspicions.get(node)
        if known is not None and known.episode is not None:
            self.suspicions[node] = replace(known, episode=None)
            self.repace()

    def unlearn_death(self, node: str) -> None:
        """The silence that ended just now had convinced."""
        known = self.suspicions[node]
        self.suspicions[node] = replace(known, normal=unlearn_death(known.normal, self._now_s() - JUST_NOW_S))

    def learn_false_alarm(self, node: str, death: Death, silent_s: float) -> None:
        """A person has found that a silence of `node`, at least so long, was no death though it had convinced."""
        known = self.suspicions.get(node)
        if known is not None:
            silence = Silence(death=death, ended_at_s=self._now_s(), duration_s=silent_s)
            self.suspicions[node] = replace(known, normal=learn_silence(known.normal, silence))

    def patience_s(self, node: str, death: Death, false_takeovers_per_year: float) -> float:
        """How long such a silence of `node` must last now."""
        known = self.suspicions.get(node, Suspicion())
        return patience_s(known.normal, death, false_takeovers_per_year=false_takeovers_per_year)

    def nodes(self) -> frozenset[str]:
        return frozenset(node for node, _ in self.asked)

    # --- running ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Probe until cancelled. Raises what ended it."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch.run())
            tasks.create_task(self._tick())

    async def _tick(self) -> None:
        before_s = self._now_s()
        while True:
            await asyncio.sleep(TICK_S)
            now_s = self._now_s()
            if now_s - before_s > TICK_S + PAUSE_S:
                self.stood_still(now_s)
            before_s = now_s
            self.repace()
            self._noticed()

    def stood_still(self, now_s: float) -> None:
        """This process was paused until now: begin all suspicion anew."""
        self.paused_at_s = now_s
        self.pauses += 1
        self.suspicions = {
            node: replace(suspicion, episode=None) if suspicion.episode else suspicion
            for node, suspicion in self.suspicions.items()
        }


def _takes(suspicion: Suspicion | None) -> bool:
    """It takes connections and then says nothing."""
    return suspicion is not None and suspicion.episode is not None and bool(suspicion.episode.mute)


def default_gateway(routes: Path = ROUTES) -> str | None:
    """The IPv4 gateway of the default route (proc(5): hexadecimal, in the machine's byte order); None without one."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in routes.read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if fields[1] == "00000000" and int(fields[3], 16) & 0x2:  # RTF_GATEWAY
                return ".".join(str(byte) for byte in int(fields[2], 16).to_bytes(4, "little"))
    return None
