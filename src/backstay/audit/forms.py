"""The forms that a cause may take in the data: a mixture of partitions, each with its prior weight.

A fact that splits four nodes 0, 1, 1, 2 need not show three levels: two of its values may do the same, and one node may
have a cause of its own on top. A hypothesis is therefore a mixture over the partitions that it may look like.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

from backstay.audit.model import Floats, Partition

MERGE_STRENGTH = 1.0  # of the Ewens prior over which groups share an effect: at 1, two groups do half of the time
OWN_CAUSES_LIMIT = 3
OWN_CAUSES_CANDIDATES = 5
CUTS_LIMIT = 7

Forms = dict[tuple[int, ...], float]  # canonical labels -> log weight


def likely_forms(partition: Partition, means: Floats, own_share: float) -> Forms:
    """What a cause with this partition may look like in the data: canonical labels -> log prior weight.

    Two of its groups may share an effect (a CPU model as fast as another), so that a coarser partition is seen:
    merges of groups that are neighbours in their means, weighed by Ewens' sampling formula without the one in which
    nothing differs. And any node may have a cause of its own, with probability `own_share`: a finer one is seen.
    Merges and own causes that the data could not favour are left out; their likelihood is next to nothing.
    """
    levels, labels = means.tolist(), partition.labels
    medians = _medians(levels, labels)
    order = sorted(range(partition.groups), key=lambda group: medians[group])
    total = math.log1p(-math.exp(_ewens((partition.groups,))))
    log_own, log_not_own = _log_odds(own_share)
    forms: Forms = {}
    for sizes in _merges(np.array(sorted(medians))):
        run = [at for at, size in enumerate(sizes) for _ in range(size)]
        run_of = dict(zip(order, run, strict=True))
        merged = [run_of[label] for label in labels]
        for own in _own_causes(merged, levels):
            form = merged.copy()
            for position, node in enumerate(own):
                form[node] = len(form) + position
            weight = _ewens(sizes) - total + len(own) * log_own + (len(form) - len(own)) * log_not_own
            canonical = _canonical(form)
            before = forms.get(canonical, -math.inf)
            top = max(before, weight)
            forms[canonical] = top + math.log(math.exp(before - top) + math.exp(weight - top))
    return forms


def alike_forms(means: Floats, own_share: float) -> Forms:
    """What nodes that are alike look like: no difference, but for the few that have a cause of their own."""
    levels, count = means.tolist(), len(means)
    log_own, log_not_own = _log_odds(own_share)
    forms: Forms = {}
    for own in _own_causes([0] * count, levels):
        form = [0] * count
        for position, node in enumerate(own):
            form[node] = position + 1
        forms.setdefault(_canonical(form), len(own) * log_own + (count - len(own)) * log_not_own)
    return forms


def _log_odds(own_share: float) -> tuple[float, float]:
    share = min(max(own_share, 1e-6), 0.5)
    return math.log(share), math.log1p(-share)


def unknown_forms(means: Floats) -> Forms:
    """What a cause that no fact shows may look like: every way to cut the ordered means, under Ewens' formula."""
    count = len(means)
    rank = np.empty(count, np.int64)
    rank[np.argsort(means, kind="stable")] = np.arange(count)
    total = math.log1p(-math.exp(_ewens((count,))))
    return {
        _canonical(np.repeat(np.arange(len(sizes)), sizes)[rank].tolist()): _ewens(sizes) - total
        for sizes in _merges(np.sort(means))
    }


def _merges(ordered: Floats) -> Iterator[tuple[int, ...]]:
    """Sizes of runs of neighbours, at least two runs; of more than 4 groups, two or three runs at the widest gaps."""
    count = len(ordered)
    gaps = np.argsort(-np.diff(ordered), kind="stable")[:CUTS_LIMIT]
    limit = count - 1 if count <= 4 else 2
    for cuts in range(1, limit + 1):
        for chosen in itertools.combinations(sorted((gaps + 1).tolist()), cuts):
            bounds = (0, *chosen, count)
            yield tuple(after - before for before, after in itertools.pairwise(bounds))
    if count > 4:
        yield (1,) * count


@lru_cache(maxsize=4096)
def _ewens(sizes: tuple[int, ...]) -> float:
    """log probability of one set partition with blocks of these sizes (Ewens 1972; the Chinese restaurant process)."""
    count, strength = sum(sizes), MERGE_STRENGTH
    tables = len(sizes) * math.log(strength) + sum(math.lgamma(size) for size in sizes)
    return tables - math.lgamma(strength + count) + math.lgamma(strength)


def _own_causes(labels: Sequence[int], levels: Sequence[float]) -> Iterator[tuple[int, ...]]:
    """Sets of nodes, the empty one first, that may have a cause of their own: those farthest from their group."""
    centers = _medians(levels, labels)
    far = [-abs(level - centers[label]) for level, label in zip(levels, labels, strict=True)]
    candidates = sorted(range(len(far)), key=far.__getitem__)[:OWN_CAUSES_CANDIDATES]
    for size in range(min(OWN_CAUSES_LIMIT, len(levels)) + 1):
        yield from itertools.combinations(candidates, size)


def _medians(levels: Sequence[float], labels: Sequence[int]) -> list[float]:
    """Of each group. Plain lists: these are a handful of numbers, thousands of times."""
    groups: list[list[float]] = [[] for _ in range(max(labels) + 1)]
    for level, label in zip(levels, labels, strict=True):
        groups[label].append(level)
    for group in groups:
        group.sort()
    return [0.5 * (group[(len(group) - 1) // 2] + group[len(group) // 2]) for group in groups]


def _canonical(labels: Sequence[int]) -> tuple[int, ...]:
    """As `Partition.of`."""
    seen: dict[int, int] = {}
    return tuple([seen.setdefault(label, len(seen)) for label in labels])
