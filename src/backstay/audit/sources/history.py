"""From reports to the facts as they are, and to what changed between them.

A report is whole: a fact that an earlier report of the node had, and that a later one neither has nor calls unread, is
gone. Reports of one node at one time (several sources, several lines) are one report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from backstay.audit.model import FactChange, FactReport, FactTable


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    table: FactTable  # as last seen
    changes: tuple[FactChange, ...]  # oldest first
    unread: Mapping[str, Mapping[str, str]]  # node -> fact or group -> why
    problems: tuple[str, ...]  # nodes that could not be read at all
    days: float  # from the first report to the last


def fold(reports: Sequence[FactReport]) -> History:
    """The history of every node that `reports` names, in the order in which they name them."""
    by_node: dict[str, dict[datetime, list[FactReport]]] = {}
    for report in reports:
        by_node.setdefault(report.node, {}).setdefault(report.time, []).append(report)
    values: dict[str, Mapping[str, str]] = {}
    unread: dict[str, Mapping[str, str]] = {}
    changes: list[FactChange] = []
    problems: list[str] = []
    for node, by_time in by_node.items():
        seen = [_joined(by_time[time]) for time in sorted(by_time)]
        for (before, hidden_before), (after, hidden), time in zip(seen, seen[1:], sorted(by_time)[1:], strict=False):
            changes += _changes(node, before, after, {**hidden_before, **hidden}, time)
        values[node], unread[node] = seen[-1]
        problems += [f"{node}: {one.problem}" for one in by_time[max(by_time)] if one.problem]
    times = [report.time for report in reports]
    return History(
        table=FactTable.of(values, unread),
        changes=tuple(sorted(changes, key=lambda one: (one.time, one.node, one.fact))),
        unread=unread,
        problems=tuple(problems),
        days=(max(times) - min(times)).total_seconds() / 86_400.0 if times else 0.0,
    )


def _joined(reports: Sequence[FactReport]) -> tuple[dict[str, str], dict[str, str]]:
    values: dict[str, str] = {}
    unread: dict[str, str] = {}
    for report in reports:
        values |= report.values
        unread |= report.unread
    return values, {fact: why for fact, why in unread.items() if fact not in values}


def _changes(
    node: str, before: Mapping[str, str], after: Mapping[str, str], hidden: Mapping[str, str], time: datetime
) -> list[FactChange]:
    """Facts that were readable both times and differ."""
    groups = tuple(name[:-1] for name in hidden if name.endswith("*"))
    facts = [
        fact
        for fact in {**before, **after}
        if before.get(fact) != after.get(fact) and fact not in hidden and not (groups and fact.startswith(groups))
    ]
    return [
        FactChange(node=node, fact=fact, before=before.get(fact), after=after.get(fact), time=time) for fact in facts
    ]
