"""Reports folded into what the tables `reports` and `runs` have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np

from backstay.audit.intervals import READING, NodeFacts, Run, changes_of
from backstay.audit.model import FactChange, FactReport
from backstay.audit.store.database import Columns, Session
from backstay.audit.store.facts.rows import EPOCH, Asked, latest, moment, reading_runs, stamp

NODES_AT_ONCE = 500  # whose runs are in memory


class Folding:
    """One `add`. `latest`: what is later is from the future; `forgotten`: nothing older is taken of a known node."""

    def __init__(self, session: Session, *, latest: datetime, forgotten: datetime) -> None:
        self._session = session
        self._latest = latest
        self._forgotten = forgotten
        self.changes: list[FactChange] = []
        self.problems: list[str] = []

    def fold(self, reports: Sequence[FactReport]) -> None:
        by_node: dict[str, list[FactReport]] = {}
        for report in reports:
            by_node.setdefault(report.node, []).append(report)
        nodes = list(by_node)
        for at in range(0, len(nodes), NODES_AT_ONCE):
            self._fold({node: by_node[node] for node in nodes[at : at + NODES_AT_ONCE]})

    def _fold(self, reports: dict[str, list[FactReport]]) -> None:
        with Asked(self._session, tuple(reports)) as asked:
            last = latest(asked)
            usable = {node: self._usable(several, last.get(node)) for node, several in reports.items()}
            late = [
                node for node, several in usable.items() if several and node in last and several[0].time <= last[node]
            ]
            known = self._newest(asked, last)
        if late:
            with Asked(self._session, late) as asked:
                known |= self._whole(asked)
        written = Written()
        for node, several in usable.items():
            facts = known.get(node) or NodeFacts(node)
            before, times = _rows(facts), set(facts.times)
            for report in several:
                facts.add(report)
            self.changes += written.difference(facts, before, _rows(facts))
            written.reports += [(node, stamp(time)) for time in facts.times if time not in times]
        written.save(self._session)

    def _usable(self, reports: Iterable[FactReport], last: datetime | None) -> list[FactReport]:
        """Sorted by time; of one time in the order in which they were told."""
        found = []
        for report in reports:
            where = f"{report.node}, {report.source}: a report of {report.time:%Y-%m-%d %H:%M:%S} UTC left out"
            if report.time > self._latest:
                self.problems.append(f"{where}: that is later than now. Is a clock wrong?")
            elif report.time < EPOCH:
                self.problems.append(f"{where}: that is before 1970. Is a clock wrong?")
            elif last is not None and report.time < min(last, self._forgotten):
                self.problems.append(f"{where}: that time is forgotten, and newer reports are there.")
            else:
                values, unread = _texts(report.values), _texts(report.unread)
                found.append(replace(report, values=values, unread=unread, problem=_text(report.problem)))
        return sorted(found, key=lambda one: one.time)

    def _newest(self, asked: Asked, last: dict[str, datetime]) -> dict[str, NodeFacts]:
        """Enough for reports that are later than `last`."""
        found = reading_runs(asked)
        rows = self._session.rows(
            'SELECT node, fact, value, "first" FROM runs SEMI JOIN asked USING (node) '
            "WHERE \"last\" IS NULL AND fact <> ''"
        )
        for node, fact, value, first in rows:
            facts = found[node]
            seen = facts.last(fact)
            assert seen is not None
            facts.runs[fact] = [Run(value, moment(first), seen)]
        for node, facts in found.items():
            facts.times = [last[node]]
        return found

    def _whole(self, asked: Asked) -> dict[str, NodeFacts]:
        found = reading_runs(asked)
        rows = self._session.rows(
            'SELECT node, fact, value, "first", "last" FROM runs SEMI JOIN asked USING (node) '
            "WHERE fact <> '' ORDER BY node, fact, \"first\""
        )
        for node, fact, value, first, last in rows:
            facts = found[node]
            seen = moment(last) if last is not None else facts.last(fact)
            assert seen is not None
            facts.runs.setdefault(fact, []).append(Run(value, moment(first), seen))
        # Times that were forgotten live on as ends of runs.
        times = {
            node: {end for run in facts.runs[READING] for end in (run.first, run.last)} for node, facts in found.items()
        }
        for node, time in self._session.rows("SELECT node, time FROM reports SEMI JOIN asked USING (node)"):
            times[node].add(moment(time))
        for node, facts in found.items():
            facts.times = sorted(times[node])
        return found


def _texts(told: Mapping[str, str]) -> dict[str, str]:
    """As UTF-8 can have it: bytes of a broken fact must not keep out all the others."""
    return {_text(name): _text(value) for name, value in told.items()}


def _text(told: str) -> str:
    return told if told.isascii() else told.encode("utf-8", "replace").decode()


Row = tuple[str | None, datetime, datetime | None]  # value, first, last; last is None in the newest


def _rows(facts: NodeFacts) -> dict[str, list[Row]]:
    """As they stand in the table, by fact."""
    return {
        fact: [(run.value, run.first, run.last if at + 1 < len(runs) else None) for at, run in enumerate(runs)]
        for fact, runs in facts.runs.items()
    }


class Written:
    """Rows to be written at once."""

    def __init__(self) -> None:
        self.reports: list[tuple[str, int]] = []
        self._gone: list[tuple[str, str, int]] = []
        self._new: list[tuple[str, str, str | None, int, int]] = []  # last is -1 in the newest

    def difference(
        self, facts: NodeFacts, before: dict[str, list[Row]], after: dict[str, list[Row]]
    ) -> list[FactChange]:
        """What changed of one node's facts."""
        changes: list[FactChange] = []
        for fact, rows in after.items():
            old = before.get(fact, [])
            if rows == old:
                continue
            self._gone += [(facts.node, fact, stamp(first)) for _, first, _ in set(old) - set(rows)]
            self._new += [
                (facts.node, fact, value, stamp(first), stamp(last) if last is not None else -1)
                for value, first, last in set(rows) - set(old)
            ]
            if fact != READING:
                known = set(changes_of(facts.node, fact, [Run(value, first, first) for value, first, _ in old]))
                changes += [one for one in changes_of(facts.node, fact, facts.runs[fact]) if one not in known]
        return changes

    def save(self, session: Session) -> None:
        if self._gone:
            with session.given("gone", _columns(("node", "fact", "first"), self._gone)):
                session.run(
                    "DELETE FROM runs USING gone WHERE runs.node = gone.node AND runs.fact = gone.fact "
                    'AND runs."first" = gone."first"'
                )
        if self._new:
            new = [
                (node, fact, value or "", value is None, first, last) for node, fact, value, first, last in self._new
            ]
            with session.given("new", _columns(("node", "fact", "value", "absent", "first", "last"), new)):
                session.run(
                    "INSERT INTO runs SELECT node, fact, CASE WHEN absent THEN NULL ELSE value END, "
                    '"first", nullif("last", -1) FROM new'
                )
        if self.reports:
            with session.given("new", _columns(("node", "time"), self.reports)):
                session.run("INSERT INTO reports SELECT node, time FROM new")


def _columns(names: Sequence[str], rows: Sequence[tuple[str | int | bool, ...]]) -> Columns:
    found = {}
    for name, values in zip(names, zip(*rows, strict=True), strict=True):
        found[name] = np.array(values, object if isinstance(values[0], str) else None)
    return found
