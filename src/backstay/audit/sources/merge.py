"""Reports of several sources of one node -> one report. Pure.

An earlier source wins; a later one fills in what the earlier could not read, or did not have. What somebody could not
read and nobody has stays unread: it may be there. Names are made one first (names.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from backstay.audit.model import FactReport
from backstay.audit.sources.names import canonical
from backstay.audit.sources.reports import nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """What all sources together say of one node."""

    report: FactReport  # its time is that of the newest report that has a fact; `problem`: no source has any
    provenance: Mapping[str, str]  # fact -> the source that told it
    problems: tuple[str, ...] = ()  # "source: why", of the sources that could not read this node


def merge(reports: Sequence[Sequence[FactReport]]) -> tuple[Merged, ...]:
    """One Merged for each node, in the order of their first mention.

    `reports`: what each source said, in the estate's order of sources. Of several reports of one source on one node
    the newest counts. A source that did not answer at all belongs in here too, as `failed` writes it: without it its
    facts would look as if they were gone.
    """
    by_node: dict[str, list[FactReport]] = {}
    for of_source in reports:
        newest: dict[str, FactReport] = {}
        for report in of_source:
            if report.node not in newest or report.time >= newest[report.node].time:
                newest[report.node] = report
        for node, report in newest.items():
            by_node.setdefault(node, []).append(report)
    return tuple(_merged(node, found) for node, found in by_node.items())


def _merged(node: str, reports: Sequence[FactReport]) -> Merged:
    values: dict[str, str] = {}
    unread: dict[str, str] = {}
    provenance: dict[str, str] = {}
    for report in reports:
        for fact, value in report.values.items():
            name = canonical(fact)
            if name not in values:
                values[name], provenance[name] = value, report.source
        for fact, why in report.unread.items():
            unread.setdefault(canonical(fact), f"{report.source}: {why}")
    telling = [report for report in reports if report.values]
    problems = tuple(f"{report.source}: {report.problem}" for report in reports if report.problem)
    return Merged(
        report=FactReport(
            node=node,
            source="+".join(dict.fromkeys(report.source for report in telling or reports)),
            time=max(report.time for report in telling or reports),
            values=values,
            unread={fact: why for fact, why in unread.items() if fact not in values},
            problem="" if telling else "; ".join(problems),
        ),
        provenance=provenance,
        problems=problems,
    )


def failed(source: str, nodes: Iterable[str], why: str, now: datetime) -> list[FactReport]:
    """What a source that raised SourceError, or took too long, says of each node: nothing, and why."""
    return [nothing(node, source, now, why) for node in nodes]
