"""Carries a word of the server's out, by the ways that the agent has for everybody: the guard, the check of the engine
and the warden decide here as they do for a person. What they refuse is told to the server, and not forced.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Sequence

import structlog

from backstay.agent.host.parse import EstateRefused
from backstay.agent.link.enrolment import Enrolment
from backstay.agent.link.keep import FollowedFile
from backstay.agent.loops.changing import Changes
from backstay.agent.loops.estates import ApplyFailed, Estates
from backstay.agent.loops.failover import Failover
from backstay.agent.world import World
from backstay.balance.ports import ConfigRefused, EngineFailed
from backstay.change import ChangeError, ChangeRequest, Ended, EndedBy, Refused, read_clock
from backstay.failover.shell import MoveRefused, Warden
from backstay.link import follow
from backstay.link.follow import Adopt, Followed, Heard, Steps
from backstay.link.wire import ORDERS_LIMIT, ChangeRefusal, Desired, Ending, Order, OrderKind, OrderOutcome

WARDEN_PATIENCE_S = 5.0  # an agent that has just started makes its wardens first
POLL_S = 0.1

log = structlog.get_logger()


class OrderRefused(Exception):
    """An order that cannot be carried out here: why."""


class Carrier:
    """What this load balancer has followed, and what of it did not come about."""

    def __init__(self, world: World, changes: Changes, estates: Estates, failover: Failover) -> None:
        self._world = world
        self._changes = changes
        self._estates = estates
        self._failover = failover
        self._enrolment: Enrolment | None = None
        self._file = FollowedFile(world.files.followed)
        self._word: tuple[str, ...] = ()  # ids of the changes in the last word
        self._refused: dict[str, str] = {}  # changes that are not in force here, and why
        self._orders: dict[str, asyncio.Task[None]] = {}  # under way
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)  # one order of an address at a time
        self._news: Callable[[], None] = lambda: None
        self.followed = Followed()
        self.error = ""  # why the last word is not followed, or not wholly
        self.heard_sha256 = ""  # of the server's estate that was told last; in force, or refused
        self._estate_refused = ""  # why that one is not in force; "": it is, or was
        self._refusal_told = ""  # the last one in the journal

    def begin(self, enrolment: Enrolment, news: Callable[[], None]) -> None:
        """Follow the server of `enrolment`. `news` is called when there is something to report."""
        self._enrolment = enrolment
        self._news = news
        self._refused, self.error = {}, ""
        self.followed, fault = self._file.load(enrolment)
        self.begin_again()
        if fault:
            self._world.record("link.memory_damaged", f"lb/{self._world.lb}", fault)

    def begin_again(self) -> None:
        """As if no estate had been refused: the server tells its own again when it is another."""
        self.heard_sha256, self._estate_refused = self.followed.estate_sha256, ""

    async def settled(self) -> None:
        """Until no order is under way."""
        await asyncio.gather(*self._orders.values(), return_exceptions=True)

    async def close(self) -> None:
        """End. An order under way is told as unknown by the next start."""
        for task in self._orders.values():
            task.cancel()
        await self.settled()

    # --- what there is to tell ---------------------------------------------------------------------------------------

    @property
    def unsatisfied(self) -> bool:
        """Something of the last word did not come about, and may yet."""
        return bool(self.error or self._refused)

    def refusals(self) -> list[ChangeRefusal]:
        """Changes of the last word that are not in force here, and why; those that a person ended here too."""
        told = [ChangeRefusal(id=one, detail=why[:2_000]) for one, why in self._refused.items()]
        for one in self._word:
            known = self._world.book.get(one)
            if isinstance(known, Ended) and known.by is EndedBy.UNDONE:
                told.append(ChangeRefusal(id=one, detail=f"undone here by {known.actor}: {known.reason}"))
        return told

    def outcomes(self) -> tuple[OrderOutcome, ...]:
        return follow.untold(self.followed)[:ORDERS_LIMIT]

    def told(self, orders: Sequence[str]) -> None:
        """The server knows the outcomes of these."""
        after = follow.told(self.followed, orders)
        if after is not self.followed:
            try:
                self._keep(after)
            except OSError as error:
                self._say_disk(error)

    # --- a word ------------------------------------------------------------------------------------------------------

    async def follow(self, heard: Heard) -> follow.Refused | None:
        """Carry `heard` out as far as it goes; `error` and `refusals` tell the rest. What was refused as a whole is
        returned."""
        world, word = self._world, heard.desired
        assert self._enrolment is not None, "begun before"
        decided = follow.decide_follow(
            self._enrolment.pinned,
            self.followed,
            follow.Standing(
                book=world.book,
                estate=world.estate.estate,
                heard_sha256=self.heard_sha256,
                at_work=frozenset(self._orders),
            ),
            word,
        )
        if isinstance(decided, follow.Refused):
            self.error = decided.sentence
            return decided
        try:
            await self._carry(word, decided, heard)
        except OSError as error:
            self._say_disk(error)
        return None

    async def _carry(self, word: Desired, steps: Steps, heard: Heard) -> None:
        """Raises OSError when what is to be kept cannot be: nothing is done then that depends on it."""
        self.error = ""
        self._keep(follow.intending(self.followed, word))
        for ending in steps.undo:
            self._undo(ending)
        if steps.adopt is not None:
            await self._adopt(steps.adopt)
        elif word.estate_sha256 == self.followed.estate_sha256:
            self.begin_again()  # what was refused is not wanted any more
        self.error = self.error or self._estate_refused
        self._word = tuple(change.id for change in word.changes)
        before, self._refused = self._refused, {one.id: one.detail for one in heard.refusals}
        for request in steps.put:
            self._put(request, before)
        if not self.error:
            self._keep(follow.having_followed(self.followed, word))
        unheard_of = [one for one in heard.outcomes if one.id not in self.followed.orders]
        for outcome in (*steps.settle, *unheard_of):
            self._settle(outcome, "order.failed")
        self._keep(follow.told(self.followed, steps.again, told=False))
        for order in steps.orders:
            self._begin(order)

    def _undo(self, ending: Ending) -> None:
        try:
            self._changes.undo(ending.id, actor=ending.actor, reason=ending.reason)
        except ChangeError as error:
            self.error = f"change {ending.id} is not undone: {error}"

    def _put(self, request: ChangeRequest, before: dict[str, str]) -> None:
        """Put it in force. One that was refused before is put again as soon as the guard allows it, and not journaled
        each time that it does not."""
        try:
            change = request.to_change(read_clock())
            verdict = self._changes.weigh(change) if change.id in before else None
            if not isinstance(verdict, Refused):
                verdict = self._changes.put(change)
        except ChangeError as error:
            self._refused[request.id] = str(error)
        else:
            if isinstance(verdict, Refused):
                self._refused[request.id] = verdict.sentence

    async def _adopt(self, adopt: Adopt) -> None:
        try:
            await self._estates.follow(adopt.text, actor=adopt.actor, reason=adopt.reason)
        except (EstateRefused, ConfigRefused, ApplyFailed, EngineFailed, OSError) as error:
            refused = f"the server's estate is refused, the one before stays in force: {error}"[:4_000]
            if refused != self._refusal_told:  # tried again every minute
                data = {"sha256": adopt.sha256}
                self._world.record("estate.refused", "estate", refused, data=data, actor=adopt.actor)
        else:
            refused = ""
        self._refusal_told = refused
        self.heard_sha256, self._estate_refused = adopt.sha256, refused

    # --- orders ------------------------------------------------------------------------------------------------------

    def _begin(self, order: Order) -> None:
        """On disk first: killed after this line, it is not done a second time."""
        self._keep(follow.beginning(self.followed, order.id))
        task = asyncio.create_task(self._do(order, time.monotonic() + order.expires_in_s))
        self._orders[order.id] = task
        task.add_done_callback(lambda _: self._orders.pop(order.id, None))

    async def _do(self, order: Order, until_s: float) -> None:
        data = {"order": order.id, "kind": order.kind.value, "to": order.to}
        async with self._turns[order.ip]:
            begun = self._world.record("order.begun", f"ip/{order.ip}", order.reason, data=data, actor=order.actor)
            try:
                detail = await self._act(order, until_s)
                outcome, kind = OrderOutcome(id=order.id, done=True, detail=detail), "order.done"
            except (OrderRefused, MoveRefused, ChangeError) as error:
                outcome, kind = OrderOutcome(id=order.id, done=False, detail=str(error)[:2_000]), "order.failed"
            except Exception as error:  # a fault of ours: what was done is not known
                log.exception("an order failed", order=order.id, ip=order.ip)
                detail = f"unknown: {type(error).__name__}: {error}"[:2_000]
                outcome, kind = OrderOutcome(id=order.id, done=False, detail=detail), "order.failed"
        try:
            self._settle(outcome, kind, ip=order.ip, cause=begun)
        except OSError as error:
            self._say_disk(error)
        self._news()

    async def _act(self, order: Order, until_s: float) -> str:
        """Raises OrderRefused, MoveRefused, ChangeError. What is so now, in words."""
        if time.monotonic() >= until_s:
            raise OrderRefused(follow.EXPIRED)
        me, warden = self._world.lb, await self._warden(order.ip)
        match order.kind:
            case OrderKind.EXPECT:
                if order.to not in warden.declared.candidates:
                    raise OrderRefused(f"{order.to} is no candidate for {order.ip}.")
                await warden.people.expect(order.to, order.actor, order.reason)
                return f"{me} expects it to go to {order.to}"
            case OrderKind.MOVE:
                if order.to != me:
                    raise OrderRefused(f"this is {me}: a move is asked of its target, {order.to}.")
                assigned = await warden.people.move_here(order.actor, order.reason)
                return f"{me} holds {order.ip}, after {assigned.took_s:.1f} s"
            case OrderKind.REARM:
                warden.people.rearm(order.actor, order.reason)
                return f"{me} is armed again for {order.ip}"
            case OrderKind.FREEZE:
                warden.people.freeze(order.for_s or 0.0, order.actor, order.reason)
                return f"{me} takes no {order.ip} by itself" if order.for_s else f"{me} is thawed for {order.ip}"

    async def _warden(self, ip: str) -> Warden:
        """Raises OrderRefused."""
        end_s = time.monotonic() + WARDEN_PATIENCE_S
        while (warden := self._failover.wardens.get(ip)) is None:
            declared = self._world.estate.global_ips.get(ip)
            if declared is None or self._world.lb not in declared.candidates or time.monotonic() > end_s:
                raise OrderRefused(f"{self._world.lb} is no candidate for {ip}.")
            await asyncio.sleep(POLL_S)
        return warden

    def _settle(self, outcome: OrderOutcome, kind: str, *, ip: str | None = None, cause: str | None = None) -> None:
        """Raises OSError."""
        subject = f"ip/{ip}" if ip is not None else f"lb/{self._world.lb}"
        self._world.record(kind, subject, outcome.detail, data={"order": outcome.id}, cause=cause)
        self._keep(follow.settled(self.followed, (outcome,)))

    # --- what is kept ------------------------------------------------------------------------------------------------

    def _keep(self, followed: Followed) -> None:
        """Durable when it returns. Raises OSError."""
        assert self._enrolment is not None
        if followed == self.followed:
            return
        self._file.save(followed, self._enrolment)
        self.followed = followed

    def _say_disk(self, error: OSError) -> None:
        self.error = f"{self._world.files.followed}: {error.strerror}: the server is not followed. Make room there."
