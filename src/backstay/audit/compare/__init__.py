"""Who differs from its peers, and how the cluster splits.

(nodes, times) -> peers (shared shocks cancel) -> effective (what each series is worth) -> Levels
Levels -> between (node-level t) -> Standings;  -> the likeliest split, or none
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from backstay.audit.compare.between import levels_of, standings
from backstay.audit.compare.effective import summary
from backstay.audit.compare.peers import common_means, relative
from backstay.audit.forms import unknown_forms
from backstay.audit.marginal import NOTHING_PRIOR, WIDE, log_marginals, log_sum, nothing, usable
from backstay.audit.model import Comparison, Floats, Indicator, Level, Partition, Spread, Standing
from backstay.audit.work import Method, Normalised

SPLIT_AT = 0.95  # how sure a split must be
FEWEST = 3  # samples of a node: fewer tell nothing of how much its series moves by itself


def compare(
    cluster: str, nodes: Sequence[str], normal: Normalised, indicator: Indicator, spread: Spread | None = None
) -> Comparison:
    """One indicator over one cluster, normalised by work: `normal.values` is (nodes, times), NaN for gaps."""
    levels = levels_beside_peers(nodes, normal.values)
    few = [level for level in levels if 0 < level.samples < FEWEST]
    problems = [
        f"{level.node} has {level.samples:.0f} of the {FEWEST} samples that a series needs at least: look longer back"
        for level in few
    ]
    enough = [replace(level, mean=math.nan, error=math.nan) if level in few else level for level in levels]
    found = compare_levels(cluster, indicator, enough, spread)
    unit = "share of the cluster's mean" if normal.method is Method.LINEAR else "log ratio"
    return replace(found, unit=unit, problems=(*normal.problems, *problems, *found.problems))


def levels_beside_peers(nodes: Sequence[str], values: Floats) -> tuple[Level, ...]:
    """Mean and error of each node's peer-relative series. `values`: (nodes, times).

    The mean is that of the node itself where it has no peers at any time. Errors come from the relative series, in
    which shared shocks cancel; means are put back around the cluster's, so that a 2-versus-2 split keeps its width.
    """
    beside = relative(values) if len(values) > 1 else values
    _, errors, samples, effective = summary(beside)
    means = common_means(values)
    return tuple(levels_of(nodes, np.where(np.isfinite(errors), means, np.nan), errors, samples, effective))


def compare_levels(
    cluster: str, indicator: Indicator, levels: Sequence[Level], spread: Spread | None = None
) -> Comparison:
    """The same from levels: where there is one figure a node, such as a benchmark, or levels kept from before."""
    spread = spread or WIDE
    levels = tuple(levels)
    problems = [f"{level.node} has no usable values" for level in levels if not math.isfinite(level.mean)]
    if len(usable(levels)) < 2:
        problems.append(f"{len(usable(levels))} of {len(levels)} nodes have values: nothing to compare")
    split = likeliest_split(levels, spread)
    return Comparison(
        cluster=cluster,
        indicator=indicator.name,
        levels=levels,
        standings=_not_the_majority(standings(levels, spread), split),
        split=split,
        spread=spread,
        closed_loop=indicator.closed_loop,
        problems=tuple(problems),
    )


def _not_the_majority(found: Sequence[Standing], split: Partition | None) -> tuple[Standing, ...]:
    """Nodes of the largest group do not differ, far as they may be from the others' mean; nor of two that are equal."""
    if split is None:
        return tuple(found)
    sizes = Counter(split.labels)
    largest = max(sizes.values())
    return tuple(
        replace(one, differs=one.differs and sizes[label] < largest)
        for one, label in zip(found, split.labels, strict=True)
    )


def likeliest_split(levels: tuple[Level, ...], spread: Spread) -> Partition | None:
    """How the nodes split: two against two is a split, not two outliers. None where they may well be alike.

    A node without a level is a group of its own, the last.
    """
    kept = usable(levels)
    if len(kept) < 2:
        return None
    means = np.array([levels[at].mean for at in kept])
    errors = np.array([levels[at].error for at in kept])
    forms = unknown_forms(means)
    log_split = log_marginals(means, errors, np.array(list(forms), np.int32), spread) + np.array(list(forms.values()))
    log_odds = float(log_sum(log_split)) - nothing(means, errors, spread)
    if log_odds < math.log(SPLIT_AT / (1.0 - SPLIT_AT) * NOTHING_PRIOR / (1.0 - NOTHING_PRIOR)):
        return None
    best = list(forms)[int(np.argmax(log_split))]
    return Partition.of([best[kept.index(at)] if at in kept else -1 - at for at in range(len(levels))])
