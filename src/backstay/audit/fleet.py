"""Thousands of nodes: who differs fleet-wide, and which facts the bad ones share.

`screen` compares every node with the peers of its cluster, all clusters of one size together, and controls the false
discovery rate over the fleet. `associate` counts, for each value of each fact, how many of the nodes that have it are
bad, beside those that have it not, within strata (a hardware model): Mantel and Haenszel's risk ratio with the interval
of Greenland and Robins (Biometrics 41, 1985), Cochran, Mantel and Haenszel's test, and Benjamini and Hochberg's control
of false discoveries (J. R. Stat. Soc. B 57, 1995). A fact that only marks the model has no effect within it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from backstay.audit.compare.between import beside_peers
from backstay.audit.compare.effective import summary
from backstay.audit.compare.peers import common_means, relative
from backstay.audit.marginal import WIDE
from backstay.audit.model import UNREAD, Cluster, FactTable, Floats, Grid, Spread
from backstay.audit.work import normalise

CELLS_AT_ONCE = 4_000_000  # of the grid: bounds the memory of a screen
VALUES_LIMIT = 200  # of one fact; beyond that it is an identity, or a measured figure
SUPPORT_LIMIT = 5  # nodes with a value: fewer say nothing fleet-wide
FALSE_DISCOVERIES = 0.05
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """One indicator over the fleet; arrays over the nodes of the grid, NaN for those without peers or values."""

    indicator: str
    nodes: tuple[str, ...]
    difference: Floats  # log ratio to the mean of the peers
    p: Floats
    differs: Bools  # at a false discovery rate of 5%


def screen(
    grid: Grid, indicator: str, clusters: Sequence[Cluster], *, work: str | None = None, spread: Spread = WIDE
) -> Screen:
    """Compare each node of each cluster with its peers there. Nodes that the grid has not are left out.

    Raises KeyError where the grid has not the indicator or the work.
    """
    values, its_work = grid.of(indicator), grid.of(work) if work else None
    difference = np.full(len(grid.nodes), np.nan)
    p = np.full(len(grid.nodes), np.nan)
    for rows in _batches(grid, clusters):
        of_work = its_work[rows].reshape(-1, grid.count) if its_work is not None else None
        logs = normalise(values[rows].reshape(-1, grid.count), of_work).values.reshape(*rows.shape, grid.count)
        beside = relative(logs)
        flat = summary(beside.reshape(-1, grid.count))
        errors = flat[1].reshape(rows.shape)
        difference[rows], _, p[rows] = beside_peers(common_means(logs), errors, spread)
    return Screen(
        indicator=indicator,
        nodes=grid.nodes,
        difference=difference,
        p=p,
        differs=discoveries(p, FALSE_DISCOVERIES),
    )


def _batches(grid: Grid, clusters: Sequence[Cluster]) -> Iterator[NDArray[np.int64]]:
    """Positions in the grid, (clusters, nodes): clusters of one size, as many as CELLS_AT_ONCE allow."""
    place = {node: at for at, node in enumerate(grid.nodes)}
    by_size: dict[int, list[list[int]]] = {}
    for cluster in clusters:
        rows = [place[node] for node in cluster.nodes if node in place]
        if len(rows) > 1:
            by_size.setdefault(len(rows), []).append(rows)
    for size, rows_of in sorted(by_size.items()):
        at_once = max(1, CELLS_AT_ONCE // (size * max(grid.count, 1)))
        for start in range(0, len(rows_of), at_once):
            yield np.array(rows_of[start : start + at_once], np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Association:
    """One value of one fact, and the nodes that are bad."""

    fact: str
    value: str | None  # None: absent
    support: int  # nodes that have it
    bad: int  # of these
    risk: float  # bad / support
    risk_elsewhere: float
    ratio: float  # of risks, within strata; infinite where nobody else is bad
    low: float  # 95%
    high: float
    q: float  # p, adjusted over all values of all facts
    found: bool  # at a false discovery rate of 5%


def associate(table: FactTable, bad: Bools, strata: NDArray[np.integer] | None = None) -> tuple[Association, ...]:
    """Every value of every fact with support, by q and then by ratio. `bad`, `strata`: (nodes,) of the table."""
    nodes = len(table.nodes)
    if bad.shape != (nodes,) or (strata is not None and strata.shape != (nodes,)):
        raise ValueError(f"bad and strata have one entry for each of the table's {nodes} nodes")
    layers = np.unique(strata, return_inverse=True)[1] if strata is not None else np.zeros(nodes, np.int64)
    counted = [
        (fact, value, *one)
        for fact, column in table.columns.items()
        if len(column.values) <= VALUES_LIMIT
        for value, one in _values(column.codes, column.values, bad, layers)
    ]
    adjusted = benjamini_hochberg(np.array([entry[-1] for entry in counted]))
    found = [
        Association(
            fact=fact,
            value=value,
            support=support,
            bad=of_them,
            risk=of_them / support,
            risk_elsewhere=elsewhere,
            ratio=ratio,
            low=low,
            high=high,
            q=float(q),
            found=bool(q <= FALSE_DISCOVERIES),
        )
        for (fact, value, support, of_them, elsewhere, ratio, low, high, _), q in zip(counted, adjusted, strict=True)
    ]
    return tuple(sorted(found, key=lambda one: (one.q, -one.ratio, one.fact)))


def _values(
    codes: NDArray[np.int32], values: tuple[str, ...], bad: Bools, layers: NDArray[np.int64]
) -> Iterator[tuple[str | None, tuple[int, int, float, float, float, float, float]]]:
    """(value, (support, bad, risk elsewhere, ratio, low, high, p)); nodes where the fact was not read are left out."""
    read = codes != UNREAD
    kinds, strata = len(values) + 1, int(layers.max(initial=0)) + 1
    cell = (layers * kinds + codes + 1)[read]  # absent is kind 0
    total = np.bincount(cell, minlength=strata * kinds).reshape(strata, kinds).astype(np.float64)
    ill = np.bincount(cell, weights=bad[read], minlength=strata * kinds).reshape(strata, kinds)
    size, all_ill = total.sum(axis=1, keepdims=True), ill.sum(axis=1, keepdims=True)
    for kind in range(kinds):
        support = int(total[:, kind].sum())
        if support < SUPPORT_LIMIT or support > size.sum() - SUPPORT_LIMIT:
            continue
        a, n1 = np.asarray(ill[:, kind], np.float64), total[:, kind]
        c, n0 = all_ill[:, 0] - a, size[:, 0] - n1
        elsewhere = float(c.sum() / n0.sum())
        yield values[kind - 1] if kind else None, (support, int(a.sum()), elsewhere, *_mantel_haenszel(a, n1, c, n0))


def _mantel_haenszel(a: Floats, n1: Floats, c: Floats, n0: Floats) -> tuple[float, float, float, float]:
    """(risk ratio, low, high, p) over strata: `a` bad of `n1` exposed, `c` bad of `n0` others."""
    n = np.maximum(n1 + n0, 1.0)
    ill = a + c
    exposed, others = float((a * n0 / n).sum()), float((c * n1 / n).sum())
    variance = float((n1 * n0 * ill * (n - ill) / (n * n * np.maximum(n - 1.0, 1.0))).sum())
    moved = abs(float((a - n1 * ill / n).sum()))
    p = float(stats.chi2.sf(max(moved - 0.5, 0.0) ** 2 / variance, 1)) if variance > 0.0 else 1.0
    if exposed == 0.0 or others == 0.0:
        ratio = math.nan if exposed == others else math.inf if others == 0.0 else 0.0
        return ratio, 0.0, math.inf, p
    spread = math.sqrt(max(float(((n1 * n0 * ill - a * c * n) / (n * n)).sum()), 0.0) / (exposed * others))
    ratio = exposed / others
    return ratio, ratio * math.exp(-1.96 * spread), ratio * math.exp(1.96 * spread), p


def benjamini_hochberg(p: Floats) -> Floats:
    """p adjusted so that those at or under q are discoveries of which q are false; NaN stays NaN."""
    adjusted = np.full(p.shape, np.nan)
    tested = np.flatnonzero(np.isfinite(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    if order.size:
        scaled = p[order] * order.size / np.arange(1, order.size + 1)
        adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return adjusted


def discoveries(p: Floats, rate: float) -> Bools:
    """Which of the tests are discoveries at this false discovery rate."""
    found: Bools = np.nan_to_num(benjamini_hochberg(p), nan=1.0) <= rate
    return found
