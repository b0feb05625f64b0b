"""One indicator of one cluster, from the grid and the facts to a finding: the steps of the audit in their order.

Grid -> work -> compare -> explain -> Finding
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backstay.audit.compare import compare
from backstay.audit.explain import explain
from backstay.audit.model import Cluster, Comparison, FactTable, Finding, Floats, Grid, Indicator, Knowledge
from backstay.audit.work import Normalised, normalise


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    normal: Normalised  # the series, in the cluster's order of nodes
    comparison: Comparison
    finding: Finding


def examine(
    cluster: Cluster, grid: Grid, indicator: Indicator, table: FactTable, known: Knowledge | None = None
) -> Examined:
    """Say who differs in `indicator`, and which fact explains it.

    A node that the grid has not is a gap; the work is divided out where the cluster and the grid have it. Raises
    KeyError where the grid has not the indicator, ValueError for a cluster that is too large to explain.
    """
    known = known or Knowledge()
    values = _rows(grid, indicator.name, cluster.nodes)
    by_work = indicator.per_work and cluster.work is not None and cluster.work in grid.indicators
    work = _rows(grid, cluster.work, cluster.nodes) if by_work and cluster.work else None
    normal = normalise(values, work)
    comparison = compare(cluster.name, cluster.nodes, normal, indicator, known.spread)
    return Examined(normal=normal, comparison=comparison, finding=explain(comparison, table, indicator, known))


def _rows(grid: Grid, indicator: str, nodes: tuple[str, ...]) -> Floats:
    found = grid.of(indicator)
    place = {node: at for at, node in enumerate(grid.nodes)}
    rows = np.full((len(nodes), grid.count), np.nan)
    for at, node in enumerate(nodes):
        if node in place:
            rows[at] = found[place[node]]
    return rows
