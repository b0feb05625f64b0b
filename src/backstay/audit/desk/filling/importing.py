"""Files into the store. What is in it already adds nothing: a report by its node and time, a sample likewise."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from backstay.audit.model import FactReport
from backstay.audit.sources.factfile import read_facts
from backstay.audit.sources.file import read_series
from backstay.audit.sources.names import canonical
from backstay.audit.sources.reading import kind_of
from backstay.audit.store import AuditStore

TIMEOUT_S = 600.0
INDICATORS = frozenset({"csv", "parquet", "pq"})
SHOWN = 10


async def bring_in(
    store: AuditStore, path: Path, known: Collection[str], *, counters: Collection[str], now: datetime
) -> dict[str, Any]:
    """As Desk.bring_in. `known`: the estate's nodes; others are kept as well, and told."""
    if kind_of(path) in INDICATORS:
        series = await asyncio.to_thread(read_series, path, counters)
        new = await store.indicators.add(series, timeout_s=TIMEOUT_S)
        nodes = list(dict.fromkeys(one.node for one in series))
        figures = {"read": sum(len(one.times_s) for one in series), "new": new}
        return _told(path, "indicators", nodes, figures, store.indicators.problems, known)
    reports = [_canonical(report) for report in await asyncio.to_thread(read_facts, path, now)]
    changes = await store.facts.add(reports, timeout_s=TIMEOUT_S)
    nodes = list(dict.fromkeys(report.node for report in reports))
    figures = {"read": sum(len(report.values) for report in reports), "changed": len(changes)}
    return _told(path, "facts", nodes, figures, store.facts.problems, known)


def _canonical(report: FactReport) -> FactReport:
    """With the names that facts have whoever reads them, so that a file and a source speak of the same ones."""
    values: dict[str, str] = {}
    for fact, value in report.values.items():
        values.setdefault(canonical(fact), value)
    return replace(report, values=values, unread={canonical(fact): why for fact, why in report.unread.items()})


def _told(
    path: Path,
    kind: str,
    nodes: list[str],
    figures: Mapping[str, int],
    problems: Iterable[str],
    known: Collection[str],
) -> dict[str, Any]:
    strange = [node for node in nodes if node not in known]
    more = f" and {len(strange) - SHOWN} more" if len(strange) > SHOWN else ""
    unknown = [f"no nodes of the estate, kept all the same: {', '.join(strange[:SHOWN])}{more}"] if strange else []
    return {"file": str(path), "kind": kind, "nodes": len(nodes), **figures, "problems": [*problems, *unknown]}
