"""From reports to the facts as they are, and to what changed between them (intervals.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backstay.audit.intervals import NodeFacts, Reading
from backstay.audit.model import FactChange, FactReport, FactTable


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    table: FactTable  # as last seen
    changes: tuple[FactChange, ...]  # oldest first
    unread: Mapping[str, Mapping[str, str]]  # node -> fact or group -> why, in its last report
    problems: tuple[str, ...]  # nodes that could not be read at all
    days: float  # from the first report to the last


def fold(reports: Sequence[FactReport]) -> History:
    """The history of every node that `reports` names, in the order in which they name them."""
    by_node: dict[str, NodeFacts] = {}
    for report in reports:
        by_node.setdefault(report.node, NodeFacts(report.node)).add(report)
    times = [report.time for report in reports]
    return history_of(
        {node: facts.values() for node, facts in by_node.items()},
        {node: facts.reading() for node, facts in by_node.items()},
        [change for facts in by_node.values() for change in facts.changes()],
        days=(max(times) - min(times)).total_seconds() / 86_400.0 if times else 0.0,
    )


def history_of(
    values: Mapping[str, Mapping[str, str]],
    readings: Mapping[str, Reading],
    changes: Sequence[FactChange],
    *,
    days: float,
) -> History:
    """From the facts of each node as last seen, its last reading, and what changed before that (in any order)."""
    unread = {node: reading.unread for node, reading in readings.items()}
    return History(
        table=FactTable.of(values, unread),
        changes=tuple(sorted(changes, key=lambda one: (one.time, one.node, one.fact))),
        unread=unread,
        problems=tuple(f"{node}: {reading.problem}" for node, reading in readings.items() if reading.problem),
        days=days,
    )
