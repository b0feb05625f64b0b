"""Runs: begins them, carries them out a few nodes at a time, keeps progress, and ends those whose server died."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta

from structlog import get_logger

from backstay.change import ChangeInvalid
from backstay.journal import Event, JournalError, new_id
from backstay.server.model import Principal
from backstay.server.ports import StoreError
from backstay.server.runs.judge import is_dead, state_of
from backstay.server.runs.model import GOOD, OPEN, NodeRun, NodeRunState, Printed, Run, RunRefused
from backstay.server.runs.output import Output
from backstay.server.runs.ssh import Place, Ssh, Unreachable
from backstay.server.runs.store import RunStore
from backstay.server.settings import Settings
from backstay.server.shell import Server

NODES_LIMIT = 500  # of one run
RUNS_LIMIT = 8  # under way at this server
KEEP_EVERY_S = 1.0  # how old what is shown of a node's output may be
TURN_S = 5.0
FORGET_AFTER = timedelta(days=30)
_OFF = "This server runs nothing on nodes: `runs` is not in its server.yaml. docs/integrations.md, Run now, says how."
_DIED = "The server that carried it out ended in the midst of it. Puppet may have gone on: look at the node."
_ENDED = "The server that carried it out was ended in the midst of it. Puppet may have gone on: look at the node."

log = get_logger()


class Runs:
    """One a server process; `running()` turns its housekeeping, which other servers' runs need, too."""

    def __init__(self, server: Server, settings: Settings) -> None:
        self.store = RunStore(server.database)
        self._server = server
        self._ssh = None if settings.runs is None else Ssh(settings.runs, settings.state_dir)
        self._turns = asyncio.Semaphore(1 if settings.runs is None else settings.runs.at_once)
        self._mine: dict[str, asyncio.Task[None]] = {}

    @property
    def enabled(self) -> bool:
        return self._ssh is not None

    @property
    def command(self) -> str:
        """What is run; "" when nothing is."""
        return self._ssh.command if self._ssh is not None else ""

    @property
    def under_way(self) -> int:
        return len(self._mine)

    def nodes(self, selector: str) -> tuple[Place, ...]:
        """Where a run of `selector` goes. Raises RunRefused."""
        places = self._server.newest.places
        if self._ssh is None:
            raise RunRefused("runs_off", _OFF)
        if places is None:
            raise RunRefused("no_estate", "This server has no estate yet. Adopt one first.")
        try:
            names = places.nodes(selector)
        except ChangeInvalid as error:
            raise RunRefused("invalid", str(error)) from None
        if len(names) > NODES_LIMIT:
            raise RunRefused("too_many", f"{selector} means {len(names)} nodes; a run has at most {NODES_LIMIT}.")
        return tuple(Place(node=name, address=str(places.estate.nodes[name].address)) for name in names)

    async def begin(self, run_id: str, selector: str, reason: str, principal: Principal) -> Run:
        """Begin it, once for an id; it goes on by itself. Raises RunRefused, JournalError."""
        found = await self._server.call(self.store.find, run_id)
        if found is not None:
            return found
        places = self.nodes(selector)
        if len(self._mine) >= RUNS_LIMIT:
            raise RunRefused("too_many", f"{RUNS_LIMIT} runs are under way here. Wait until one ends.")
        run, event = self._new(run_id, selector, reason, principal, places)
        if not await self._server.call(self.store.put, run, event):
            found = await self._server.call(self.store.find, run_id)
            assert found is not None
            return found
        task = asyncio.create_task(self._carry_out(run, places), name=f"run {run_id}")
        self._mine[run_id] = task
        task.add_done_callback(lambda _: self._mine.pop(run_id, None))
        await self._server.call(self.store.forget, self._server.now() - FORGET_AFTER)
        return run

    def _new(
        self, run_id: str, selector: str, reason: str, principal: Principal, places: tuple[Place, ...]
    ) -> tuple[Run, Event]:
        now = self._server.now()
        event = Event(
            id=new_id(),
            time=now,
            kind="run.started",
            subject=f"run/{run_id}",
            actor=principal.name,
            reason=reason,
            data={"selector": selector, "nodes": len(places), "command": self.command},
            cause=None,
        )
        run = Run(
            id=run_id,
            selector=selector,
            command=self.command,
            actor=principal.name,
            reason=reason,
            at=now,
            event=event.id,
            alive_at=now,
            nodes=tuple(NodeRun(node=place.node) for place in places),
        )
        return run, event

    # --- carrying out -----------------------------------------------------------------------------------------------

    async def _carry_out(self, run: Run, places: tuple[Place, ...]) -> None:
        found = await asyncio.gather(*(self._one(run, place) for place in places), return_exceptions=True)
        faults = [one for one in found if one is not None]
        for fault in faults[:3]:
            log.error("a node's run was not kept", run=run.id, error=repr(fault))
        with suppress(JournalError, StoreError):  # `tidy` ends it when the database is back
            await self._end(run, f"What became of it was not kept: {faults[0]}" if faults else "")

    async def _one(self, run: Run, place: Place) -> None:
        """One node, in its turn. Raises JournalError when its end cannot be kept."""
        assert self._ssh is not None
        async with self._turns:
            each = NodeRun(node=place.node, state=NodeRunState.RUNNING, started_at=self._server.now())
            await self._server.call(self.store.keep, run.id, each, None)
            output = Output()
            showing = asyncio.create_task(self._show(run.id, each, output))
            try:
                exit_code = await self._ssh.run(place, output.add)
                each = replace(each, state=state_of(exit_code), exit_code=exit_code)
            except Unreachable as error:
                each = replace(each, state=NodeRunState.UNREACHABLE, error=str(error))
            except TimeoutError:
                why = "It lasted longer than timeout_s of the settings, and was ended. See what it printed."
                each = replace(each, state=NodeRunState.TIMEOUT, error=why)
            finally:
                showing.cancel()
                await asyncio.gather(showing, return_exceptions=True)
            each = replace(each, ended_at=self._server.now())
            event = self._event(run, "run.node_ended", f"node/{place.node}", _words(each), {"state": each.state.value})
            await self._server.call(self.store.keep, run.id, each, output.printed(), [event])

    async def _show(self, run_id: str, each: NodeRun, output: Output) -> None:
        """Keep what is printed while it is printed."""
        kept = Printed(text="")
        while True:
            await asyncio.sleep(KEEP_EVERY_S)
            printed = output.printed()
            if printed != kept:
                with suppress(JournalError, StoreError):
                    await self._server.call(self.store.keep, run_id, each, printed)
                    kept = printed

    async def _end(self, run: Run, error: str) -> None:
        """Keep that it is over, and journal how it went."""
        found = await self._server.call(self.store.find, run.id)
        if found is None:
            return
        states = Counter((NodeRunState.LOST if node.state in OPEN else node.state).value for node in found.nodes)
        bad = [node.node for node in found.nodes if node.state not in GOOD][:50]
        data = {"states": dict(states), "not_well": bad}
        event = self._event(run, "run.ended", f"run/{run.id}", error or "every node was asked", data)
        await self._server.call(lambda: self.store.end(run.id, self._server.now(), event, error=error))

    def _event(self, run: Run, kind: str, subject: str, reason: str, data: Mapping[str, object]) -> Event:
        about = {"run": run.id, **data}
        return Event(
            id=new_id(), time=self._server.now(), kind=kind, subject=subject, actor=run.actor, reason=reason,
            data=about, cause=run.event,
        )  # fmt: skip

    # --- housekeeping -----------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._tidy_often(), name="runs")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self.close()

    async def close(self) -> None:
        """What is under way is given up: nobody hears what becomes of the commands, which end by their own timeout."""
        tasks = dict(self._mine)
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
        for run_id in tasks:
            with suppress(JournalError, StoreError):
                found = await self._server.call(self.store.find, run_id)
                if found is not None:
                    await self._end(found, _ENDED)

    async def _tidy_often(self) -> None:
        while True:
            await asyncio.sleep(TURN_S)
            try:
                await self.tidy()
            except (JournalError, StoreError) as error:
                log.debug("runs wait for the database", error=str(error))
            except Exception:
                log.exception("the runs' housekeeping failed")

    async def tidy(self) -> None:
        """Say which runs are ours; end those that are nobody's any more."""
        now = self._server.now()
        if self._mine:
            await self._server.call(self.store.alive, list(self._mine), now)
        for run in await self._server.call(self.store.under_way):
            if run.id not in self._mine and is_dead(run, now):
                await self._end(run, _DIED)


def _words(each: NodeRun) -> str:
    if each.error:
        return each.error[:500]
    return f"{each.state.value}, exit code {each.exit_code}"
