"""The Server: what everybody else in the room uses. Weighs, journals and stores in one transaction, wakes who waits.

    asked -> weigh (pure) -> store (events, changes and the next revision, or nothing) -> snapshot -> who waits

Reading is free: `snapshot()` is in memory. What is written is on disk when a method returns. With the database away
the last snapshot stays, its `trouble` says so, and what would alter anything raises StoreError at once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from backstay.change import Allowed, ChangeInvalid, ChangeUnknown, EndedBy
from backstay.journal import Event, JournalError, new_id
from backstay.journal.collect import parse_events
from backstay.journal.store import Database, JournalStore
from backstay.link.wire import Delivered, OrderKind, Report, Reported
from backstay.server import estates, orders
from backstay.server.journaled import ending, journaled
from backstay.server.model import EndedChange, Principal, ServerChange, ServerOrder, Snapshot
from backstay.server.newest import Newest
from backstay.server.orders import Ordered
from backstay.server.ports import StaleRevision, Store, StoreError
from backstay.server.store import DatabaseStore
from backstay.server.weigh import Asked, Weighed, WeighedNode, repeats, weigh

T = TypeVar("T")

THREADS = 8  # that speak to the database; its pool has 15 connections
WEIGH_TRIES = 10  # while other servers alter what it is weighed against
EXPIRY = "expiry"  # who ends what is over
_BUSY = "Other servers alter what is desired faster than this one can weigh it. Ask again."


class AgentUnknown(Exception):
    """No agent is enrolled for that load balancer, or it was revoked."""


def utc_now() -> datetime:
    return datetime.now(UTC)


class Server:
    """One process of possibly several over one database. Methods run on the event loop; those that do I/O are async.

    They raise StoreError when the database does not take it: nothing was altered then (or all of it was, and only the
    answer was lost: asking again with the same id tells).
    """

    def __init__(self, database: Database, *, now: Callable[[], datetime] = utc_now) -> None:
        """Make or upgrade the tables and read what is there: I/O, before an event loop runs. Raises StoreError."""
        self.database = database  # for rooms with tables of their own
        self.now = now
        self.store: Store = DatabaseStore(database)
        self.journal = JournalStore(database)
        self.newest = Newest(self.store, now)
        self.newest.take(self.newest.read())
        self.polling = Counter[str]()  # load balancers whose agents wait here
        self.unsaved: dict[str, tuple[Report, datetime]] = {}  # reports on their way to the database
        self.away: str | None = None  # why the database is given up for the moment (tasks.py)
        self._writing = asyncio.Lock()
        self._refreshing = asyncio.Lock()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="store")

    @classmethod
    def open(cls, database_url: str, *, now: Callable[[], datetime] = utc_now) -> Server:
        """The server over the database at that URL. Raises StoreError."""
        try:
            database = Database(database_url)
        except JournalError as error:
            raise StoreError(str(error)) from error
        try:
            return cls(database, now=now)
        except BaseException:
            database.close()
            raise

    def close(self) -> None:
        """What runs in threads ends first."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        self.database.close()

    # --- what is ----------------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """The newest. No I/O; never altered, so keep it as long as you like."""
        return self.newest.snapshot

    async def wait(self, after_revision: int, timeout_s: float) -> Snapshot:
        """The newest as soon as its revision is above, else at the timeout."""
        return await self.newest.wait(after_revision, timeout_s)

    async def changed(self, since: Snapshot, timeout_s: float) -> Snapshot:
        """The newest as soon as it is another than `since` (a report, a revision, trouble), else at the timeout."""
        return await self.newest.changed(since, timeout_s)

    @property
    def ending(self) -> bool:
        """Is this process told to end? Streams end then; `wait` and `changed` return at once."""
        return self.newest.ending

    def end(self) -> None:
        """Let nobody wait any more: the process is told to end."""
        self.newest.end()

    async def refresh(self) -> None:
        """Look whether the store has something new. Raises StoreError."""
        async with self._refreshing:
            self.newest.take(await self.call(self.newest.read))

    async def call(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run `work`, which waits for the database, in a thread of ours."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    # --- changes ----------------------------------------------------------------------------------------------------

    async def weigh(self, asked: Asked, principal: Principal | None = None) -> Weighed:
        """The plan: which nodes, the guard's verdict for each. Alters nothing. Raises ChangeInvalid."""
        actor = principal.name if principal else "nobody"
        return await asyncio.to_thread(weigh, asked, actor, self.snapshot(), self.newest.places, self.now())

    async def put(self, asked: Asked, principal: Principal) -> Weighed:
        """Weigh, and store it when all of it is allowed (`Weighed.allowed`); else nothing. Once for an `asked.id`.

        Raises ChangeInvalid (also for an id that something else was asked for with), StoreError.
        """
        asked.check()
        self._raise_when_away()
        async with self._writing:
            for _ in range(WEIGH_TRIES):
                stored = await self.call(self.store.batch, asked.id)
                if stored:
                    return self._put_before(asked, stored)
                weighed = await self.weigh(asked, principal)
                if not weighed.allowed:
                    return weighed
                weighed, events = journaled(weighed, self.now())
                changes = [node.change for node in weighed.nodes]
                try:
                    revision = await self.call(
                        partial(self.store.put_changes, changes, events, expect=weighed.revision)
                    )  # fmt: skip
                except StaleRevision:
                    await self.refresh()  # somebody else was first: weigh against what they did
                    continue
                await self.refresh()
                return replace(weighed, revision=revision)
        raise StoreError(_BUSY)

    def _put_before(self, asked: Asked, stored: Sequence[ServerChange]) -> Weighed:
        if not repeats(asked, stored):
            raise ChangeInvalid(f"id {asked.id} is taken by another request. Ask again with a new id.")
        nodes = tuple(WeighedNode(change=change, verdict=Allowed(already=True)) for change in stored)
        return Weighed(asked=asked, nodes=nodes, already=True, revision=self.snapshot().revision)

    async def undo(self, ids: Sequence[str], principal: Principal, reason: str) -> tuple[ServerChange, ...]:
        """End these changes; those that ended already stay as they ended. In the order of `ids`.

        Raises ChangeUnknown for an id that was never put, and then ends none; StoreError.
        """
        ended = EndedChange(by=EndedBy.UNDONE, at=self.now(), actor=principal.name, reason=reason)
        return await self._end(ids, ended, "change.undone")

    async def expire(self) -> tuple[str, ...]:
        """End what is over; the ids that this server ended. Several servers may do it at once."""
        now = self.now()
        due = [one.id for one in self.snapshot().changes if one.expires_at is not None and one.expires_at <= now]
        if not due:
            return ()
        ended = EndedChange(by=EndedBy.EXPIRED, at=now, actor=EXPIRY, reason="its time was over")
        return tuple(one.id for one in await self._end(due, ended, "change.expired"))

    async def _end(self, ids: Sequence[str], ended: EndedChange, kind: str) -> tuple[ServerChange, ...]:
        self._raise_when_away()
        async with self._writing:
            known = {one.id: one for one in await self.call(self.store.find_changes, ids)}
            unknown = [one for one in ids if one not in known]
            if unknown:
                raise ChangeUnknown(f"no change {unknown[0][:64]} here. What there is: backstay changes")
            events = {one.id: ending(one, ended, kind) for one in known.values()}
            await self.call(self.store.end_changes, list(known), ended, events)
            await self.refresh()
            after = {one.id: one for one in await self.call(self.store.find_changes, ids)}
        return tuple(after[one] for one in dict.fromkeys(ids))

    # --- global IPs -------------------------------------------------------------------------------------------------

    async def order(self, ordered: Ordered, principal: Principal, reason: str) -> tuple[ServerOrder, ...]:
        """Rearm or freeze; asked of the candidates that `ordered` names. Once for an `ordered.id`.

        Returns when it is stored: the outcomes come with the agents' reports (`Snapshot.orders`). Raises ChangeInvalid,
        StoreError.
        """
        return await self._put_orders(orders.planned(ordered, self.snapshot(), principal.name, reason, self.now()))

    async def move(
        self, ip: str, to: str, principal: Principal, reason: str, *, order_id: str | None = None
    ) -> tuple[ServerOrder, ...]:
        """Tell the other candidates to expect it, wait for their word (at most 3 s), then ask `to` to take `ip`.

        The orders: those to the others, then the move. One that says nothing in time quarantines itself when it loses
        the address; the console says so. Raises ChangeInvalid, StoreError.
        """
        ordered = Ordered(id=order_id or new_id(), kind=OrderKind.MOVE, ip=ip, to=to)
        expected, moving = orders.move(ordered, self.snapshot(), principal.name, reason, self.now())
        told = await self._put_orders(expected)
        ids = {one.order.id for one in told}
        answering = {one.order.id for one in told if self._connected(one.lb)}
        deadline = asyncio.get_running_loop().time() + orders.TOLD_WITHIN_S
        while (left := deadline - asyncio.get_running_loop().time()) > 0:
            since = self.snapshot()
            if self.ending or all(one.outcome for one in since.orders if one.order.id in answering):
                break
            await self.changed(since, left)
        moved = await self._put_orders(moving)
        return (*(one for one in self.snapshot().orders if one.order.id in ids), *moved)

    def _connected(self, lb: str) -> bool:
        agent = self.snapshot().agents.get(lb)
        return agent is not None and agent.connected(self.now())

    async def _put_orders(self, planned: Sequence[ServerOrder]) -> tuple[ServerOrder, ...]:
        if not planned:
            return ()
        self._raise_when_away()
        told = [orders.told(one, self.now()) for one in planned]
        async with self._writing:
            await self.call(self.store.put_orders, [one for one, _ in told], [event for _, event in told])
            await self.refresh()
        ids = {one.order.id for one in planned}
        return tuple(one for one in self.snapshot().orders if one.order.id in ids)

    # --- the estate -------------------------------------------------------------------------------------------------

    async def plan_estate(self, text: str) -> estates.EstatePlan:
        """What adopting `text` would do: every fault, or the difference in words."""
        return await asyncio.to_thread(estates.plan, text, self.snapshot())

    async def adopt(self, text: str, expect_sha256: str | None, principal: Principal, reason: str) -> Snapshot:
        """Make `text` the estate in force, as planned against `expect_sha256` (None: there was none).

        Raises EstateFaults, estates.EstateStale, StoreError.
        """
        self._raise_when_away()
        async with self._writing:
            for _ in range(WEIGH_TRIES):
                snapshot = self.snapshot()
                await asyncio.to_thread(estates.check, text, snapshot, expect_sha256)
                adopted, event = estates.adopted(text, snapshot, principal.name, reason, self.now())
                try:
                    await self.call(partial(self.store.adopt, adopted, [event], expect=snapshot.revision))
                except StaleRevision:
                    await self.refresh()
                    continue
                await self.refresh()
                return self.snapshot()
        raise StoreError(_BUSY)

    # --- agents -----------------------------------------------------------------------------------------------------

    async def enrolled(self, lb: str, principal: Principal, reason: str, data: Mapping[str, Any] | None = None) -> None:
        """There is an agent for `lb` now (again); journaled as agent.enrolled. Its credential is access/'s."""
        event = self._event("agent.enrolled", f"lb/{lb}", reason, data or {}, principal.name)
        self._raise_when_away()
        await self.call(self.store.enrol, lb, self.now(), [event])
        await self.refresh()

    async def revoked(self, lb: str, principal: Principal, reason: str) -> None:
        """No agent speaks for `lb` any more; journaled as agent.revoked. Raises AgentUnknown."""
        event = self._event("agent.revoked", f"lb/{lb}", reason, {}, principal.name)
        self._raise_when_away()
        if not await self.call(self.store.revoke, lb, self.now(), [event]):
            raise AgentUnknown(f"no agent is enrolled for {lb}.")
        await self.refresh()

    async def desired_for(self, lb: str, have_sha256: str | None, after: int, wait_s: float) -> bytes | None:
        """The Desired of `lb` as JSON, as soon as it is another than revision `after`; None at the timeout (204).

        `have_sha256`: of the estate that the agent has; that one's text is left out. An `after` that is above our
        revision is answered at once: the agent has met another server's word, and must say so.
        """
        self.polling[lb] += 1
        try:
            if self.newest.is_stale(lb):
                self.newest.seen({lb: self.now()})
            adopted = self.snapshot().adopted
            if self.snapshot().revision == after and (adopted is None or adopted.sha256 == have_sha256):
                await self.wait(after, wait_s)
        finally:
            self.polling[lb] -= 1
        snapshot, telling = self.snapshot(), self.newest.telling
        if telling is None or snapshot.adopted is None:
            return None
        if snapshot.revision == after and snapshot.adopted.sha256 == have_sha256:
            return None
        return telling.to(lb, have_sha256, self.now())

    async def report(self, lb: str, report: Report) -> Reported:
        """Keep it as the newest of `lb`; what became of orders is durable when this returns.

        Raises AgentUnknown, ValueError for a report of another load balancer, StoreError.
        """
        if report.lb != lb:
            raise ValueError(f"a report of {report.lb} from the agent of {lb}.")
        waiting = {one.order.id: one for one in self.snapshot().orders if one.lb == lb and one.outcome is None}
        settled = [outcome for outcome in report.orders if outcome.id in waiting]
        if not self.newest.reported(report):
            raise AgentUnknown(f"no agent is enrolled for {lb}. Enrol it: backstay agent enrol")
        self.unsaved[lb] = (report, self.now())
        if settled:
            self.newest.publish_reports()  # who hears what became of an order sees what is so since
            self._raise_when_away()
            events = {one.id: orders.settled(waiting[one.id], one, self.now()) for one in settled}
            await self.call(self.store.settle_orders, lb, settled, events)
            await self.refresh()
        return Reported(orders=tuple(outcome.id for outcome in report.orders))

    async def deliver(self, lb: str, events: Sequence[Mapping[str, object]]) -> Delivered:
        """Store an agent's events, each id once. Through the last one, also when some are no events: those are told."""
        self._raise_when_away()
        parsed, faults = parse_events(events)
        if parsed:
            await self.call(self.journal.append_many, parsed)
        if faults:
            await self.record("journal.faulty", f"lb/{lb}", f"{len(faults)} events were none", {"faults": faults[:10]})
        last = next((str(one["id"]) for one in reversed(events) if isinstance(one.get("id"), str)), None)
        return Delivered(through=last)

    # --- the journal ------------------------------------------------------------------------------------------------

    async def record(
        self,
        kind: str,
        subject: str,
        reason: str,
        data: Mapping[str, Any] | None = None,
        principal: Principal | None = None,
        *,
        cause: str | None = None,
    ) -> str:
        """Journal an event; its id. Durable when this returns. Raises JournalError."""
        event = self._event(kind, subject, reason, data or {}, principal.name if principal else "server", cause)
        await self.call(self.journal.append, event)
        return event.id

    def _event(
        self, kind: str, subject: str, reason: str, data: Mapping[str, Any], actor: str, cause: str | None = None
    ) -> Event:
        return Event(
            id=new_id(), time=self.now(), kind=kind, subject=subject, actor=actor, reason=reason, data=data, cause=cause
        )

    def _raise_when_away(self) -> None:
        """Nobody waits ten seconds for a database that is known to be away."""
        if self.away is not None:
            raise StoreError(self.away)
