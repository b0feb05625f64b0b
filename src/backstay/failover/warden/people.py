"""What people ask of a candidate: rearm, freeze, expect a move, move it here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import structlog

from backstay.failover import memory as kept
from backstay.failover import standpoint
from backstay.failover.handover import HandoverFailed
from backstay.failover.memory import Taking
from backstay.failover.ports import Assigned, ProviderError
from backstay.failover.warden.ask import OWNER_SOON_S, Ask
from backstay.failover.warden.desk import Desk
from backstay.failover.warden.take import Take

log = structlog.get_logger()


class MoveRefused(Exception):
    """What a person asks for and cannot be: why, what next."""


class People:
    def __init__(self, desk: Desk, ask: Ask, take: Take) -> None:
        self._desk = desk
        self._ask = ask
        self._take = take

    def rearm(self, actor: str, reason: str, *, false_alarm: bool = False) -> None:
        """A person has looked at me. `false_alarm`: and has found that my last takeover was for nothing.

        Raises MoveRefused when there was none.
        """
        desk = self._desk
        if false_alarm:
            self._learn_false_alarm(actor, reason)
        event = desk.pen("ip.rearmed", f"{desk.me}: {reason}", actor=actor)
        desk.keep(kept.rearmed(desk.memory))
        log.info("rearmed", ip=desk.declared.name, id=event)
        desk.soon(desk.now_s())

    def _learn_false_alarm(self, actor: str, reason: str) -> None:
        """Journal it with its evidence, and be more patient with such a silence of that candidate."""
        desk, takeover, name = self._desk, self._desk.memory.takeover, self._desk.declared.name
        if takeover is None or takeover.holder is None or takeover.death is None:
            raise MoveRefused(
                f"{desk.me} has taken {name} from nobody, so there was no false alarm of its own. "
                f"Say it of the one that took it: backstay ip history {name}"
            )
        holder, death, rate = takeover.holder, takeover.death, desk.declared.false_takeovers_per_year
        before_s = desk.hands.watcher.patience_s(holder, death, rate)
        desk.hands.watcher.learn_false_alarm(holder, death, takeover.silent_s)
        data = {
            "takeover": takeover.id,
            "holder": holder,
            "death": death,
            "silent_s": round(takeover.silent_s, 3),
            "patience_before_s": round(before_s, 3),
            "patience_s": round(desk.hands.watcher.patience_s(holder, death, rate), 3),
            "evidence": takeover.why,
        }
        desk.pen("ip.false_alarm", f"{holder} was not dead: {reason}", actor=actor, data=data, cause=takeover.id)
        desk.keep(kept.found_false(desk.memory))

    def freeze(self, duration_s: float, actor: str, reason: str) -> None:
        """No automatic takeover for so long; 0 ends a freeze. Raises ChangeInvalid for a bad duration."""
        desk = self._desk
        if duration_s == 0:
            desk.keep(kept.thaw(desk.memory))
            desk.pen("ip.thawed", reason, actor=actor)
            return
        frozen = kept.freeze(desk.memory, desk.hands.clock(), duration_s, actor, reason)
        desk.pen("ip.frozen", reason, actor=actor, data={"for_s": duration_s})
        desk.keep(frozen)

    async def expect(self, to: str, actor: str, reason: str) -> None:
        """A person is about to move it to `to`."""
        desk = self._desk
        if desk.hands.handover is not None and desk.holder == desk.me:
            await self._hand_over(desk.hands.handover.accept(), f"takes back what {to} passes on")
        desk.pen("ip.move_expected", f"to {to}: {reason}", actor=actor)
        desk.keep(kept.expect(desk.memory, desk.hands.clock(), to))
        desk.known.owner_due_s = desk.now_s() + OWNER_SOON_S / 4  # the move itself takes a moment

    async def move_here(self, actor: str, reason: str) -> Assigned:
        """A planned move to me: checked first, then journaled, then done. Raises MoveRefused."""
        desk = self._desk
        if not desk.busy:
            await self._ask.read()  # somebody may have moved it since the last word of the provider
        self._check_move()
        holder = desk.holder
        old = desk.declared.nodes.get(holder) if holder is not None else None
        if desk.hands.handover is not None and old is not None:
            await self._hand_over(desk.hands.handover.forward(old), f"passes connections of {holder} on to it")
            self._check_move()  # a takeover may have begun meanwhile
        event = desk.pen("ip.move_started", reason, actor=actor, data={"holder": holder, "to": desk.me})
        taking = Taking(id=event, holder=holder, at=desk.wall(), planned=True, why=reason)
        desk.keep(kept.intend(desk.memory, taking))
        work = asyncio.create_task(self._take.assign(taking))
        desk.work = work
        try:
            assigned = await asyncio.shield(work)  # whoever asked may leave; what was begun is finished
        except ProviderError as error:
            self._take.not_taken(taking, error)
            raise MoveRefused(f"{desk.declared.name} is not moved: {error}") from error
        except asyncio.CancelledError:
            work.add_done_callback(lambda _: self._read_at_once())
            raise
        desk.work = None
        self._take.arrived(taking, calls=assigned.calls, took_s=assigned.took_s)
        return assigned

    async def _hand_over(self, work: Awaitable[None], what: str) -> None:
        """The move goes on without it: what is in flight is cut then, and the journal says so."""
        try:
            await work
        except HandoverFailed as error:
            self._desk.pen("ip.handover_failed", str(error))
        else:
            self._desk.pen("ip.handover_ready", f"{self._desk.me} {what}")

    def _check_move(self) -> None:
        desk, name, known = self._desk, self._desk.declared.name, self._desk.known
        if desk.busy or desk.memory.taking is not None or (known.owner is not None and known.owner.moving):
            raise MoveRefused(f"{name} is being moved already. Look: backstay ip show {name}")
        if known.owner is None:
            raise MoveRefused(f"the provider has not said who holds {name}: {known.owner_error or 'not asked yet'}")
        if desk.memory.quarantined is not None:
            raise MoveRefused(f"{desk.me} is quarantined. First: backstay ip rearm {name} {desk.me} --reason ...")
        if known.owner.holder == desk.me:
            raise MoveRefused(f"{desk.me} holds {name} already.")
        if not standpoint.fit_for(desk, None):
            raise MoveRefused(f"the engine on {desk.me} does not answer. Look: backstay status")

    def _read_at_once(self) -> None:
        self._desk.known.owner_due_s = self._desk.now_s()
