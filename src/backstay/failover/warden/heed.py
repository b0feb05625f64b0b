"""Heeds what the watcher sees: suspicion is journaled, and people are told when the holder is dead and nobody acts."""

from __future__ import annotations

from backstay.failover.known import Trace
from backstay.failover.model import Decision, Evidence, Stay, View
from backstay.failover.pages import STUCK, evidence_in_words
from backstay.failover.standpoint import FRESH_S
from backstay.failover.warden.desk import Desk

STUCK_S = 15.0  # a dead holder and nobody acts: people are told
TRACE_KEPT = 240
TRACE_EVERY_S = 0.05


class Heed:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._alone = False
        self._silent: frozenset[str] = frozenset()
        self._pauses = desk.hands.watcher.pauses
        self._stuck_of: str | None = None  # the dead holder that nobody replaces
        self._stuck_told = False
        self._filtered: set[str] = set()
        self.suspected: str | None = None  # the holder that fell silent, while it is

    # --- suspicion, told -------------------------------------------------------------------------------------------

    def follow_suspicion(self, now_s: float) -> bool:
        """Journal what begins and ends, and look closer when it does. True when a suspicion has just ended."""
        desk, holder = self._desk, self._desk.holder
        found = desk.evidence_of(holder) if holder and holder != desk.me else None
        ended = False
        if found is not None and holder is not None:
            self._trace(holder, found, now_s)
        if found is not None and self.suspected is None:
            self.suspected = holder
            desk.known.traces.clear()
            desk.pen("ip.suspected", f"{holder} missed a probe of its service")
            desk.soon(now_s)
        elif found is None and self.suspected is not None:
            if holder == self.suspected:
                desk.pen("ip.cleared", f"{holder} answers again")
            self.suspected = None
            ended = True
        self._follow_filters()
        return ended

    def _follow_filters(self) -> None:
        desk = self._desk
        for name, suspicion in desk.hands.watcher.suspicions.items():
            filtered = suspicion.icmp_only_since_s is not None and name != desk.me
            if filtered and name not in self._filtered and name in desk.declared.candidates:
                self._filtered.add(name)
                desk.pen("ip.icmp_filtered", f"{name} answers HTTP, and no ping: a filter, no death")
            elif not filtered:
                self._filtered.discard(name)

    def _trace(self, of: str, evidence: Evidence, now_s: float) -> None:
        traces = self._desk.known.traces
        if traces and traces[-1].of == of and now_s - traces[-1].at_s < TRACE_EVERY_S:
            return
        traces.append(Trace(at_s=now_s, of=of, evidence=evidence))
        del traces[:-TRACE_KEPT]

    # --- ourselves -------------------------------------------------------------------------------------------------

    def follow_ourselves(self, now_s: float) -> None:
        """When we come back, from a pause or to the network, what was ours may not be ours any more."""
        desk, watcher = self._desk, self._desk.hands.watcher
        others = watcher.nodes() - {desk.me}
        alone = bool(others) and not any(watcher.answered_since(node, now_s - 2 * FRESH_S) for node in others)
        silent = frozenset(n for n, known in watcher.suspicions.items() if known.episode is not None)
        if watcher.pauses != self._pauses or (self._alone and not alone):
            desk.soon(now_s)
        elif desk.memory.held and self._silent - silent:
            # They are back, or we are. Whoever comes and goes has us ask the provider no more often than this.
            asked_s = desk.known.owner_at_s or 0.0
            desk.known.owner_due_s = min(desk.known.owner_due_s, max(now_s, asked_s + FRESH_S))
        self._pauses, self._alone, self._silent = watcher.pauses, alone, silent

    # --- nobody acts -----------------------------------------------------------------------------------------------

    def say_when_stuck(self, view: View, decision: Decision, now_s: float) -> None:
        """The holder is dead and a candidate may not act: people are told, once.

        STUCK_S count from the first time that it was so until the holder answers: evidence may waver, and a pause of
        our own drops all suspicion.
        """
        desk, known = self._desk, self._desk.known
        evidence = view.evidence.get(view.owner) if view.owner else None
        reason = decision.reason if isinstance(decision, Stay) else None
        if view.owner != self._stuck_of or (view.owner and desk.hands.watcher.serves(view.owner)):
            self._stuck_of, self._stuck_told, known.stuck_since_s = view.owner, False, None
        if evidence is None or not evidence.convincing or reason not in STUCK:
            return
        if known.stuck_since_s is None:
            known.stuck_since_s = now_s
        if now_s - known.stuck_since_s >= STUCK_S and not self._stuck_told:
            self._stuck_told = True
            data = {"reason": reason, "holder": view.owner}
            event = desk.pen("ip.stuck", f"{desk.me} does not take over: {STUCK[reason]}", data=data)
            desk.hands.page(desk.pages.stuck(event, desk.wall(), view.owner, reason, evidence_in_words(evidence)))
