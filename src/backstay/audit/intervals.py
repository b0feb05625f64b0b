"""Facts of one node as intervals: which value each had, from when to when.

A report is whole: a fact that the node is known to have, and that a report neither has nor calls unread, is absent
then. What is unread says nothing: it neither ends an interval nor counts as absent. Reports of one node at one time are
one report; where they contradict each other, the last that was told counts.

Reports may come in any order. The intervals are those of the reports sorted by time, whatever the order: each report
sets what was seen of each fact at its time, and runs of the same value are kept as one.
"""

from __future__ import annotations

import itertools
import json
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property

from backstay.audit.model import FactChange, FactInterval, FactReport

READING = ""  # no fact has this name: its runs say what was unread, and why


@dataclass(frozen=True, slots=True)
class Run:
    """The same was seen from `first` to `last`, both of them times of reports."""

    value: str | None  # None: absent
    first: datetime
    last: datetime


@dataclass(frozen=True)
class Reading:
    """How well a node could be read at one time."""

    unread: Mapping[str, str] = field(default_factory=dict)  # fact, or a group "dmi.*" -> why
    problem: str = ""  # it could not be read at all
    despite: tuple[str, ...] = ()  # facts of an unread group that were read after all; sorted

    @classmethod
    def of(cls, report: FactReport) -> Reading:
        unread = {name: why for name, why in report.unread.items() if name not in report.values}
        if report.problem:
            unread.setdefault("*", report.problem)
        hidden = cls(unread)
        return cls(unread, report.problem, tuple(sorted(fact for fact in report.values if hidden.hides(fact))))

    @classmethod
    def parse(cls, text: str) -> Reading:
        """What `text` made."""
        unread, problem, despite = json.loads(text)
        return cls(unread, problem, tuple(despite))

    @cached_property
    def text(self) -> str:
        return json.dumps([dict(sorted(self.unread.items())), self.problem, self.despite], ensure_ascii=False)

    @cached_property
    def _groups(self) -> tuple[str, ...]:
        return tuple(name[:-1] for name in self.unread if name.endswith("*"))

    def hides(self, fact: str) -> bool:
        """Was it not seen whether the node has `fact`?"""
        return fact not in self.despite and (fact in self.unread or fact.startswith(self._groups))


