"""Since when are the facts as they are? Levels from before a part was swapped say nothing of the part that is there.

A node whose CPU was changed halfway has two levels; their mean belongs to neither. So levels are compared from the last
time on at which a fact that is known to act on the indicator began to split the nodes as it does now; what was before
is the "before" of a natural experiment (natural.py). A rollout that is over, and after which the nodes are split as
they were, cuts nothing off.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from backstay.audit.explain.mechanism import mechanism_of
from backstay.audit.model import FactChange, FactTable, Grid, Habit, Mechanism, Resource

ACTING = frozenset({Mechanism.DIRECT, Mechanism.NEAR})
PASSING = 0.05  # of the time looked at: while a rollout is under way the nodes differ, and that is soon over
SHORT_CELLS = 24  # since the change: fewer are hardly a level

State = tuple[str | None, ...]  # a fact's value on each node; None: absent


@dataclass(frozen=True, slots=True, kw_only=True)
class Since:
    """From which cell on the facts are as they are."""

    cell: int
    time: datetime
    fact: str  # that changed last
    nodes: tuple[str, ...]  # on which it did

    def told(self, grid: Grid) -> str:
        """For people: what was left out, and whether what is left is enough."""
        left = grid.count - self.cell
        words = (
            f"{self.fact} changed on {', '.join(self.nodes[:5])} at {self.time:%Y-%m-%d %H:%M} UTC: "
            f"levels are those since then ({left} of {grid.count} cells of {grid.step_s:.0f} s)"
        )
        return words + ("; that is too short to say much: look again later" if left < SHORT_CELLS else "")


def lasting(
    changes: Sequence[FactChange], nodes: Collection[str], habits: Mapping[str, Habit]
) -> tuple[FactChange, ...]:
    """Changes on these nodes of facts that do not change by themselves, oldest first."""
    kept = [
        one
        for one in changes
        if one.node in nodes and not ((habit := habits.get(one.fact)) is not None and habit.volatile)
    ]
    return tuple(sorted(kept, key=lambda one: one.time))


def since_change(grid: Grid, table: FactTable, changes: Sequence[FactChange], resource: Resource) -> Since | None:
    """The last of `changes` within the grid after which a fact that acts on `resource` split the nodes anew.

    `table`: the cluster's nodes, as they are at the grid's end. `changes`: lasting ones. None: none did.
    """
    by_fact: dict[str, list[FactChange]] = {}
    for change in changes:
        if grid.start < change.time < grid.end and mechanism_of(change.fact, resource) in ACTING:
            by_fact.setdefault(change.fact, []).append(change)
    found = [one for fact, of_fact in by_fact.items() if (one := _of_fact(grid, table, fact, of_fact)) is not None]
    # Of facts that changed together, the one that names the part: it is what people know the change by.
    return max(found, key=lambda one: (one.cell, mechanism_of(one.fact, resource) is Mechanism.DIRECT), default=None)


def table_at(table: FactTable, changes: Sequence[FactChange], time: datetime) -> FactTable:
    """The facts as they were just before `time`: `changes` from then on undone. `changes`: oldest first."""
    later = [one for one in changes if one.time >= time]
    if not later:
        return table
    values = {
        node: {fact: value for fact, column in table.columns.items() if (value := column.text(at)) is not None}
        for at, node in enumerate(table.nodes)
    }
    unread = {
        node: [fact for fact, column in table.columns.items() if column.codes[at] < -1]
        for at, node in enumerate(table.nodes)
    }
    for change in reversed(later):
        if change.node not in values:
            continue
        if change.before is None:
            values[change.node].pop(change.fact, None)
        else:
            values[change.node][change.fact] = change.before
    return FactTable.of(values, unread)


def _of_fact(grid: Grid, table: FactTable, fact: str, changes: Sequence[FactChange]) -> Since | None:
    column = table.columns.get(fact)
    now: State = tuple(column.text(at) if column else None for at in range(len(table.nodes)))
    state, end, cut = now, grid.end, None
    passing = PASSING * (grid.end - grid.start).total_seconds()
    for time, at_once in _latest_first(changes):
        if not _same_split(state, now):
            passing -= (end - time).total_seconds()
            if passing < 0.0:
                break
        else:
            cut = (time, at_once)
        state, end = _undone(state, table.nodes, at_once), time
    else:
        if _same_split(state, now) or (end - grid.start).total_seconds() <= passing:
            return None
    if cut is None:
        return None
    time, at_once = cut
    cell = min(max(grid.cell(time) + 1, 0), grid.count)
    return Since(cell=cell, time=time, fact=fact, nodes=tuple(one.node for one in at_once))


def _latest_first(changes: Sequence[FactChange]) -> Iterator[tuple[datetime, list[FactChange]]]:
    """Changes of one fact by their time."""
    by_time: dict[datetime, list[FactChange]] = {}
    for change in changes:
        by_time.setdefault(change.time, []).append(change)
    for time in sorted(by_time, reverse=True):
        yield time, by_time[time]


def _undone(state: State, nodes: Sequence[str], changes: Sequence[FactChange]) -> State:
    before = {change.node: change.before for change in changes}
    return tuple(before.get(node, value) for node, value in zip(nodes, state, strict=True))


def _same_split(one: State, other: State) -> bool:
    """Do both split the nodes alike, with no value handed from one group to another?

    A rollout that takes every node from one version to the next does not alter who is beside whom; two nodes that swap
    their CPUs do, though the groups are the same.
    """
    pairs = set(zip(one, other, strict=True))
    alike = len({a for a, _ in pairs}) == len(pairs) == len({b for _, b in pairs})
    return alike and all(a == b or b not in one for a, b in pairs)
