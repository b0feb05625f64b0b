"""The newest snapshot, in memory: read out of the store when its marks move, told to whoever waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from backstay.estate import EstateFaults, load_text
from backstay.link.wire import Report
from backstay.server.model import AgentRecord, EstateRevision, ServerChange, ServerOrder, Snapshot
from backstay.server.ports import Kept, Marks, Store
from backstay.server.weigh import Places, Telling, index

ENDED_LIMIT = 2_000  # changes that ended lately, in a snapshot
ORDERS_LIMIT = 1_000
CROWD = 100  # who wait for a revision
CROWD_WAITS_S = 0.1
SEEN_EVERY_S = 5.0  # what an agent's `seen_at` may lag behind


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What the store has that the snapshot has not."""

    marks: Marks
    kept: Kept | None = None  # what altered since the snapshot's revision; None: nothing
    places: Places | None = None  # of kept.estate
    fault: str = ""  # why there are none: this version does not take that estate
    agents: tuple[AgentRecord, ...] = ()


class Newest:
    """Methods that do I/O say so, and run in a thread; all others run on the event loop."""

    def __init__(self, store: Store, now: Callable[[], datetime]) -> None:
        """Asks the store who it is. Raises StoreError."""
        self._store = store
        self._now = now
        self._marks = Marks(revision=-1, agents=-1)
        self._trouble: dict[str, str] = {}
        self._revised = asyncio.Event()
        self._altered = asyncio.Event()
        self._reports: dict[str, tuple[Report, datetime]] = {}  # that came since the last snapshot
        self.together = False  # reports wait for `publish_reports`; else each makes a snapshot of its own
        self._waiting = 0  # for a revision
        self.ending = False  # the server ends: nobody waits any more
        self.places: Places | None = None
        self.telling: Telling | None = None
        self.snapshot = Snapshot(at=now(), server=store.identity(), revision=0)

    # --- from the store ---------------------------------------------------------------------------------------------

    def read(self) -> News | None:
        """I/O: what is new in the store; None when nothing is. Raises StoreError."""
        marks = self._store.marks()
        if marks == self._marks:
            return None
        agents = tuple(self._store.agents(self._marks.agents)) if marks.agents != self._marks.agents else ()
        if marks.revision == self._marks.revision:
            return News(marks=marks, agents=agents)
        kept = self._store.kept(self._marks.revision, ended_limit=ENDED_LIMIT, orders_limit=ORDERS_LIMIT)
        marks = replace(marks, revision=kept.revision)
        if kept.estate is None:
            return News(marks=marks, kept=kept, agents=agents)
        places, fault = _places_of(kept.estate)
        return News(marks=marks, kept=kept, places=places, fault=fault, agents=agents)

    def take(self, news: News | None) -> None:
        """Make `news` part of the snapshot."""
        if news is None:
            return
        agents = _merged(self.snapshot.agents, news.agents)
        self._marks = news.marks
        if news.kept is None:
            self._publish(replace(self.snapshot, at=self._now(), agents=agents))
            return
        kept = news.kept
        snapshot = replace(
            self.snapshot,
            at=self._now(),
            revision=kept.revision,
            changes=_in_force(self.snapshot.changes, kept),
            ended=(*kept.ended, *self.snapshot.ended)[:ENDED_LIMIT],
            orders=_orders(self.snapshot.orders, kept),
            agents=agents,
        )
        if kept.estate is not None:
            self.places = news.places
            self.trouble("estate", news.fault or None, publish=False)
            estate = None if news.places is None else news.places.declared
            trouble = tuple(self._trouble.values())
            snapshot = replace(snapshot, adopted=kept.estate, estate=estate, trouble=trouble)
        self.telling = None if self.places is None else Telling(snapshot, self.places, self.telling)
        self._publish(snapshot)

    # --- from the agents --------------------------------------------------------------------------------------------

    def reported(self, report: Report) -> bool:
        """`report` is the newest of its agent; False: no such agent is enrolled."""
        known = self.snapshot.agents.get(report.lb)
        if known is None or known.revoked_at is not None:
            return False
        self._reports[report.lb] = (report, self._now())
        if not self.together:
            self.publish_reports()
        return True

    def publish_reports(self) -> None:
        """Make what came the newest. A thousand agents report 50 times a second: a snapshot each would be looked at by
        nobody, and whatever is computed of a snapshot, and kept with it, would be computed 50 times a second, too.
        """
        if self._reports:
            reports, self._reports = self._reports, {}
            agents = dict(self.snapshot.agents)
            for lb, (report, at) in reports.items():
                agents[lb] = replace(agents[lb], report=report, reported_at=at, seen_at=at)
            self._publish(replace(self.snapshot, at=self._now(), agents=agents))

    def seen(self, seen_at: Mapping[str, datetime]) -> None:
        """Agents were heard of at these times, by this server or another."""
        agents = dict(self.snapshot.agents)
        for lb, at in seen_at.items():
            known = agents.get(lb)
            if known is not None and (known.seen_at is None or known.seen_at < at):
                agents[lb] = replace(known, seen_at=at)
        if agents != self.snapshot.agents:
            self._publish(replace(self.snapshot, at=self._now(), agents=agents))

    def is_stale(self, lb: str) -> bool:
        """Was the agent last heard of so long ago that it is worth telling at once?"""
        known = self.snapshot.agents.get(lb)
        if known is None or known.revoked_at is not None:
            return False
        return known.seen_at is None or (self._now() - known.seen_at).total_seconds() > SEEN_EVERY_S

    # --- who waits --------------------------------------------------------------------------------------------------

    def trouble(self, about: str, words: str | None, *, publish: bool = True) -> None:
        """Something is wrong with the server itself; None: not any more."""
        if words is None:
            self._trouble.pop(about, None)
        else:
            self._trouble[about] = words
        found = tuple(self._trouble.values())
        if publish and found != self.snapshot.trouble:
            self._publish(replace(self.snapshot, at=self._now(), trouble=found))

    async def wait(self, after_revision: int, timeout_s: float) -> Snapshot:
        """As soon as the revision is above, else at the timeout."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        self._waiting += 1
        try:
            while self.snapshot.revision <= after_revision and not self.ending:
                if not await _until(self._revised, deadline):
                    break
        finally:
            self._waiting -= 1
        return self.snapshot

    async def changed(self, since: Snapshot, timeout_s: float) -> Snapshot:
        """As soon as there is another than `since`, else at the timeout."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while self.snapshot is since and not self.ending and await _until(self._altered, deadline):
            pass
        return self.snapshot

    def end(self) -> None:
        """Who waits goes home with what there is."""
        self.ending = True
        self._revised.set()
        self._altered.set()

    def _publish(self, snapshot: Snapshot) -> None:
        revised = snapshot.revision != self.snapshot.revision
        self.snapshot = snapshot
        # An event once set stays set: those who wait next wait for a new one.
        altered, self._altered = self._altered, asyncio.Event()
        altered.set()
        if revised:
            told, self._revised = self._revised, asyncio.Event()
            # All at once: answers go out before the same agents' next questions are read. A crowd keeps the loop busy
            # for a second, so who asked for the change has an answer first.
            if self._waiting > CROWD:
                asyncio.get_running_loop().call_later(CROWD_WAITS_S, told.set)
            else:
                told.set()


