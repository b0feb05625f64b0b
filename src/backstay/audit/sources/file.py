"""Files as sources of facts and indicators: the kind `file` of `backstay.facts` and `backstay.indicators`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, StringConstraints

from backstay.audit.model import FactReport, Series
from backstay.audit.ports import Surroundings
from backstay.audit.sources.factfile import read_facts
from backstay.audit.sources.parquet import read_parquet
from backstay.audit.sources.reading import fault, kind_of
from backstay.audit.sources.samplefile import read_csv
from backstay.audit.sources.settings import below, checked

PathText = Annotated[str, StringConstraints(min_length=1, max_length=4_096)]
MISSING = "not in {path}. Add it, or collect its facts (backstay audit collect)."


class FactsSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    path: PathText
    """File or folder, relative to the estate file."""


class IndicatorsSettings(FactsSettings):
    counters: tuple[str, ...] = ()
    """Indicators that only grow, beside those named ..._total."""


def facts(settings: Mapping[str, Any], around: Surroundings) -> FileFacts:
    """The kind `file` of facts. Raises SourceError."""
    return FileFacts(below(around, checked(FactsSettings, settings, "file").path), around.clock)


def indicators(settings: Mapping[str, Any], around: Surroundings) -> FileIndicators:
    """The kind `file` of indicators. Raises SourceError."""
    given = checked(IndicatorsSettings, settings, "file")
    return FileIndicators(below(around, given.path), given.counters)


class FileFacts:
    """Facts from a file or a folder (factfile.py has the forms)."""

    name = "file"

    def __init__(self, path: Path, clock: Callable[[], datetime]) -> None:
        self._path = path
        self._clock = clock

    async def read(self, nodes: Sequence[str], *, timeout_s: float) -> Sequence[FactReport]:
        """As FactSource says; a node that the file has not is a report with a problem. Raises SourceError."""
        try:
            async with asyncio.timeout(timeout_s):
                found = await asyncio.to_thread(read_facts, self._path, self._clock())
        except TimeoutError:
            raise fault(self._path, f"not read within {timeout_s:g} s. Give more time, or a file a cluster.") from None
        if not nodes:
            return found
        wanted = frozenset(nodes)
        known = [report for report in found if report.node in wanted]
        have = {report.node for report in known}
        now = self._clock()
        problem = MISSING.format(path=self._path)
        missing = [
            FactReport(
                node=node, source=self.name, time=now, values={}, unread={"*": "not in the file"}, problem=problem
            )
            for node in nodes
            if node not in have
        ]
        return [*known, *missing]

    async def close(self) -> None:
        """Nothing is held open."""


class FileIndicators:
    """Indicators from CSV or Parquet. `counters`: indicators that only grow, beside those named ..._total."""

    name = "file"

    def __init__(self, path: Path, counters: Collection[str] = ()) -> None:
        self._path = path
        self._counters = tuple(counters)
        self.problems: Sequence[str] = ()

    async def read(
        self, nodes: Sequence[str], *, start: datetime, end: datetime, step_s: float, timeout_s: float
    ) -> Sequence[Series]:
        """As IndicatorSource says; samples as the file has them, whatever `step_s`. Raises SourceError."""
        async with asyncio.timeout(timeout_s):
            found = await asyncio.to_thread(read_series, self._path, self._counters)
        wanted = frozenset(nodes)
        have = {one.node for one in found}
        self.problems = tuple(f"{node}: no samples in {self._path}." for node in nodes if node not in have)
        return [cut(one, start, end) for one in found if not wanted or one.node in wanted]

    async def close(self) -> None:
        """Nothing is held open."""


def read_series(path: Path, counters: Collection[str] = ()) -> tuple[Series, ...]:
    """Every series of a CSV (gz too) or Parquet file. Raises SourceError with every fault as file:line."""
    kind = kind_of(path)
    if kind == "csv":
        return read_csv(path, counters)
    if kind in ("parquet", "pq"):
        return read_parquet(path, counters)
    raise fault(path, "by its name this is no file of indicators. Name a .csv, .csv.gz or .parquet file.")


def cut(series: Series, start: datetime, end: datetime) -> Series:
    """The samples in [start, end)."""
    inside = (series.times_s >= start.timestamp()) & (series.times_s < end.timestamp())
    if bool(np.all(inside)):
        return series
    return Series(
        node=series.node,
        indicator=series.indicator,
        times_s=series.times_s[inside],
        values=series.values[inside],
        kind=series.kind,
    )
