"""Each node beside its peers: a node minus the leave-one-out median of the others, cell by cell of a common grid.

What hits all of them (the daily cycle, a deployment, a slow database) is in the median too, and cancels. The median
rather than the mean: up to half of the peers may misbehave without moving it much.
"""

from __future__ import annotations

import numpy as np

from backstay.audit.model import Floats

TINY = 1e-6  # log ratio: no distance at all still has a logarithm


def relative(values: Floats) -> Floats:
    """(..., nodes, times) -> the same shape: each value minus the median of the other nodes' at that time.

    NaN where the node, or every peer, has a gap.
    """
    with np.errstate(invalid="ignore"):  # infinities that were let through end as gaps
        result: Floats = values - median_of_others(values)
    return result


def median_of_others(values: Floats) -> Floats:
    """(..., nodes, times): the median over the other nodes that have a value there; NaN where none has.

    One sort for all nodes: taking one value out of a sorted column shifts those behind it by one.
    """
    nodes = values.shape[-2]
    clean = np.where(np.isfinite(values), values, np.nan)
    order = np.argsort(clean, axis=-2, kind="stable")  # NaN last
    ordered = np.take_along_axis(clean, order, axis=-2)
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.broadcast_to(np.arange(nodes)[:, None], order.shape).copy(), axis=-2)
    present = np.isfinite(clean)
    others = present.sum(axis=-2, keepdims=True) - present  # how many peers have a value, per node
    low, high = np.maximum(others - 1, 0) // 2, others // 2
    # An absent node sorts behind every value: nothing shifts for it.
    low += low >= rank
    high += high >= rank
    last = nodes - 1
    median = 0.5 * (
        np.take_along_axis(ordered, np.minimum(low, last), axis=-2)
        + np.take_along_axis(ordered, np.minimum(high, last), axis=-2)
    )
    return np.where(others > 0, median, np.nan).astype(values.dtype, copy=False)


def middle(values: Floats) -> Floats:
    """(nodes, times) -> (times,): the median over the nodes that have a value; NaN where none has.

    One sort, NaN last: np.nanmedian goes through masked arrays and takes ten times as long for a handful of nodes.
    """
    ordered = np.sort(np.where(np.isfinite(values), values, np.nan), axis=0)
    counts = np.isfinite(ordered).sum(axis=0)
    low, high = np.maximum(counts - 1, 0) // 2, np.minimum(counts // 2, max(len(values) - 1, 0))
    times = np.arange(values.shape[1])
    found: Floats = np.where(counts > 0, 0.5 * (ordered[low, times] + ordered[high, times]), np.nan)
    return found


def common_means(values: Floats) -> Floats:
    """(..., nodes, times) -> (..., nodes): each node's mean less the median of all nodes at the same times.

    A gap at the daily peak moves nobody's level. NaN where a node has no value.
    """
    present = np.isfinite(values)
    some = np.asarray(present.any(axis=-2, keepdims=True))
    clean = np.where(present, values, np.nan)
    middle = np.where(some, np.nanmedian(np.where(some, clean, 0.0), axis=-2, keepdims=True), 0.0)
    counts = present.sum(axis=-1)
    sums = np.where(present, values - middle, 0.0).sum(axis=-1, dtype=np.float64)
    means: Floats = np.divide(sums, counts, out=np.full(counts.shape, np.nan), where=counts > 0)
    return means


def unsteadiness(values: Floats) -> Floats:
    """(..., nodes, times) of peer-relative values -> log of how far each is from its node's median: same shape.

    A node that swings more than its peers, or drifts away from them, stands out in the level of this.
    """
    clean = np.where(np.isfinite(values), values, np.nan)
    some = np.asarray(np.isfinite(clean).any(axis=-1, keepdims=True))
    away = np.abs(clean - np.nanmedian(np.where(some, clean, 0.0), axis=-1, keepdims=True))
    # A value that is exactly the median has no logarithm: it counts as a thousandth of the usual distance.
    usual = np.nanmean(np.where(some, away, 0.0), axis=-1, keepdims=True)
    result: Floats = np.log(away + 1e-3 * np.maximum(usual, TINY))
    return result
