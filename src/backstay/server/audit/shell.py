"""Auditing: one server of all that share a database holds the lease, collects, and carries out what people ask for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Any

from structlog import get_logger

from backstay.estate import Estate
from backstay.journal import Event, JournalError, event_json, new_id
from backstay.journal.store import Filter
from backstay.server.audit.desk import ChildDesk, DeskFailed, DeskRefused
from backstay.server.audit.judge import retry_after
from backstay.server.audit.model import Ask, AskKind, Key, Kind, Plain, Result
from backstay.server.audit.passes import STATUS, Pass
from backstay.server.audit.store import AuditStore, LeaseLost
from backstay.server.model import EstateRevision, Principal
from backstay.server.ports import StoreError
from backstay.server.settings import Settings
from backstay.server.shell import Server

TURN_S = 1.0
LEASE = timedelta(seconds=45)
RENEW_S = 10.0
ASKED_AGAIN_S = 0.25  # how often who waits looks for the answer
FORGET_AFTER = timedelta(days=1)  # asks; the journal remembers what they altered
REVIEWED = timedelta(weeks=10)
EVENTS_LIMIT = 5_000
_NOT_REVIEWED = ("audit.", "access.", "user.", "token.")
WAITING_LIMIT = 50  # asks that nobody has answered yet
FOLDER = "audit"  # below the server's state: the store of facts and indicators
_LOST = "The server that had taken it ended before it answered: nobody knows what became of it. Look, and ask again."

log = get_logger()


class Auditing:
    """One a server process; `running()` takes its turns."""

    def __init__(self, server: Server, settings: Settings) -> None:
        self.store = AuditStore(server.database)
        self.me = new_id()
        self._server = server
        self._folder = settings.state_dir
        self._name = settings.base_url
        self._desk: ChildDesk | None = None
        self._desk_of: EstateRevision | None = None
        self._held_until: datetime | None = None
        self._next_at = server.now()
        self._failures = 0
        self._woken = asyncio.Event()

    @property
    def declared(self) -> bool:
        """Does the estate ask for an audit?"""
        estate = self._server.snapshot().estate
        return estate is not None and "audit" in estate.model_fields_set

    # --- for pages and the API --------------------------------------------------------------------------------------

    async def find(self, key: Key) -> Result | None:
        return await self._server.call(self.store.find, key)

    async def heads(self, kind: Kind, *, cluster: str | None = None, span: str | None = None) -> list[Result]:
        return await self._server.call(lambda: self.store.heads(kind, cluster=cluster, span=span))

    async def ask(
        self, ask_id: str, kind: AskKind, body: Plain, principal: Principal, reason: str, *, wait_s: float
    ) -> Ask:
        """Have it carried out by the server that holds the lease, once for an id; wait for its answer for so long.

        `Ask.answer` is None when there is none yet. Raises JournalError, StoreError when too many wait.
        """
        if await self._server.call(self.store.unanswered) >= WAITING_LIMIT:
            raise StoreError(f"{WAITING_LIMIT} others wait for the audit. Ask again later.")
        one = Ask(id=ask_id, kind=kind, body=body, actor=principal.name, reason=reason, at=self._server.now())
        await self._server.call(self.store.ask, one)
        self._woken.set()
        deadline = asyncio.get_running_loop().time() + wait_s
        while True:
            found = await self._server.call(self.store.asked, ask_id)
            if found is None:
                return one
            if found.answer is not None or self._server.ending or asyncio.get_running_loop().time() >= deadline:
                return found
            await asyncio.sleep(ASKED_AGAIN_S)

    # --- turns ------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._turns(), name="audit")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self.rest()

    async def _turns(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), TURN_S)
            self._woken.clear()
            try:
                await self.turn()
            except (JournalError, StoreError) as error:
                log.debug("the audit waits for the database", error=str(error))
            except LeaseLost as lost:
                log.warning("another server has taken the audit over", detail=str(lost))
                self._held_until = None
                await self._close_desk()
            except Exception:
                log.exception("the audit's turn failed")
                await self._failed("The audit does not work: see the server's log.")

    async def turn(self) -> None:
        """Hold the lease, do what is asked, do what is due. Raises JournalError, LeaseLost."""
        adopted = self._server.snapshot().adopted
        estate = self._server.snapshot().estate
        if adopted is None or estate is None or not self.declared:
            await self.rest()
            return
        if not await self._hold():
            return
        await self._use(adopted, estate)
        now = self._server.now()
        due = now >= self._next_at
        if not due and not await self._server.call(self.store.waiting):
            return
        renewing = asyncio.create_task(self._renew())
        try:
            await self._work(estate, due=due)
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)

    async def _work(self, estate: Estate, *, due: bool) -> None:
        assert self._desk is not None
        try:
            await self._carry_out(tuple(AskKind))
            if due:
                await self._pass(estate).run()
                self._next_at = self._server.now() + timedelta(seconds=estate.audit.every_s)
                self._succeeded()
            await self._desk.ask("rest")
        except DeskFailed as failed:
            await self._failed(str(failed))

    def _pass(self, estate: Estate) -> Pass:
        assert self._desk is not None
        return Pass(
            estate, self._desk.ask, self._keep, self,
            clock=self._server.now, between=self._carry_out_small, events=self._events, actor=f"server {self._name}",
        )  # fmt: skip

    async def _events(self) -> list[Plain]:
        """What happened in the weeks that a review looks at, but for who logged in and what the audit itself said."""
        since = self._server.now() - REVIEWED
        where = Filter(since=since)
        found = await self._server.call(lambda: self._server.journal.tail(limit=EVENTS_LIMIT, where=where))
        return [event_json(link.event) for link in found if not link.event.kind.startswith(_NOT_REVIEWED)]

    async def _keep(self, results: Sequence[Result], gone: Iterable[Key] = (), events: Sequence[Event] = ()) -> None:
        await self._server.call(lambda: self.store.keep(self.me, results, gone=gone, events=events))

    # --- what people ask for ----------------------------------------------------------------------------------------

    async def _carry_out_small(self) -> None:
        """What need not wait for the end of a pass."""
        await self._carry_out((AskKind.QUESTION, AskKind.REGISTER, AskKind.VERIFY))

    async def _carry_out(self, kinds: Sequence[AskKind]) -> None:
        """All of these kinds that is asked and that nobody has taken."""
        while (one := await self._server.call(self.store.take, self.me, kinds, self._server.now())) is not None:
            answer: Plain
            try:
                answer = {"done": True, "detail": "", "result": await self._do(one)}
            except DeskRefused as refused:
                answer = {"done": False, "code": "invalid", "detail": str(refused)}
            except DeskFailed as failed:
                answer = {"done": False, "code": "audit", "detail": str(failed)}
                await self._failed(str(failed))
            told = [self._told(one, answer)] if one.kind in (AskKind.COLLECT, AskKind.VERIFY) else []
            await self._server.call(self.store.answer, one.id, answer, told)

    async def _do(self, one: Ask) -> Plain:
        assert self._desk is not None
        estate = self._server.snapshot().estate
        assert estate is not None
        match one.kind:
            case AskKind.COLLECT:
                told = await self._pass(estate).run(everything=True)
                self._succeeded()
                return told
            case AskKind.QUESTION:
                more: dict[str, Any] = {"events": await self._events()} if one.body["do"] == "review" else {}
                return {"answer": await self._desk.ask(**one.body, **more)}
            case AskKind.REGISTER:
                found: Plain = await self._desk.ask("register", **one.body, reason=one.reason, actor=one.actor)
                await self._pass(estate).fixes()
            case AskKind.VERIFY:
                found = await self._desk.ask("verify", **one.body, actor=one.actor)
                await self._pass(estate).fixes(found)
        return found

    def _told(self, one: Ask, answer: Plain) -> Event:
        """audit.collect or audit.verify, by who asked. (Of a fix that is registered the desk tells.)"""
        subject = f"audit/fixes/{one.body['fix']}" if one.kind is AskKind.VERIFY else "audit"
        data = {"asked": dict(one.body), "done": answer["done"], "detail": answer["detail"]}
        return Event(
            id=new_id(), time=self._server.now(), kind=f"audit.{one.kind.value}", subject=subject, actor=one.actor,
            reason=one.reason, data=data, cause=None,
        )  # fmt: skip

    # --- the lease --------------------------------------------------------------------------------------------------

    async def _hold(self) -> bool:
        """Ours, for a while longer; False: another server's."""
        now = self._server.now()
        if self._held_until is not None and self._held_until - now > LEASE - timedelta(seconds=RENEW_S):
            return True
        if self._held_until is None:
            lease = await self._server.call(self.store.holder)
            if lease is not None and lease.holder != self.me and lease.held(now):
                return False
        begun = self._held_until is None
        if not await self._server.call(self.store.hold, self.me, now, now + LEASE):
            raise LeaseLost("its lease ran out meanwhile")
        self._held_until = now + LEASE
        if begun:
            log.info("audits from now on", store=str(self._folder / FOLDER))
            for one in await self._server.call(self.store.orphaned, self.me):
                await self._server.call(self.store.answer, one.id, {"done": False, "code": "lost", "detail": _LOST})
            await self._server.call(self.store.forget, now - FORGET_AFTER)
        return True

    async def _renew(self) -> None:
        """While a long question is with the desk. One that is lost shows when the next result is kept."""
        while True:
            await asyncio.sleep(RENEW_S)
            with suppress(JournalError, StoreError, LeaseLost):
                await self._hold()

    async def rest(self) -> None:
        """Another may audit."""
        await self._close_desk()
        if self._held_until is not None:
            self._held_until = None
            with suppress(JournalError, StoreError):
                await self._server.call(self.store.release, self.me)
        self._server.newest.trouble("audit", None)

    # --- the desk ---------------------------------------------------------------------------------------------------

    async def _use(self, adopted: EstateRevision, estate: Estate) -> None:
        """A desk of this state of the estate. At a start others come first; another estate is looked at soon."""
        if self._desk_of is not None and self._desk_of.number == adopted.number:
            return
        if self._desk_of is not None:
            self._next_at = self._server.now()
        else:
            last = await self.find(STATUS)
            self._next_at = (last.at if last else self._server.now()) + timedelta(seconds=estate.audit.every_s)
        await self._close_desk()
        name = f"estate {adopted.number}"
        self._desk = ChildDesk(
            adopted.text, name, base=self._folder, state=self._folder / FOLDER, record=self._journal
        )  # fmt: skip
        self._desk_of = adopted

    async def _journal(self, events: Sequence[Event]) -> None:
        await self._server.call(self._server.journal.append_many, list(events))

    async def _close_desk(self) -> None:
        desk, self._desk, self._desk_of = self._desk, None, None
        if desk is not None:
            await desk.close()

    # --- how it goes ------------------------------------------------------------------------------------------------

    def _succeeded(self) -> None:
        self._failures = 0
        self._server.newest.trouble("audit", None)

    async def _failed(self, why: str) -> None:
        """Say so, on every server's pages, and try again later."""
        self._failures += 1
        wait = retry_after(self._failures)
        self._next_at = self._server.now() + wait
        log.warning("the audit failed", error=why, failures=self._failures, again_in_s=wait.total_seconds())
        self._server.newest.trouble("audit", f"The audit failed: {why}")
        with suppress(JournalError, StoreError, LeaseLost):
            before = await self.find(STATUS)
            head = {**(before.head if before else {}), "trouble": why, "by": f"server {self._name}"}
            await self._keep([Result(key=STATUS, at=self._server.now(), head=head)])
