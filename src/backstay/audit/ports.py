"""What the audit needs from outside: who knows the facts, who knows the indicators, and where both are kept.

Every call ends by `timeout_s` and may be cancelled. SourceError is raised when a source as a whole does not answer;
a single node that does not is told in its report, and the others are not held up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from backstay.audit.model import FactChange, FactInterval, FactReport, FactTable, Grid, Series
from backstay.estate.model import Estate


class SourceError(Exception):
    """The source did not answer, or answered nonsense: what, where, what next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a source may know beyond its own settings."""

    addresses: Mapping[str, str]  # node of the estate -> its address
    base: Path  # folder of the estate file: relative paths are below it
    clock: Callable[[], datetime]  # now, UTC
    estate: Estate | None = None  # for a source that works from the estate itself (tier); None: there is none
    state: Path | None = None  # folder for what a source must remember between two runs; None: it forgets


class FactSourceKind(Protocol):
    """An entry point of `backstay.facts`: the kind's name -> this. `settings`: the source's mapping in the estate.

    Raises SourceError for settings that it does not take: which key, what is wrong, what to write.
    """

    def __call__(self, settings: Mapping[str, Any], around: Surroundings) -> FactSource: ...


class IndicatorSourceKind(Protocol):
    """An entry point of `backstay.indicators`; as FactSourceKind."""

    def __call__(self, settings: Mapping[str, Any], around: Surroundings) -> IndicatorSource: ...


class FactSource(Protocol):
    """Found by the entry points `backstay.facts`. `name` is kept beside each fact that it reported."""

    name: str

    async def read(self, nodes: Sequence[str], *, timeout_s: float) -> Sequence[FactReport]:
        """One report for each of `nodes` that this source should know; no nodes: all that it knows.

        A node that cannot be read, or only half, is a report with `problem` or `unread`: never left out, and a fact
        that could not be read is never reported as absent.
        """
        ...

    async def close(self) -> None: ...


class FactStore(Protocol):
    """Facts as intervals. A single writer; readers see whole reports."""

    async def add(self, reports: Sequence[FactReport], *, timeout_s: float) -> Sequence[FactChange]:
        """Fold reports in, oldest first; idempotent. Returns what changed."""
        ...

    async def table(self, nodes: Sequence[str], *, at: datetime | None = None, timeout_s: float) -> FactTable:
        """The facts as they were last seen (by `at`); a node without any report has every fact unread."""
        ...

    async def intervals(
        self, nodes: Sequence[str], *, start: datetime, end: datetime, timeout_s: float
    ) -> Sequence[FactInterval]: ...

    async def changes(
        self, nodes: Sequence[str], *, start: datetime, end: datetime, timeout_s: float
    ) -> Sequence[FactChange]: ...

    async def close(self) -> None: ...


class IndicatorSource(Protocol):
    """Found by the entry points `backstay.indicators`."""

    name: str
    problems: Sequence[str]  # of the last read: who or what did not answer, and what next; the rest was read

    async def read(
        self, nodes: Sequence[str], *, start: datetime, end: datetime, step_s: float, timeout_s: float
    ) -> Sequence[Series]:
        """What was measured in [start, end), about every `step_s`; a source without a memory gives what is now.

        Counters stay counters. Limits its answer, and says so by raising SourceError, never by leaving some out.
        """
        ...

    async def close(self) -> None: ...


class IndicatorStore(Protocol):
    """Indicators on a grid, down-sampled with age. Doubled samples count once, late ones are folded in."""

    async def add(self, series: Sequence[Series], *, timeout_s: float) -> int:
        """Keep them; counters become rates, with resets and wraps seen. Returns how many samples were new."""
        ...

    async def grid(
        self,
        nodes: Sequence[str],
        indicators: Sequence[str],
        *,
        start: datetime,
        end: datetime,
        step_s: float,
        timeout_s: float,
    ) -> Grid:
        """Means of the cells; NaN where nothing was measured. Nodes and indicators in the order asked for."""
        ...

    async def prune(self, *, now: datetime, timeout_s: float) -> int:
        """Down-sample and forget by age. Returns the samples that are gone."""
        ...

    async def close(self) -> None: ...


class RecordStore(Protocol):
    """What the audit itself remembers (registered fixes, findings told before) as JSON objects by kind and id."""

    async def put(self, kind: str, id: str, record: Mapping[str, Any], *, timeout_s: float) -> None:
        """Replaces the one of this kind and id."""
        ...

    async def all(self, kind: str, *, timeout_s: float) -> Mapping[str, Mapping[str, Any]]:
        """id -> record, in the order in which they were first put."""
        ...