class NodeFacts:
    """The intervals of one node.

    `runs`: by fact, oldest first, without gaps: every report that could have seen the fact lies in one of them, and two
    that follow each other differ. `times`: of the reports, sorted. Where only reports later than all before are to be
    added, the newest time and the newest run of each fact are enough, with all runs of READING.
    """

    def __init__(
        self, node: str, times: list[datetime] | None = None, runs: dict[str, list[Run]] | None = None
    ) -> None:
        self.node = node
        self.times = times or []
        self.runs = runs or {}
        self._parsed: dict[str, Reading] = {}

    def add(self, report: FactReport) -> None:
        """Set what `report` saw at its time."""
        time = report.time
        place = bisect_left(self.times, time)
        if place < len(self.times) and self.times[place] == time:
            report = self._joined(report)
        else:
            insort(self.times, time)
        reading = Reading.of(report)
        self._see(READING, time, reading.text)
        for fact in {**self.runs, **report.values}:
            if fact == READING:
                continue
            if reading.hides(fact):
                self._forget(fact, time)
            else:
                self._see(fact, time, report.values.get(fact))

    def reading(self, at: datetime | None = None) -> Reading:
        """The last by `at` (None: of all)."""
        run = next((one for one in reversed(self.runs.get(READING, [])) if at is None or one.first <= at), None)
        return self._read(run) if run is not None else Reading({"*": "never reported"})

    def values(self, at: datetime | None = None) -> dict[str, str]:
        """The facts as last seen by `at` (None: ever)."""
        found: dict[str, str] = {}
        for fact, runs in self._facts():
            run = next((one for one in reversed(runs) if at is None or one.first <= at), None)
            if run is not None and run.value is not None:
                found[fact] = run.value
        return found

    def intervals(self) -> list[FactInterval]:
        return [
            FactInterval(node=self.node, fact=fact, value=run.value, first_seen=run.first, last_seen=run.last)
            for fact, runs in self._facts()
            for run in runs
            if run.value is not None
        ]

    def changes(self) -> list[FactChange]:
        return [change for fact, runs in self._facts() for change in changes_of(self.node, fact, runs)]

    def last(self, fact: str) -> datetime | None:
        """When it was last seen whether the node has `fact`."""
        return next((run.last for run in reversed(self.runs.get(READING, [])) if self._sees(run, fact)), None)

    def _facts(self) -> Iterator[tuple[str, list[Run]]]:
        return ((fact, runs) for fact, runs in self.runs.items() if fact != READING)

    def _joined(self, report: FactReport) -> FactReport:
        """With what was known of this time before."""
        before = self.reading(report.time)
        values = {}
        for fact, runs in self._facts():
            at = self._covering(runs, report.time)
            value = runs[at].value if at is not None and not before.hides(fact) else None
            if value is not None:
                values[fact] = value
        return replace(
            report,
            values={**values, **report.values},
            unread={**before.unread, **report.unread},
            problem=report.problem or before.problem,
        )

    def _see(self, fact: str, time: datetime, value: str | None) -> None:
        runs = self.runs.get(fact)
        if runs is None:
            runs = self.runs[fact] = self._absent_around(fact, time)
        at = self._covering(runs, time)
        if at is not None:
            if runs[at].value == value:
                return
            runs[at : at + 1] = self._without(runs[at], fact, time)
        at = bisect_right(runs, time, key=lambda run: run.first)
        runs.insert(at, Run(value, time, time))
        _merge(runs, at + 1)
        _merge(runs, at)

    def _forget(self, fact: str, time: datetime) -> None:
        """Nothing was seen of `fact` at `time` after all."""
        runs = self.runs[fact]
        at = self._covering(runs, time)
        if at is None or runs[at].first < time < runs[at].last:
            return
        left = self._without(runs[at], fact, time)
        runs[at : at + 1] = left
        if not left:
            _merge(runs, at)

    def _without(self, run: Run, fact: str, time: datetime) -> list[Run]:
        """`run` before and after `time`, as far as anything was seen there."""
        before, after = self._before(fact, time), self._after(fact, time)
        parts = []
        if before is not None and run.first <= before:
            parts.append(replace(run, last=before))
        if after is not None and after <= run.last:
            parts.append(replace(run, first=after))
        return parts

    def _absent_around(self, fact: str, time: datetime) -> list[Run]:
        """Runs of a fact that no report had so far."""
        if fact == READING:
            return []
        seen = [run for run in self.runs[READING] if self._sees(run, fact)]
        before, after = self._before(fact, time), self._after(fact, time)
        parts = []
        if before is not None:
            parts.append(Run(None, seen[0].first, before))
        if after is not None:
            parts.append(Run(None, after, seen[-1].last))
        return parts

    def _before(self, fact: str, time: datetime) -> datetime | None:
        """The last time before `time` that saw whether there is `fact`."""
        for run in reversed(self.runs.get(READING, [])):
            if run.first < time and self._sees(run, fact):
                return run.last if run.last < time else self.times[bisect_left(self.times, time) - 1]
        return None

    def _after(self, fact: str, time: datetime) -> datetime | None:
        for run in self.runs.get(READING, []):
            if run.last > time and self._sees(run, fact):
                return run.first if run.first > time else self.times[bisect_right(self.times, time)]
        return None

    def _sees(self, run: Run, fact: str) -> bool:
        return fact == READING or not self._read(run).hides(fact)

    def _read(self, run: Run) -> Reading:
        text = run.value
        assert text is not None  # a run of READING
        if text not in self._parsed:
            self._parsed[text] = Reading.parse(text)
        return self._parsed[text]

    @staticmethod
    def _covering(runs: list[Run], time: datetime) -> int | None:
        at = bisect_right(runs, time, key=lambda run: run.first) - 1
        return at if at >= 0 and time <= runs[at].last else None


def changes_of(node: str, fact: str, runs: list[Run]) -> Iterator[FactChange]:
    """What changed where a run follows another; the first is no change."""
    for before, after in itertools.pairwise(runs):
        yield FactChange(
            node=node, fact=fact, before=before.value, after=after.value, time=after.first, unseen_from=before.last
        )


def _merge(runs: list[Run], at: int) -> None:
    """Make one of the runs at `at - 1` and `at`, if they are alike."""
    if 0 < at < len(runs) and runs[at - 1].value == runs[at].value:
        runs[at - 1 : at + 1] = [replace(runs[at - 1], last=runs[at].last)]
