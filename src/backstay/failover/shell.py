"""One address on one candidate: look, suspect, decide, journal, assign, verify. The only place that acts.

    turn      decide on what is known now; called at every answer and every tick
    reading   the provider's word: on a schedule, and at once when something is amiss
    taking    journal and disk first, then the provider (which compares before it routes), then the address itself

A crash at any line: `taking` is on disk before the provider is called, and the provider's word, read again after the
start, says what became of it. At most one call of this candidate is under way (`_work`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from datetime import datetime

import structlog

from backstay.failover import memory as kept
from backstay.failover import standpoint
from backstay.failover.decide import decide_takeover
from backstay.failover.handover import HandoverFailed
from backstay.failover.known import Declared, Hands, Known, Trace
from backstay.failover.memory import Memory, Quarantined, Taking
from backstay.failover.model import (
    Decision,
    Evidence,
    Normal,
    Quarantine,
    Stay,
    TakeOver,
    View,
)
from backstay.failover.pages import STUCK, Pages, evidence_in_words
from backstay.failover.ports import (
    Assigned,
    IpProvider,
    Owner,
    OwnerChanged,
    ProviderDenied,
    ProviderError,
    ProviderUnreachable,
)
from backstay.failover.standpoint import FRESH_S, OWNER_EVERY_S

OWNER_SOON_S = 2.0  # between two reads while something is amiss
OWNER_TIMEOUT_S = 4.0
ASSIGN_TIMEOUT_S = 120.0  # SoftLayer takes up to a minute, and may be moving it already
RETRY_S = (0.5, 1.0, 2.0, 5.0, 15.0)
PEERS_EVERY_S = 5.0
VERIFY_FOR_S = 15.0
VERIFY_EVERY_S = 0.3
BOOT_S = 180.0
STUCK_S = 15.0  # a dead holder and nobody acts: people are told
SAVE_EVERY_S = 60.0  # what is learnt of others; whatever decides is saved at once
TRACE_KEPT = 240

log = structlog.get_logger()


class MoveRefused(Exception):
    """A planned move, a rearm or a freeze that cannot be: why, what next."""


class Warden:
    def __init__(self, me: str, declared: Declared, hands: Hands) -> None:
        self.me = me
        self.declared = declared
        self.hands = hands
        self.known = Known()
        self._subject = f"ip/{declared.name}"
        self._pages = Pages(ip=declared.name, me=me)
        self.memory, fault = hands.keep.load(self.now_s())
        if fault:
            hands.pen("ip.memory_damaged", self._subject, fault)
        # After a boot of this machine the others may be booting too; after a mere restart of the agent they are not.
        booted = self.now_s() < BOOT_S
        self.known_before = frozenset(n for n, normal in self.memory.normal.items() if normal.watched_s and not booted)
        self._normal_to_watcher()
        self._work: asyncio.Task[object] | None = None  # a takeover or a planned move
        self._aside: set[asyncio.Task[object]] = set()  # reads, verifications, peers
        self._reading = False
        self._asking = False
        self._peers_due_s = 0.0
        self._saved_s = self.now_s()
        self._unsaved = False
        self._attempts = 0
        self._not_before_s = 0.0
        self._failing: tuple[Taking, str] | None = None  # what does not come about, and what the provider says
        self._failing_since_s = 0.0
        self._failure_told = False
        self._alone = False
        self._silent: frozenset[str] = frozenset()
        self._pauses = hands.watcher.pauses
        self._stuck_told: str | None = None
        self._filtered: set[str] = set()
        self._suspected: str | None = None

    # --- time ----------------------------------------------------------------------------------------------------

    def now_s(self) -> float:
        """Of the clock that is never stepped."""
        return self.hands.clock().boottime_s

    def _wall(self) -> datetime:
        """UTC, for people."""
        return self.hands.clock().wall

    def redeclare(self, declared: Declared, provider: IpProvider) -> None:
        """The estate says something else from now on."""
        self.declared = declared
        self.hands = replace(self.hands, provider=provider)

    # --- a turn --------------------------------------------------------------------------------------------------

    def turn(self) -> None:
        """Decide on what is known now, and begin what follows from it."""
        now_s = self.now_s()
        self._follow_suspicion(now_s)
        self._follow_ourselves(now_s)
        self._read_when_due(now_s)
        self._ask_peers_when_due(now_s)
        self._write_when_due(now_s)
        view = standpoint.view_of(self)
        decision = decide_takeover(view, self.me, now_s)
        self.known.decision = decision
        self._say_when_stuck(view, decision, now_s)
        if isinstance(decision, Quarantine):
            self._lost()
        elif isinstance(decision, TakeOver) and now_s >= self._not_before_s:
            self._begin(decision)

    def evidence_of(self, name: str) -> Evidence | None:
        """None while it answers."""
        return standpoint.evidence_of(self, name)

    @property
    def busy(self) -> bool:
        return self._work is not None and not self._work.done()

    # --- suspicion, told -------------------------------------------------------------------------------------------

    def _follow_suspicion(self, now_s: float) -> None:
        """Journal what begins and ends, and look closer when it does."""
        holder = self.known.owner.holder if self.known.owner else None
        found = self.evidence_of(holder) if holder and holder != self.me else None
        if found is not None and holder is not None:
            self._trace(holder, found, now_s)
        if found is not None and self._suspected is None:
            self._suspected = holder
            self.known.traces.clear()
            self.hands.pen("ip.suspected", self._subject, f"{holder} missed a probe of its service")
            self._soon(now_s)
        elif found is None and self._suspected is not None:
            if holder == self._suspected:
                self.hands.pen("ip.cleared", self._subject, f"{holder} answers again")
            self._suspected = None
            self._attempts, self._not_before_s = 0, 0.0
            self._failing, self._failure_told = None, False
        for name, suspicion in self.hands.watcher.suspicions.items():
            filtered = suspicion.icmp_only_since_s is not None and name != self.me
            if filtered and name not in self._filtered and name in self.declared.candidates:
                self._filtered.add(name)
                self.hands.pen(
                    "ip.icmp_filtered", self._subject, f"{name} answers HTTP, and no ping: a filter, no death"
                )
            elif not filtered:
                self._filtered.discard(name)

    def _follow_ourselves(self, now_s: float) -> None:
        """When we come back, from a pause or to the network, what was ours may not be ours any more."""
        watcher = self.hands.watcher
        others = watcher.nodes() - {self.me}
        alone = bool(others) and not any(watcher.answered_since(node, now_s - 2 * FRESH_S) for node in others)
        silent = frozenset(n for n, known in watcher.suspicions.items() if known.episode is not None)
        back = bool(self._silent - silent) and now_s - (self.known.owner_at_s or 0.0) >= FRESH_S
        if watcher.pauses != self._pauses or (self._alone and not alone) or (self.memory.held and back):
            self._soon(now_s)
        self._pauses, self._alone, self._silent = watcher.pauses, alone, silent

    def _trace(self, of: str, evidence: Evidence, now_s: float) -> None:
        traces = self.known.traces
        if traces and traces[-1].of == of and now_s - traces[-1].at_s < 0.05:
            return
        traces.append(Trace(at_s=now_s, of=of, evidence=evidence))
        del traces[:-TRACE_KEPT]

    def _soon(self, now_s: float) -> None:
        """Read the owner and ask the others now, not when their turn comes."""
        self.known.owner_due_s = min(self.known.owner_due_s, now_s)
        self._peers_due_s = now_s

    def _say_when_stuck(self, view: View, decision: Decision, now_s: float) -> None:
        """The holder is dead and the address does not move: people are told, once."""
        if self._failing and not self._failure_told and now_s - self._failing_since_s >= STUCK_S:
            self._failure_told = True
            self.hands.page(self._pages.failing(self._wall(), *self._failing))
        evidence = view.evidence.get(view.owner) if view.owner else None
        reason = decision.reason if isinstance(decision, Stay) else None
        if evidence is None or not evidence.convincing or reason not in STUCK:
            self.known.stuck_since_s = None
            if evidence is None:
                self._stuck_told = None
            return
        if self.known.stuck_since_s is None:
            self.known.stuck_since_s = now_s
        if now_s - self.known.stuck_since_s >= STUCK_S and self._stuck_told != view.owner:
            self._stuck_told = view.owner
            why = evidence_in_words(evidence)
            event = self.hands.pen(
                "ip.stuck",
                self._subject,
                f"{self.me} does not take over: {STUCK[reason]}",
                data={"reason": reason, "holder": view.owner},
            )
            self.hands.page(self._pages.stuck(event, self._wall(), view.owner, reason, why))

    # --- the provider's word ---------------------------------------------------------------------------------------

    def _read_when_due(self, now_s: float) -> None:
        if now_s < self.known.owner_due_s or self._reading or self.busy:
            return
        self._reading = True
        self._spawn(self._read())

    async def _read(self) -> None:
        known, asked_s = self.known, self.now_s()
        wait_s = OWNER_EVERY_S
        try:
            owner = await self.hands.provider.owner(self.declared.address, timeout_s=OWNER_TIMEOUT_S)
        except ProviderError as error:
            if not known.owner_error:
                self.hands.pen("ip.owner_unknown", self._subject, str(error))
            known.owner_error = str(error)
            wait_s = max(OWNER_SOON_S, error.retry_after_s or 0.0)
        else:
            known.owner_error = ""
            known.owner_at_s, known.owner_at = asked_s, self.hands.clock().wall
            if not self.busy:  # a takeover that began meanwhile knows better
                self._heard(owner)
            if self._suspected is not None or owner.moving or self.memory.taking or self.memory.expected:
                wait_s = OWNER_SOON_S
        finally:
            self._reading = False
        known.owner_due_s = self.now_s() + wait_s

    def _heard(self, owner: Owner) -> None:
        """Take in the provider's word; finish what a crash interrupted."""
        before = self.known.owner
        self.known.owner = owner
        if owner.holder is None:
            self.known.nobody_since_s = self.known.nobody_since_s or self.now_s()
        else:
            self.known.nobody_since_s = None
        if before is not None and before.holder != owner.holder:
            if owner.holder is not None:
                self.hands.watcher.begin_anew(owner.holder)
                self.known.dead_since_s.pop(owner.holder, None)
            self.hands.pen(
                "ip.moved", self._subject, f"from {before.holder or 'nobody'} to {owner.holder or 'nobody'}",
                data={"owner": owner.holder},
            )  # fmt: skip
        if owner.moving:
            return
        taking = self.memory.taking
        if owner.holder == self.me and taking is not None:
            self._arrived(taking, calls=0, took_s=0.0)
        elif owner.holder == self.me and not self.memory.held:
            self._keep(kept.arrived(self.memory))
        elif taking is not None and owner.holder != self.me:
            self.hands.pen("ip.takeover_abandoned", self._subject, "the provider says that it did not come about",
                           data={"owner": owner.holder}, cause=taking.id)  # fmt: skip
            self._keep(kept.abandoned(self.memory))
        self._follow_expected(owner)

    def _follow_expected(self, owner: Owner) -> None:
        """A move that a person announced has come, or has not come in time."""
        memory, reading = self.memory, self.hands.clock()
        if memory.expected is None:
            return
        if kept.expects(memory, reading, owner.holder):
            self._keep(kept.handed_over(memory) if memory.held else kept.settled(memory))
            if memory.held:
                self.hands.pen("ip.handed_over", self._subject, f"a person moved it to {owner.holder}: no quarantine")
        elif kept.expected_no_more(memory, reading):
            self._keep(kept.settled(memory))

    # --- the others ------------------------------------------------------------------------------------------------

    def _ask_peers_when_due(self, now_s: float) -> None:
        if now_s < self._peers_due_s or self._asking:
            return
        self._peers_due_s = now_s + PEERS_EVERY_S
        self._asking = True
        self._spawn(self._ask_peers())

    async def _ask_peers(self) -> None:
        others = [name for name in self.declared.candidates if name != self.me]
        try:
            found = await self.hands.peers.standings(self.declared.name, others)
        finally:
            self._asking = False
        # Who does not answer now is as it was: a dead one's quarantine has not ended.
        self.known.standings = {**self.known.standings, **found}

    # --- taking ----------------------------------------------------------------------------------------------------

    def _begin(self, decision: TakeOver) -> None:
        """Journal and disk, then the provider."""
        why = evidence_in_words(decision.evidence)
        data = {"holder": decision.holder, "to": self.me, "attempt": self._attempts + 1, "reason": decision.reason}
        event = self.hands.pen("ip.takeover_started", self._subject, why, data=data)
        taking = Taking(id=event, holder=decision.holder, at=self.hands.clock().wall, planned=False, why=why)
        self._keep(kept.intend(self.memory, taking))
        self._work = asyncio.create_task(self._take(taking))

    async def _take(self, taking: Taking) -> None:
        try:
            assigned = await self._assign(taking)
        except ProviderError as error:
            self._not_taken(taking, error)
        except Exception as error:  # a fault of ours or of a third party's adapter: what was done is not known
            log.exception("an assign failed", ip=self.declared.name)
            self._not_taken(taking, ProviderUnreachable(f"{type(error).__name__}: {error}"))
        else:
            self._arrived(taking, calls=assigned.calls, took_s=assigned.took_s)

    async def _assign(self, taking: Taking) -> Assigned:
        return await self.hands.provider.assign(
            self.declared.address, self.me, expect=taking.holder, timeout_s=ASSIGN_TIMEOUT_S
        )

    def _not_taken(self, taking: Taking, error: ProviderError) -> None:
        """What was done is not known: the owner is read at once, and the decision made anew."""
        now_s = self.now_s()
        changed = isinstance(error, OwnerChanged)
        kind = "ip.takeover_refused" if changed else "ip.takeover_failed"
        self.hands.pen(kind, self._subject, str(error), cause=taking.id)
        self._attempts += 1
        wait_s = RETRY_S[min(self._attempts, len(RETRY_S)) - 1]
        self._not_before_s = now_s + max(wait_s, error.retry_after_s or 0.0)
        self.known.owner_due_s = now_s + (error.retry_after_s or 0.0)
        if not changed and not taking.planned:
            if self._failing is None:
                self._failing_since_s = now_s - (STUCK_S if isinstance(error, ProviderDenied) else 0.0)
            self._failing = (taking, str(error))
        if not isinstance(error, ProviderUnreachable):
            self._keep(kept.abandoned(self.memory))
        # Else `taking` stays until the provider's word is heard: it may have been done.

    def _arrived(self, taking: Taking, *, calls: int, took_s: float) -> None:
        """The provider says that it is done."""
        self.known.owner = Owner(holder=self.me, moving=False)
        self.known.owner_at_s, self.known.owner_at = self.now_s(), self.hands.clock().wall
        self.known.nobody_since_s = None
        self.known.owner_due_s = self.now_s() + OWNER_EVERY_S
        self._attempts, self._not_before_s = 0, 0.0
        self._failing, self._failure_told = None, False
        self._suspected = None
        holder = taking.holder or "nobody"
        data = {"holder": taking.holder, "to": self.me, "calls": calls, "took_s": round(took_s, 3)}
        kind = "ip.moved_by_plan" if taking.planned else "ip.taken"
        self.hands.pen(kind, self._subject, f"from {holder}: {taking.why}", data=data, cause=taking.id)
        if not taking.planned:
            fault = self.hands.keep.fault or self.hands.pen.fault
            self.hands.page(self._pages.taken(self._wall(), taking, calls, took_s, fault))
        # Only now: killed before this line, the next start finds `taking` and does all of it again, under the same key.
        self._keep(kept.arrived(self.memory))
        self._spawn(self._verify(taking))

    async def _verify(self, taking: Taking) -> None:
        """Ask the address itself, through machines to which it is somewhere else; else from here."""
        end_s = self.now_s() + VERIFY_FOR_S
        said = "nobody was asked"
        while self.now_s() < end_s:
            if self.known.owner is None or self.known.owner.holder != self.me:
                return  # it was moved on: whoever has it verifies
            seen = await self.hands.peers.see(self.declared.name, self.declared.witnesses)
            by = [lb for lb, one in seen.items() if one.lb == self.me]
            said = "; ".join(f"{lb}: {one.lb or one.detail}" for lb, one in seen.items())
            own = await self.hands.see() if not seen else None
            if by or (own is not None and own.lb == self.me):
                how = f"seen by {', '.join(by)}" if by else "by this machine's own probe: no other could be asked"
                self.known.verified = how
                self.hands.pen("ip.verified", self._subject, how, cause=taking.id)
                return
            if own is not None:
                said = f"own probe: {own.lb or own.detail}"
            await asyncio.sleep(VERIFY_EVERY_S)
        self.known.verified = f"not verified: {said}"
        self.hands.pen("ip.unverified", self._subject, said, cause=taking.id)
        self.hands.page(self._pages.unverified(self._wall(), taking, said))

    def _lost(self) -> None:
        """Another holds what was mine."""
        owner = self.known.owner.holder if self.known.owner else None
        if kept.expects(self.memory, self.hands.clock(), owner):
            return  # `_heard` hands it over
        what = Quarantined(at=self.hands.clock().wall, owner=owner, why=f"the provider says {owner or 'nobody'}")
        self._keep(kept.lost(self.memory, what))
        event = self.hands.pen(
            "ip.quarantined", self._subject, f"{self.me} lost it to {owner or 'nobody'}", data={"owner": owner}
        )
        self.hands.page(self._pages.quarantined(event, what))

    # --- what people ask for ---------------------------------------------------------------------------------------

    def rearm(self, actor: str, reason: str) -> None:
        """A person has looked at me."""
        event = self.hands.pen("ip.rearmed", self._subject, f"{self.me}: {reason}", actor=actor)
        self._keep(kept.rearmed(self.memory))
        log.info("rearmed", ip=self.declared.name, id=event)
        self._soon(self.now_s())

    def freeze(self, duration_s: float, actor: str, reason: str) -> None:
        """No automatic takeover for so long; 0 ends a freeze. Raises ChangeInvalid for a bad duration."""
        if duration_s == 0:
            self._keep(kept.thaw(self.memory))
            self.hands.pen("ip.thawed", self._subject, reason, actor=actor)
            return
        frozen = kept.freeze(self.memory, self.hands.clock(), duration_s, actor, reason)
        self.hands.pen("ip.frozen", self._subject, reason, actor=actor, data={"for_s": duration_s})
        self._keep(frozen)

    async def expect(self, to: str, actor: str, reason: str) -> None:
        """A person is about to move it to `to`."""
        owner = self.known.owner
        if self.hands.handover is not None and owner is not None and owner.holder == self.me:
            await self._hand_over(self.hands.handover.accept(), f"takes back what {to} passes on")
        self.hands.pen("ip.move_expected", self._subject, f"to {to}: {reason}", actor=actor)
        self._keep(kept.expect(self.memory, self.hands.clock(), to))
        self.known.owner_due_s = self.now_s() + OWNER_SOON_S / 4  # the move itself takes a moment

    async def move_here(self, actor: str, reason: str) -> Assigned:
        """A planned move to me: checked first, then done. Raises MoveRefused."""
        name = self.declared.name
        self._check_move()
        owner = self.known.owner
        assert owner is not None
        old = self.declared.nodes.get(owner.holder) if owner.holder is not None else None
        if self.hands.handover is not None and old is not None:
            await self._hand_over(self.hands.handover.forward(old), f"passes connections of {owner.holder} on to it")
            self._check_move()  # a takeover may have begun meanwhile
        data = {"holder": owner.holder, "to": self.me}
        event = self.hands.pen("ip.move_started", self._subject, reason, actor=actor, data=data)
        taking = Taking(id=event, holder=owner.holder, at=self.hands.clock().wall, planned=True, why=reason)
        self._keep(kept.intend(self.memory, taking))
        work = asyncio.create_task(self._assign(taking))
        self._work = work
        try:
            assigned = await asyncio.shield(work)  # whoever asked may leave; what was begun is finished
        except ProviderError as error:
            self._not_taken(taking, error)
            raise MoveRefused(f"{name} is not moved: {error}") from error
        except asyncio.CancelledError:
            work.add_done_callback(lambda _: self._read_at_once())
            raise
        self._work = None
        self._arrived(taking, calls=assigned.calls, took_s=assigned.took_s)
        return assigned

    async def _hand_over(self, work: Awaitable[None], what: str) -> None:
        """The move goes on without it: what is in flight is cut then, and the journal says so."""
        try:
            await work
        except HandoverFailed as error:
            self.hands.pen("ip.handover_failed", self._subject, str(error))
        else:
            self.hands.pen("ip.handover_ready", self._subject, f"{self.me} {what}")

    def _check_move(self) -> None:
        name, known = self.declared.name, self.known
        if self.busy or self.memory.taking is not None or (known.owner is not None and known.owner.moving):
            raise MoveRefused(f"{name} is being moved already. Look: backstay ip show {name}")
        if known.owner is None:
            raise MoveRefused(f"the provider has not said who holds {name}: {known.owner_error or 'not asked yet'}")
        if self.memory.quarantined is not None:
            raise MoveRefused(f"{self.me} is quarantined. First: backstay ip rearm {name} {self.me} --reason ...")
        if known.owner.holder == self.me:
            raise MoveRefused(f"{self.me} holds {name} already.")
        if not standpoint.fit_for(self, None):
            raise MoveRefused(f"the engine on {self.me} does not answer. Look: backstay status")

    def _read_at_once(self) -> None:
        self.known.owner_due_s = self.now_s()

    # --- memory ----------------------------------------------------------------------------------------------------

    def _keep(self, memory: Memory) -> None:
        """This decides something: on disk before anything follows from it, unless the disk takes nothing."""
        self.memory = memory
        self._save()

    def _save(self) -> None:
        self.memory = replace(self.memory, normal=self._normal_from_watcher())
        fault = self.hands.keep.fault
        self._unsaved = not self.hands.keep.save(self.memory, self.now_s())
        self._saved_s = self.now_s()
        if self._unsaved and not fault:
            log.error("a candidate's memory is not on disk", ip=self.declared.name, fault=self.hands.keep.fault)

    def _write_when_due(self, now_s: float) -> None:
        if now_s - self._saved_s >= (1.0 if self._unsaved else SAVE_EVERY_S):
            self._save()

    def _normal_from_watcher(self) -> dict[str, Normal]:
        watched = self.hands.watcher.suspicions
        return {name: watched[name].normal for name in self.declared.candidates if name != self.me and name in watched}

    def _normal_to_watcher(self) -> None:
        watcher = self.hands.watcher
        for name, normal in self.memory.normal.items():
            known = watcher.suspicions.get(name)
            if known is not None and known.normal.updated_at_s is None:
                watcher.suspicions[name] = replace(known, normal=normal)

    # --- tasks -----------------------------------------------------------------------------------------------------

    def _spawn(self, work: Awaitable[object]) -> None:
        async def guarded() -> None:
            try:
                await work
            except Exception:  # a fault of ours in one question must not end the watch
                log.exception("a failover task failed", ip=self.declared.name)

        task = asyncio.create_task(guarded())
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)

    async def close(self) -> None:
        """End: what was begun at the provider is told by its own word at the next start."""
        tasks = [*self._aside, *([self._work] if self._work else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._save()
