"""Facts of all nodes as intervals (intervals.py), in the tables `reports` and `runs`.

A report without news costs a row of `reports`. One that is later than all before of its node needs only the node's
newest runs; a late one reads all of them, which is seldom.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from backstay.audit.intervals import NodeFacts
from backstay.audit.model import FactChange, FactInterval, FactReport, FactTable
from backstay.audit.sources.gridding import SKEW_S
from backstay.audit.sources.history import History, history_of
from backstay.audit.store.database import Database, Session
from backstay.audit.store.facts.folding import Folding
from backstay.audit.store.facts.rows import Asked, changes, days, latest, moment, reading_runs, stamp, values_at
from backstay.audit.store.retention import Retention


class Facts:
    """A FactStore. A method that is given no nodes means all that it knows, by name."""

    def __init__(self, database: Database, clock: Callable[[], datetime], retention: Retention) -> None:
        self._database = database
        self._clock = clock
        self._retention = retention
        self.problems: tuple[str, ...] = ()  # reports that the last `add` left out, and why

    async def add(self, reports: Sequence[FactReport], *, timeout_s: float) -> Sequence[FactChange]:
        """Fold them in, in any order, several of one node and time too. Returns what changed, oldest first.

        A report from later than now is left out and told in `problems`, and so is a late one about a time that is
        forgotten. Raises StoreError, TimeoutError: nothing of it is kept then.
        """
        now = self._clock()
        forgotten = moment(Retention.before(now, self._retention.fact_days) * 1_000_000)

        def add(session: Session) -> Folding:
            folding = Folding(session, latest=now + timedelta(seconds=SKEW_S), forgotten=forgotten)
            folding.fold(reports)
            return folding

        folded = await self._database.call(add, timeout_s=timeout_s)
        self.problems = tuple(folded.problems)
        return sorted(folded.changes, key=lambda one: (one.time, one.node, one.fact))

    async def table(self, nodes: Sequence[str], *, at: datetime | None = None, timeout_s: float) -> FactTable:
        """The facts as they were last seen (by `at`); a node without any report has every fact unread."""
        when = at or datetime.max.replace(tzinfo=UTC)
        return (await self.history(nodes, start=when, end=when, timeout_s=timeout_s)).table

    async def history(self, nodes: Sequence[str], *, start: datetime, end: datetime, timeout_s: float) -> History:
        """The facts as last seen by `end`, the changes from `start` to `end`, and what the last reports could not read.

        `days`: from the first report in this time to the last; 0.0 where there are not two.
        """

        def history(session: Session) -> History:
            with Asked(session, nodes) as asked:
                known = reading_runs(asked)
                return history_of(
                    values_at(asked, end),
                    {node: known.get(node, NodeFacts(node)).reading(end) for node in asked.nodes},
                    changes(asked, start, end),
                    days=days(asked, start, end),
                )

        return await self._database.call(history, timeout_s=timeout_s)

    async def intervals(
        self, nodes: Sequence[str], *, start: datetime, end: datetime, timeout_s: float
    ) -> Sequence[FactInterval]:
        """Those that reach into [start, end], whole; by node, fact and time."""

        def intervals(session: Session) -> list[FactInterval]:
            with Asked(session, nodes) as asked:
                readings = reading_runs(asked)
                rows = session.rows(
                    'SELECT node, fact, value, "first", "last" FROM runs SEMI JOIN asked USING (node) '
                    "WHERE fact <> '' AND value IS NOT NULL AND \"first\" <= $2 "
                    'AND ("last" IS NULL OR "last" >= $1) ORDER BY node, fact, "first"',
                    (stamp(start), stamp(end)),
                )
            found = []
            for node, fact, value, first, last in rows:
                seen = moment(last) if last is not None else readings[node].last(fact)
                assert seen is not None  # a run has a report that saw it
                if seen >= start:
                    found.append(
                        FactInterval(node=node, fact=fact, value=value, first_seen=moment(first), last_seen=seen)
                    )
            return found

        return await self._database.call(intervals, timeout_s=timeout_s)

    async def changes(
        self, nodes: Sequence[str], *, start: datetime, end: datetime, timeout_s: float
    ) -> Sequence[FactChange]:
        """From `start` to `end`, oldest first."""

        def found(session: Session) -> list[FactChange]:
            with Asked(session, nodes) as asked:
                return changes(asked, start, end)

        return await self._database.call(found, timeout_s=timeout_s)

    async def nodes(self, *, timeout_s: float) -> tuple[str, ...]:
        """Every node that was ever reported, by name."""
        return tuple(sorted(await self.latest(timeout_s=timeout_s)))

    async def latest(self, nodes: Sequence[str] = (), *, timeout_s: float) -> dict[str, datetime]:
        """Node -> time of its last report; a node without any is not in it."""

        def found(session: Session) -> dict[str, datetime]:
            with Asked(session, nodes) as asked:
                return latest(asked)

        return await self._database.call(found, timeout_s=timeout_s)

    async def prune(self, *, now: datetime, timeout_s: float) -> int:
        """Forget what was last seen before `fact_days`, and is not so any more. Returns the intervals that are gone."""
        cutoff = Retention.before(now, self._retention.fact_days) * 1_000_000

        def prune(session: Session) -> int:
            session.run(
                "DELETE FROM reports WHERE time < $1 "
                "AND (node, time) NOT IN (SELECT node, max(time) FROM reports GROUP BY node)",
                (cutoff,),
            )
            return session.run('DELETE FROM runs WHERE "last" < $1', (cutoff,))

        return await self._database.call(prune, timeout_s=timeout_s)

    async def close(self) -> None:
        """Nothing of its own: the store is closed as a whole."""