async def _until(event: asyncio.Event, deadline: float) -> bool:
    """Wait for `event`; False at the deadline (of the loop's clock)."""
    try:
        async with asyncio.timeout_at(deadline):
            return await event.wait()
    except TimeoutError:
        return False


def _in_force(known: Iterable[ServerChange], kept: Kept) -> tuple[ServerChange, ...]:
    """Changes are put and end, and are never altered otherwise: what is new is the newest."""
    over = {change.id for change in kept.ended}
    return (*(change for change in known if change.id not in over), *kept.changes)


def _orders(known: Iterable[ServerOrder], kept: Kept) -> tuple[ServerOrder, ...]:
    """Newest first; those that were settled stay in their places."""
    news = {order.order.id: order for order in kept.orders}
    settled = [news.pop(order.order.id, order) for order in known]
    return (*news.values(), *settled)[:ORDERS_LIMIT]


def _merged(known: Mapping[str, AgentRecord], stored: Iterable[AgentRecord]) -> Mapping[str, AgentRecord]:
    """Records of the store over those in memory, but for reports that are on their way to it."""
    agents = dict(known)
    for record in stored:
        here = agents.get(record.lb)
        agents[record.lb] = record if here is None else _with_newer(record, here)
    return agents


def _with_newer(record: AgentRecord, here: AgentRecord) -> AgentRecord:
    if here.reported_at is None or (record.reported_at is not None and here.reported_at <= record.reported_at):
        return replace(record, seen_at=here.seen_at)
    return replace(record, seen_at=here.seen_at, report=here.report, reported_at=here.reported_at)


def _places_of(adopted: EstateRevision) -> tuple[Places | None, str]:
    """The estate, indexed; or why this version does not take what another one adopted."""
    try:
        return index(load_text(adopted.text, f"estate {adopted.number}", Path()).estate), ""
    except EstateFaults as faults:
        return (
            None,
            f"Estate {adopted.number} does not hold for this version: {str(faults).splitlines()[0]} Adopt another.",
        )
