"""What the fleet and the past say of one cluster's indicator: from many clusters and the facts' history to `Knowledge`.

other clusters -> levels of nodes with identical facts -> spread (empirical Bayes)
               -> findings -> replication: where the fact differs, is the effect there too?
facts' history -> habits (volatile, identity), changes (examine.py makes natural experiments of them)
earlier findings -> recurrence;   verified fixes -> interventions

Whose facts are "identical" is decided by the facts that are known to act on the indicator, and by sizes: what else
differs between two such nodes is then part of their spread, which errs towards claiming less. The cluster in question
gives nothing to its own spread: its alike nodes are already weighed in the marginal likelihood.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import numpy as np

from backstay.audit.catalogue import indicator_of
from backstay.audit.compare.between import learn_spread
from backstay.audit.examine import Examined, examine, levels_since
from backstay.audit.explain.mechanism import mechanism_of
from backstay.audit.explain.partitions import codes_of
from backstay.audit.explain.replicate import replications
from backstay.audit.explain.since import table_at
from backstay.audit.explain.volatility import learn_habits
from backstay.audit.fix.model import Fix
from backstay.audit.fix.proof import interventions
from backstay.audit.marginal import usable
from backstay.audit.model import (
    UNREAD,
    Cluster,
    FactChange,
    FactTable,
    Finding,
    Grade,
    Grid,
    Habit,
    Indicator,
    Knowledge,
    Level,
    Mechanism,
    Spread,
)
from backstay.estate.audit import IndicatorNature

ALIKE_LIMIT = 4  # nodes beyond the first of each group: with fewer, the wide prior knows more than they do
REPLICATION_LIMIT = 15  # other clusters that are examined in full; the spread is learned from all
TELLING = frozenset({Mechanism.DIRECT, Mechanism.NEAR, Mechanism.SIZE})  # facts by which nodes are alike


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One cluster, and what was measured there. Grids of different clusters may differ in time and step."""

    cluster: Cluster
    grid: Grid  # with the indicator, and the unit of work where the cluster has one
    closed_loop: bool = False  # a load balancer deals its work evenly
    natures: Mapping[str, IndicatorNature] = field(default_factory=dict)  # what the estate says of indicators

    def indicator(self, name: str) -> Indicator:
        """`name` as it is to be read here. The unit of work counts only where it was measured."""
        work = self.cluster.work if self.cluster.work in self.grid.indicators else None
        return indicator_of(name, work=work, closed_loop=self.closed_loop, nature=self.natures.get(name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """That an earlier look at a cluster put this fact first."""

    cluster: str
    indicator: str
    fact: str
    grade: Grade
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """What is known beyond one cluster. Everything but the table may be empty: from files alone it often is."""

    table: FactTable  # facts as they are now, of every node that is known
    changes: Sequence[FactChange] = ()  # of these nodes, oldest first
    days: float = 1.0  # that `changes` cover
    others: Sequence[Look] = ()  # other clusters, measured in about the same time
    told: Sequence[Told] = ()  # earlier findings, of any cluster
    fixes: Sequence[Fix] = ()  # registered ones, with what was found of them


def explain_in(here: Look, name: str, fleet: Fleet) -> Examined:
    """The whole audit of one indicator of one cluster, with everything that is known beyond it.

    What changed after the grid's end is undone first: the facts are those of the time looked at. Raises KeyError where
    the grid has not the indicator, ValueError for a cluster that is too large to explain.
    """
    known = knowledge(here, name, fleet)
    return examine(here.cluster, here.grid, here.indicator(name), facts_of(here, fleet), known)


def knowledge(here: Look, name: str, fleet: Fleet) -> Knowledge:
    """What `fleet` says for the indicator `name` of the cluster `here`; other clusters without it say nothing."""
    habits = learn_habits(fleet.table, fleet.changes, days=max(fleet.days, 1.0))
    others = [look for look in fleet.others if look.cluster.name != here.cluster.name and name in look.grid.indicators]
    spread = fleet_spread(others, name, fleet, habits)
    findings = _findings(others[:REPLICATION_LIMIT], name, fleet, Knowledge(spread=spread, habits=habits))
    differing = _differing(facts_of(here, fleet))
    return Knowledge(
        spread=spread,
        habits=habits,
        changes=_within(here, fleet),
        recurrence=recurrence(fleet.told, here.cluster.name, {finding.cluster for finding in findings}),
        evidence=(
            *replications(findings, differing, name),
            *interventions(fleet.fixes, here.cluster.name, name),
        ),
    )


def facts_of(look: Look, fleet: Fleet) -> FactTable:
    """The facts of the look's nodes at the end of its grid; nodes without any are left out."""
    have = set(fleet.table.nodes)
    table = fleet.table.rows([node for node in look.cluster.nodes if node in have])
    return table_at(table, fleet.changes, look.grid.end)


def _within(look: Look, fleet: Fleet) -> list[FactChange]:
    """What changed on the look's nodes in its time."""
    nodes, start, end = set(look.cluster.nodes), look.grid.start, look.grid.end
    return [change for change in fleet.changes if change.node in nodes and start < change.time < end]


def fleet_spread(looks: Sequence[Look], name: str, fleet: Fleet, habits: Mapping[str, Habit]) -> Spread | None:
    """How nodes with identical facts differ in `name`, over all `looks`; None where too few are known for that."""
    groups: list[list[Level]] = []
    for look in looks:
        indicator, table = look.indicator(name), facts_of(look, fleet)
        known = Knowledge(habits=habits, changes=_within(look, fleet))
        groups += alike(levels_since(look.cluster, look.grid, indicator, table, known), table, indicator, habits)
    return learn_spread(groups) if sum(len(group) - 1 for group in groups) >= ALIKE_LIMIT else None


def alike(
    levels: Sequence[Level], table: FactTable, indicator: Indicator, habits: Mapping[str, Habit]
) -> list[list[Level]]:
    """Groups of two or more nodes of one cluster whose telling facts are identical. Nodes of which no fact that names
    the measured part was read are in none: nobody knows whether they are alike."""
    place = {node: at for at, node in enumerate(table.nodes)}
    kept = [levels[at] for at in usable(tuple(levels)) if levels[at].node in place]
    rows = np.array([place[level.node] for level in kept], np.int64)
    columns, named = [], np.zeros(len(kept), bool)
    for fact, column in table.columns.items():
        mechanism, habit = mechanism_of(fact, indicator.resource), habits.get(fact)
        if mechanism not in TELLING or (habit is not None and (habit.volatile or habit.identity)):
            continue
        codes = codes_of(column)[rows]
        columns.append(codes)
        if mechanism is Mechanism.DIRECT:
            named |= codes >= 0
    groups: dict[bytes, list[Level]] = {}
    matrix = np.stack(columns, axis=1) if columns else np.full((len(kept), 1), UNREAD, np.int32)
    for level, row, is_named in zip(kept, matrix, named, strict=True):
        if is_named:
            groups.setdefault(row.tobytes(), []).append(level)
    return [group for group in groups.values() if len(group) > 1]


def recurrence(told: Sequence[Told], cluster: str, counted: frozenset[str] | set[str]) -> dict[str, int]:
    """Fact -> clusters where it came first before, with any indicator: not this one, nor those that are `counted` as
    replications now."""
    clusters: dict[str, set[str]] = {}
    for one in told:
        if one.cluster != cluster and one.cluster not in counted and one.grade.rank >= Grade.CONSISTENT.rank:
            clusters.setdefault(one.fact, set()).add(one.cluster)
    return {fact: len(where) for fact, where in clusters.items()}


def remember(finding: Finding, time: datetime) -> dict[str, Any] | None:
    """The finding as a record of the kind "told", to be put under "CLUSTER/INDICATOR"; None: it names no fact."""
    if finding.first is None or finding.grade.rank < Grade.CONSISTENT.rank:
        return None
    return {
        "cluster": finding.cluster,
        "indicator": finding.indicator,
        "fact": finding.first.facts[0].fact,
        "grade": finding.grade.value,
        "time": time.isoformat(),
    }


def recall(records: Mapping[str, Mapping[str, Any]]) -> tuple[Told, ...]:
    """What `remember` kept. Raises KeyError or ValueError for records that it did not make."""
    return tuple(
        Told(
            cluster=str(record["cluster"]),
            indicator=str(record["indicator"]),
            fact=str(record["fact"]),
            grade=Grade(record["grade"]),
            time=datetime.fromisoformat(str(record["time"])),
        )
        for record in records.values()
    )


def _findings(looks: Sequence[Look], name: str, fleet: Fleet, known: Knowledge) -> list[Finding]:
    """Of other clusters, with what is `known` fleet-wide; those too large to explain are a fleet and left out."""
    found = []
    for look in looks:
        mine = replace(known, changes=_within(look, fleet))
        try:
            found.append(examine(look.cluster, look.grid, look.indicator(name), facts_of(look, fleet), mine).finding)
        except ValueError:
            continue
    return found


def _differing(table: FactTable) -> list[str]:
    """Facts that differ between the cluster's nodes: only of these have other clusters anything to say here."""
    return [
        fact
        for fact, column in table.columns.items()
        if (column.codes != column.codes[:1]).any() and not (column.codes == UNREAD).any()
    ]
