"""The takeover: journal, disk, provider, address. Nothing else calls the provider to alter anything.

    begin     ip.takeover_started, and `taking` on disk       before the provider is called
    _take     the provider, which compares the owner before it routes
    arrived   ip.taken, the page, `taking` off the disk        after the provider has said that it is done
    verify    ip.verified, or ip.unverified and a page         after the address itself was asked

A crash at any line: `taking` is on disk before the provider is called, and the provider's word, read again after the
start (ask.py), says what became of it: `arrived`, or abandoned. What arrived is `unverified` on disk until the address
was asked. At most one call of this candidate is under way.
"""

from __future__ import annotations

import asyncio

import structlog

from backstay.failover import memory as kept
from backstay.failover.memory import Taking
from backstay.failover.model import TakeOver
from backstay.failover.pages import evidence_in_words
from backstay.failover.ports import (
    Assigned,
    Owner,
    OwnerChanged,
    ProviderDenied,
    ProviderError,
    ProviderUnreachable,
)
from backstay.failover.standpoint import OWNER_EVERY_S
from backstay.failover.warden.desk import Desk
from backstay.failover.warden.heed import STUCK_S

ASSIGN_TIMEOUT_S = 120.0  # SoftLayer takes up to a minute, and may be moving it already
RETRY_S = (0.5, 1.0, 2.0, 5.0, 15.0)
VERIFY_FOR_S = 15.0
VERIFY_EVERY_S = 0.3

log = structlog.get_logger()


