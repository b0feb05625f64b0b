"""`Desk`: one estate, one store, and every question that the audit answers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self

from backstay.audit.desk import answers, fixing
from backstay.audit.desk.filling import importing
from backstay.audit.desk.filling.collecting import STORE_TIMEOUT_S, collect_facts, collect_indicators
from backstay.audit.desk.filling.noting import ACTOR, Record, note
from backstay.audit.desk.filling.sources import Opened, fact_sources, indicator_sources
from backstay.audit.desk.reviewing import answer, steady
from backstay.audit.desk.scene import declared
from backstay.audit.desk.stored import TELLING, Stored
from backstay.audit.explain.since import lasting
from backstay.audit.explain.volatility import learn_habits
from backstay.audit.fix import Fix
from backstay.audit.fix.shell import Fixes
from backstay.audit.knowing import remember
from backstay.audit.model import FactChange
from backstay.audit.planned import Planned
from backstay.audit.ports import FactSource, IndicatorSource, Surroundings
from backstay.audit.review import Week, review
from backstay.audit.store import AuditStore
from backstay.estate import Estate
from backstay.journal import Event

Answer = dict[str, Any]  # JSON values only
STORE = "audit.duckdb"
CHANGES_LIMIT = 500  # of one collection that are listed; more are counted
PRUNE_EVERY = timedelta(hours=1)
PRUNED = "pruned"  # kind and id of the record that says when


class Desk:
    """Not for two tasks at once: one question after the other."""

    def __init__(
        self,
        estate: Estate,
        around: Surroundings,
        store: AuditStore,
        record: Record | None = None,
    ) -> None:
        self._estate = estate
        self._around = around
        self._store = store
        self._record = record
        self._facts: list[Opened[FactSource]] | None = None  # opened when they are first asked
        self._indicators: list[Opened[IndicatorSource]] | None = None

    @classmethod
    def open(
        cls,
        estate: Estate,
        base: Path,
        state: Path,
        *,
        clock: Callable[[], datetime],
        lock_timeout_s: float = 10.0,
        record: Record | None = None,
    ) -> Self:
        """Open (or make) `state`/audit.duckdb. `base`: folder of the estate file. `record`: where facts' changes go.

        Raises StoreBusy when another process holds the store for longer than `lock_timeout_s`, StoreError when the
        store cannot be used. A source with a fault is told by `collect`, and stops nothing else.
        """
        store = AuditStore.open(state / STORE, clock, lock_timeout_s=lock_timeout_s)
        addresses = {name: str(node.address) for name, node in estate.nodes.items()}
        around = Surroundings(addresses=addresses, base=base, clock=clock, estate=estate, state=state)
        return cls(estate, around, store, record)

    async def collect(
        self, facts: bool, indicators: bool, *, timeout_s: float, since: timedelta | None = None
    ) -> Answer:
        """Read every source at once, `timeout_s` each, and keep what they say. One that fails does not stop the others.

        `since`: how far back to ask sources with a memory; None: from the last sample kept, some hours at most.

            {"time": ISO,
             "facts": {"sources": [{"source", "nodes", "seconds", "problem"}], "read": nodes,
                       "half": [{"node", "unread": {fact or group: why}, "without_root": bool}],
                       "unreadable": [{"node", "problem"}], "changed": count} | None,
             "indicators": {"sources": [{"source", "series", "samples", "seconds", "problem"}],
                            "new": samples, "mended": [what was left out or put right]} | None,
             "changes": [{"node", "fact", "before", "after", "time"}], those that last
             "forgotten": samples and facts that were too old,
             "problems": [sentence]}

        Raises StoreError, and JournalError when a change cannot be recorded: all is kept, and it is recorded next time.
        """
        now, nodes = self._around.clock(), tuple(self._estate.nodes)
        told: Answer = {"time": now.isoformat(), "facts": None, "indicators": None, "changes": []}
        problems: list[str] = []
        lasted: list[FactChange] = []
        if facts:
            self._facts = self._facts or fact_sources(self._estate, self._around)
            told["facts"], changes, found = await collect_facts(
                self._facts, nodes, self._store, now=now, timeout_s=timeout_s
            )
            lasted = await self._lasting(changes)
            told["changes"] = [answers.of_change(change) for change in lasted[:CHANGES_LIMIT]]
            problems += found
        if indicators:
            self._indicators = self._indicators or indicator_sources(self._estate, self._around)
            told["indicators"], found = await collect_indicators(
                self._indicators,
                nodes,
                self._store,
                now=now,
                step_s=self._estate.audit.every_s,
                since=since,
                timeout_s=timeout_s,
            )
            problems += found
        told |= {"forgotten": await self._prune(now), "problems": problems}
        if self._record is not None:
            await note(self._store.records, self._record, lasted, now)
        return told

    async def bring_in(self, path: Path, *, counters: Collection[str] = ()) -> Answer:
        """A file of facts or indicators into the store; a second time adds nothing.

        {"file", "kind": "facts" | "indicators", "nodes", "read": facts or samples in it, "changed": facts, or "new":
        samples, "problems"}. `counters`: indicators that only grow, beside those named ..._total. Raises SourceError
        for a faulty file, StoreError.
        """
        return await importing.bring_in(
            self._store, path, self._estate.nodes, counters=counters, now=self._around.clock()
        )

    async def clusters(self, since: timedelta) -> list[Answer]:
        """A row a cluster of the estate:

        {"cluster", "nodes": [name], "work": indicator or null, "indicators": [name], "grade": the worst finding's,
         "indicator": of the worst finding or null, "sentence", "differs": [node],
         "from": ISO or null, "to": ISO or null, "facts_at": ISO or null, "problems": [sentence]}
        """
        facts_at = await self._store.facts.latest(timeout_s=STORE_TIMEOUT_S)
        measured = answers.at_a_glance(await self._stored().scenes(since))
        by_cluster = {row["cluster"]: row for row in measured}
        rows = []
        for name in self._estate.clusters:
            cluster = declared(self._estate, name)
            read = [facts_at[node] for node in cluster.nodes if node in facts_at]
            row = by_cluster.get(name) or answers.unmeasured(cluster)
            rows.append({**row, "facts_at": max(read).isoformat() if read else None})
        return rows

    async def facts_diff(self, cluster: str) -> Answer:
        """report.data.of_differences, and "unread_why": {node: {fact or group: why}}, "problems".

        Raises NotSo for a cluster that is none, or without facts of two nodes.
        """
        return answers.facts_diff(declared(self._estate, cluster), await self._stored().history())

    async def compare(self, cluster: str, since: timedelta) -> Answer:
        """{"cluster", "from", "to", "step_s", "indicators": [of_comparison + "finding": of_finding], "problems"}.

        Raises NotSo when nothing was measured there.
        """
        return answers.compared(await self._stored().scene(cluster, since))

    async def explain(self, cluster: str, indicator: str, since: timedelta) -> Answer:
        """of_finding, and:

        "comparison": of_comparison, "from", "to", "step_s", "unit", "work",
        "series": {"times_s": [Unix, n <= 400], "nodes": [{"node", "group", "label", "absolute": [n], "beside": [n]}]}
        with null for a gap, "changes": [{"node", "fact", "before", "after", "time"}] within the time looked at,
        "sections": [{"heading", "lines", "header", "rows"}], "text", "markdown", "html": the report. Raises NotSo.
        """
        answer, finding = answers.explained(await self._stored().scene(cluster, since, indicator), indicator)
        told = remember(finding, self._around.clock())
        if told is not None:
            await self._store.records.put(TELLING, f"{cluster}/{indicator}", told, timeout_s=STORE_TIMEOUT_S)
        return answer

    async def review(
        self, end: datetime | None, clusters: Sequence[str] = (), *, events: Sequence[Event] = ()
    ) -> Answer:
        """The seven days up to `end` (None: now) in `clusters` (none: all of the estate). `events`: of the journal, to
        be named beside what moved.

        report.week.of_review, and "text", "markdown", "html". Raises NotSo for a cluster that is none, StoreError.
        """
        week, stored = Week.until(end or self._around.clock()), self._stored()
        watched = await stored.watched(clusters or tuple(self._estate.clusters), week.end)
        history = await stored.history(min((one.grid.start for one in watched), default=None))
        changes = steady(history.table, history.changes, history.days)
        return answer(review(watched, week, changes=changes, events=events))

    async def register(self, planned: Planned) -> Answer:
        """The fix as fix.record.of_fix, and "sentence". Raises NotSo, StoreError, JournalError."""
        fix = Fix.of(planned, self._around.clock())
        return await fixing.register(self._fixes(), self._store, self._estate, fix)

    async def verify(self, fix_id: str, *, actor: str = ACTOR) -> Answer:
        """Did the fix do what was expected? As `register`, with the verdict, "finding": of_finding or null, "series",
        "sections" (report.data.of_story), "problems", "text", "markdown", "html".

        Raises NotSo for a fix that there is not, StoreError, JournalError.
        """
        return await fixing.verify(self._fixes(), self._stored(), fix_id, self._around.clock(), actor)

    async def fixes(self) -> list[Answer]:
        """All fixes, the newest first, each as `register` answers. Raises NotSo, StoreError."""
        return await fixing.everything(self._fixes())

    async def close(self) -> None:
        """Close every source, and give the store free for others."""
        opened: Sequence[Opened[Any]] = [*(self._facts or ()), *(self._indicators or ())]
        try:
            for one in opened:
                if one.source is not None:
                    await one.source.close()
        finally:
            await self._store.close()

    def _fixes(self) -> Fixes:
        return Fixes(self._store.records, clock=self._around.clock, record=self._record)

    def _stored(self) -> Stored:
        return Stored(self._store, self._estate, self._around.clock())

    async def _lasting(self, changes: Sequence[FactChange]) -> list[FactChange]:
        """Without what changes by itself, as far as that is known."""
        if not changes:
            return []
        history = await self._stored().history()
        habits = learn_habits(history.table, history.changes, days=max(history.days, answers.DAY))
        return list(lasting(changes, frozenset(change.node for change in changes), habits))

    async def _prune(self, now: datetime) -> int:
        """Forget by age, once an hour at most: how much is gone."""
        records = await self._store.records.all(PRUNED, timeout_s=STORE_TIMEOUT_S)
        last = records.get(PRUNED)
        if last is not None and timedelta(0) <= now - datetime.fromisoformat(last["time"]) < PRUNE_EVERY:
            return 0
        gone = await self._store.indicators.prune(now=now, timeout_s=STORE_TIMEOUT_S)
        gone += await self._store.facts.prune(now=now, timeout_s=STORE_TIMEOUT_S)
        await self._store.records.put(PRUNED, PRUNED, {"time": now.isoformat()}, timeout_s=STORE_TIMEOUT_S)
        return gone
