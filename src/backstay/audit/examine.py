"""One indicator of one cluster, from the grid and the facts to a finding: the steps of the audit in their order.

Grid -> work -> compare, since the facts are as they are -> explain -> Finding
             -> natural experiments of what changed ---------'
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from backstay.audit.compare import compare, levels_beside_peers
from backstay.audit.explain import explain
from backstay.audit.explain.natural import from_changes
from backstay.audit.explain.since import Since, lasting, since_change
from backstay.audit.model import (
    Cluster,
    Comparison,
    EvidenceKind,
    FactTable,
    Finding,
    Grid,
    Indicator,
    Knowledge,
    Level,
)
from backstay.audit.work import Normalised, normalise


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    normal: Normalised  # the series over the whole time, in the cluster's order of nodes
    comparison: Comparison  # of the time since the facts are as they are
    finding: Finding
    since: Since | None = None  # None: no relevant fact changed in the time looked at


def examine(
    cluster: Cluster, grid: Grid, indicator: Indicator, table: FactTable, known: Knowledge | None = None
) -> Examined:
    """Say who differs in `indicator`, and which fact explains it.

    A node that the grid has not is a gap; the work is divided out where the cluster and the grid have it. Levels are
    those since the last change of a fact that may act on the indicator; each change is a natural experiment, whose
    evidence joins `known`. Raises KeyError where the grid has not the indicator, ValueError for a cluster that is too
    large to explain.
    """
    known = known or Knowledge()
    normal = normalised(cluster, grid, indicator)
    changes = lasting(known.changes, set(cluster.nodes), known.habits)
    since = _since(cluster, grid, indicator, table, known)
    comparison = compare(cluster.name, cluster.nodes, _from(normal, since), indicator, known.spread)
    if since is not None:
        comparison = replace(comparison, problems=(*comparison.problems, since.told(grid)))
    # A fix that was verified is told as such: counted as a natural experiment too, it would count twice.
    proved = {piece.fact for piece in known.evidence if piece.kind is EvidenceKind.INTERVENTION}
    changes = tuple(change for change in changes if change.fact not in proved)
    natural = from_changes(normal.values, grid, cluster.nodes, changes)
    known = replace(known, evidence=(*known.evidence, *natural))
    finding = explain(comparison, table, indicator, known)
    return Examined(normal=normal, comparison=comparison, finding=finding, since=since)


def levels_since(
    cluster: Cluster, grid: Grid, indicator: Indicator, table: FactTable, known: Knowledge
) -> tuple[Level, ...]:
    """The levels that `examine` would compare, and no more."""
    normal = _from(normalised(cluster, grid, indicator), _since(cluster, grid, indicator, table, known))
    return levels_beside_peers(cluster.nodes, normal.values)


def normalised(cluster: Cluster, grid: Grid, indicator: Indicator) -> Normalised:
    """The indicator per unit of work, of the cluster's nodes in their order. Raises KeyError as `examine`."""
    by_work = indicator.per_work and cluster.work is not None and cluster.work in grid.indicators
    work = grid.rows(cluster.work, cluster.nodes) if by_work and cluster.work else None
    return normalise(grid.rows(indicator.name, cluster.nodes), work)


def _since(cluster: Cluster, grid: Grid, indicator: Indicator, table: FactTable, known: Knowledge) -> Since | None:
    nodes = [node for node in cluster.nodes if node in set(table.nodes)]
    changes = lasting(known.changes, set(nodes), known.habits)
    return since_change(grid, table.rows(nodes), changes, indicator.resource) if changes else None


def _from(normal: Normalised, since: Since | None) -> Normalised:
    return normal if since is None else replace(normal, values=normal.values[:, since.cell :])