class Take:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._attempts = 0
        self._not_before_s = 0.0
        self._failing: tuple[Taking, str] | None = None  # what does not come about, and what the provider says
        self._failing_since_s = 0.0
        self._failure_told = False
        self._verifying = False

    # --- before --------------------------------------------------------------------------------------------------

    def begin(self, decision: TakeOver) -> None:
        """Journal and disk, then the provider; not before a failed attempt's time is over."""
        desk = self._desk
        if desk.now_s() < self._not_before_s:
            return
        why = evidence_in_words(decision.evidence)
        data = {"holder": decision.holder, "to": desk.me, "attempt": self._attempts + 1, "reason": decision.reason}
        event = desk.pen("ip.takeover_started", why, data=data)
        found = decision.evidence
        taking = Taking(
            id=event,
            holder=decision.holder,
            at=desk.wall(),
            planned=False,
            why=why,
            death=found.death if found else None,
            silent_s=found.silent_s if found else 0.0,
        )
        desk.keep(kept.intend(desk.memory, taking))
        desk.work = asyncio.create_task(self._take(taking))

    # --- the provider ----------------------------------------------------------------------------------------------

    async def _take(self, taking: Taking) -> None:
        try:
            assigned = await self.assign(taking)
        except ProviderError as error:
            self.not_taken(taking, error)
        except Exception as error:  # a fault of ours or of a third party's adapter: what was done is not known
            log.exception("an assign failed", ip=self._desk.declared.name)
            self.not_taken(taking, ProviderUnreachable(f"{type(error).__name__}: {error}"))
        else:
            self.arrived(taking, calls=assigned.calls, took_s=assigned.took_s)

    async def assign(self, taking: Taking) -> Assigned:
        """Have the provider route it to me. `taking` is journaled and on disk already. Raises ProviderError."""
        desk = self._desk
        return await desk.hands.provider.assign(
            desk.declared.address, desk.me, expect=taking.holder, timeout_s=ASSIGN_TIMEOUT_S
        )

    # --- after -----------------------------------------------------------------------------------------------------

    def not_taken(self, taking: Taking, error: ProviderError) -> None:
        """What was done is not known: the owner is read at once, and the decision made anew."""
        desk, now_s = self._desk, self._desk.now_s()
        changed = isinstance(error, OwnerChanged)
        kind = "ip.takeover_refused" if changed else "ip.takeover_failed"
        desk.pen(kind, str(error), cause=taking.id)
        self._attempts += 1
        wait_s = RETRY_S[min(self._attempts, len(RETRY_S)) - 1]
        self._not_before_s = now_s + max(wait_s, error.retry_after_s or 0.0)
        desk.known.owner_due_s = now_s + (error.retry_after_s or 0.0)
        if not changed and not taking.planned:
            if self._failing is None:
                self._failing_since_s = now_s - (STUCK_S if isinstance(error, ProviderDenied) else 0.0)
            self._failing = (taking, str(error))
        if not isinstance(error, ProviderUnreachable):
            desk.keep(kept.abandoned(desk.memory))
        # Else `taking` stays until the provider's word is heard: it may have been done.

    def arrived(self, taking: Taking, *, calls: int, took_s: float) -> None:
        """The provider says that it is done."""
        desk, known = self._desk, self._desk.known
        known.owner = Owner(holder=desk.me, moving=False)
        known.owner_at_s, known.owner_at = desk.now_s(), desk.wall()
        known.nobody_since_s = None
        known.owner_due_s = desk.now_s() + OWNER_EVERY_S
        self.forget_failures()
        holder = taking.holder or "nobody"
        data = {"holder": taking.holder, "to": desk.me, "calls": calls, "took_s": round(took_s, 3)}
        kind = "ip.moved_by_plan" if taking.planned else "ip.taken"
        desk.pen(kind, f"from {holder}: {taking.why}", data=data, cause=taking.id)
        if not taking.planned:
            fault = desk.hands.keep.fault or desk.hands.pen.fault
            desk.hands.page(desk.pages.taken(desk.wall(), taking, calls, took_s, fault))
        # Only now: killed before this line, the next start finds `taking` and does all of it again, under the same key.
        desk.keep(kept.arrived(desk.memory))
        self.verify(taking)

    def verify(self, taking: Taking) -> None:
        """Begin to ask the address who serves it, unless that is under way."""
        if not self._verifying:
            self._verifying = True
            self._desk.spawn(self._verify(taking))

    async def _verify(self, taking: Taking) -> None:
        try:
            await self._ask_the_address(taking)
        finally:
            self._verifying = False
        if self._desk.memory.unverified == taking:  # only now: killed before this line, the next start asks again
            self._desk.keep(kept.verified(self._desk.memory))

    async def _ask_the_address(self, taking: Taking) -> None:
        """Ask through machines to which it is somewhere else; else from here."""
        desk = self._desk
        end_s = desk.now_s() + VERIFY_FOR_S
        said = "nobody was asked"
        while desk.now_s() < end_s:
            if desk.known.owner is None or desk.known.owner.holder != desk.me:
                return  # it was moved on: whoever has it verifies
            seen = await desk.hands.peers.see(desk.declared.name, desk.declared.witnesses)
            by = [lb for lb, one in seen.items() if one.lb == desk.me or one.nameless]
            said = "; ".join(f"{lb}: {one.lb or one.detail}" for lb, one in seen.items())
            own = await desk.hands.see() if not seen else None
            if by or (own is not None and (own.lb == desk.me or own.nameless)):
                how = f"seen by {', '.join(by)}" if by else "by this machine's own probe: no other could be asked"
                if any(one.nameless for one in (*seen.values(), own) if one is not None):
                    how += "; it accepts connections, and TCP does not tell who"
                desk.known.verified = how
                desk.pen("ip.verified", how, cause=taking.id)
                return
            if own is not None:
                said = f"own probe: {own.lb or own.detail}"
            await asyncio.sleep(VERIFY_EVERY_S)
        desk.known.verified = f"not verified: {said}"
        desk.pen("ip.unverified", said, cause=taking.id)
        desk.hands.page(desk.pages.unverified(desk.wall(), taking, said))

    # --- it does not come about --------------------------------------------------------------------------------------

    def forget_failures(self) -> None:
        """It is done, or the holder is back: the next attempt is a first one."""
        self._attempts, self._not_before_s = 0, 0.0
        self._failing, self._failure_told = None, False

    def say_when_failing(self, now_s: float) -> None:
        """The provider does not do it for long: people are told, once."""
        if self._failing and not self._failure_told and now_s - self._failing_since_s >= STUCK_S:
            self._failure_told = True
            self._desk.hands.page(self._desk.pages.failing(self._desk.wall(), *self._failing))
