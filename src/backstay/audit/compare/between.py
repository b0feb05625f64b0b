"""Node-level comparison: time samples shrink measurement error, never the variance between nodes.

A difference of two groups of m1 and m2 nodes has the variance  mean(e^2)/m1 + mean(e^2)/m2 + sigma_b^2 (1/m1 + 1/m2):
e is each node's error from its series (s/sqrt(n_eff)), sigma_b the spread of nodes that are alike. sigma_b^2 comes from
nodes with identical facts fleet-wide, by empirical Bayes (as Smyth's moderated t, Stat. Appl. Genet. Mol. Biol. 3,
2004, with the marginal likelihood in place of moments), joined with the spread within the groups; the test is a t over
nodes. A t-test over samples takes the same four machines for thousands, and calls a 1% difference between alike nodes
significant nine times in ten.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from backstay.audit.marginal import ERROR_FLOOR, SIGMAS, WIDE, log_likelihoods, log_sigma_prior, log_sum
from backstay.audit.model import Effect, Floats, Level, Pooling, Spread, Standing

FREEDOMS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
FAR = 5.0  # standard deviations: no normal node is
OWN_PRIOR_NODES = 10.0  # what the share of WIDE counts for, beside nodes that were seen
GROUPS_LIMIT = 5000
ALPHA = 0.05
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """Group `b` minus group `a`, over nodes."""

    effect: Effect
    p: float  # two-sided
    freedom: float


def learn_spread(groups: Sequence[Sequence[Level]]) -> Spread:
    """How nodes that are alike differ, from groups of nodes with identical facts.

    Every (variance, freedom) is weighed by how likely it makes the groups, each group's own sigma and mean integrated
    out; the one that comes nearest to all of them together is kept (least Kullback-Leibler divergence). The likeliest
    alone would take eight pairs that happen to agree for a law, and call alike nodes different one time in ten.
    Nodes FAR from their group have a cause of their own; their share and what it does are learned from them. Groups of
    fewer than two usable nodes say nothing; without any, WIDE.
    """
    usable = [[level for level in group if math.isfinite(level.mean + level.error)] for group in groups]
    pairs = [
        (np.array([level.mean for level in group]), np.array([level.error for level in group]))
        for group in usable
        if len(group) >= 2
    ][:GROUPS_LIMIT]
    if not pairs:
        return WIDE
    far = [_far(means, errors) for means, errors in pairs]
    log_likelihoods = np.array(
        [_of_sigmas(means[~out], errors[~out]) for (means, errors), out in zip(pairs, far, strict=True)]
    )
    candidates = [
        Spread(variance=float(sigma) ** 2, freedom=freedom, pooling=Pooling.ALIKE)
        for sigma in SIGMAS
        for freedom in FREEDOMS
    ]
    log_priors = np.array([log_sigma_prior(one) for one in candidates])
    scores = np.array([float(log_sum(log_likelihoods + prior).sum()) for prior in log_priors])
    together = np.exp(scores - log_sum(scores)) @ np.exp(log_priors)
    best = candidates[int(np.argmax(log_priors @ together))]
    away = np.concatenate([np.abs(means - np.median(means))[out] for (means, _), out in zip(pairs, far, strict=True)])
    share = (len(away) + OWN_PRIOR_NODES * WIDE.own_share) / (sum(map(len, far)) + OWN_PRIOR_NODES)
    scale = math.sqrt(float(np.mean(away**2))) if len(away) else FAR * math.sqrt(best.variance)
    return replace(best, own_share=share, own_scale=scale)


def _far(means: Floats, errors: Floats) -> Bools:
    """Which nodes no normal spread explains: FAR median deviations from the group's median, of five nodes or more."""
    away = np.abs(means - np.median(means))
    if len(means) < 5:
        return np.zeros(len(means), bool)
    scale = np.hypot(1.4826 * np.median(away), np.maximum(errors, ERROR_FLOOR))
    far: Bools = away > FAR * scale
    return far


def _of_sigmas(means: Floats, errors: Floats) -> Floats:
    """log p(means | sigma) for each of SIGMAS, the group's mean flat."""
    together = np.zeros((1, len(means)), np.int32)
    found: Floats = log_likelihoods(means, errors, together, np.zeros(1))[0, :, 0]
    return found


def join(prior: Spread, variance: float, freedom: float) -> Spread:
    """The posterior of sigma_b^2 once `freedom` degrees with this variance were seen."""
    total = prior.freedom + freedom
    joined = (prior.freedom * prior.variance + freedom * variance) / total
    return replace(prior, variance=joined, freedom=total)


def contrast(a: Sequence[Level], b: Sequence[Level], spread: Spread) -> Contrast:
    """`b` minus `a`, with its 95% interval and p. Both have a usable level or more; raises ValueError otherwise."""
    if not a or not b:
        raise ValueError("a contrast needs a node on each side: name at least one")
    means = [np.array([level.mean for level in group]) for group in (a, b)]
    noise = [np.array([max(level.error, ERROR_FLOOR) for level in group]) ** 2 for group in (a, b)]
    estimate = means[1].mean() - means[0].mean()
    scatter = np.array(sum(((group - group.mean()) ** 2).sum() for group in means))
    counts = np.array([[len(a), len(b)]])
    error, freedom = _error(scatter, np.array([[one.mean() for one in noise]]), counts, spread)
    reach = error[0] * stats.t.ppf(1.0 - ALPHA / 2.0, freedom[0])
    return Contrast(
        effect=Effect(estimate=float(estimate), low=float(estimate - reach), high=float(estimate + reach)),
        p=float(_p(estimate, error, freedom, min(len(a), len(b)), spread)[0]),
        freedom=float(freedom[0]),
    )


def _error(scatter: Floats, noise: Floats, counts: Floats, spread: Spread) -> tuple[Floats, Floats]:
    """Standard error and degrees of freedom of differences of two groups.

    `scatter`: sum of squares within both groups, (...). `noise`: mean e^2 of each group, `counts`: nodes of each,
    (..., 2). The spread within the groups joins the prior as `join` does, less what time alone explains.
    """
    own = counts.sum(axis=-1) - 2.0
    mean_noise = (noise * counts).sum(axis=-1) / counts.sum(axis=-1)
    within = np.maximum(scatter / np.maximum(own, 1.0) - mean_noise, ERROR_FLOOR**2)
    freedom = spread.freedom + own
    variance = (spread.freedom * spread.variance + own * within) / freedom
    total = (noise / counts).sum(axis=-1) + variance * (1.0 / counts).sum(axis=-1)
    return np.sqrt(total), freedom


def beside_peers(means: Floats, errors: Floats, spread: Spread) -> tuple[Floats, Floats, Floats]:
    """Each node against all of its peers: difference, half width of the 95% interval, p; (clusters, nodes) each.

    NaN where a node, or every peer of it, has no value.
    """
    usable = np.isfinite(means) & np.isfinite(errors)
    value = np.where(usable, means, 0.0)
    noise = np.where(usable, np.maximum(errors, ERROR_FLOOR), 0.0) ** 2
    others = usable.sum(axis=-1, keepdims=True) - usable
    peers = np.maximum(others, 1)
    mean_of_others = (value.sum(axis=-1, keepdims=True) - value) / peers
    # Around a near value, so that squares of large means do not swallow the differences.
    near = value - (value.sum(axis=-1, keepdims=True) / np.maximum(usable.sum(axis=-1, keepdims=True), 1)) * usable
    scatter = ((near**2).sum(axis=-1, keepdims=True) - near**2) - (near.sum(axis=-1, keepdims=True) - near) ** 2 / peers
    noise_of_others = (noise.sum(axis=-1, keepdims=True) - noise) / peers
    both = np.stack([noise_of_others, noise], axis=-1)
    counts = np.stack([peers.astype(np.float64), np.ones(peers.shape)], axis=-1)
    error, freedom = _error(np.maximum(scatter, 0.0), both, counts, spread)
    difference = np.where(usable & (others > 0), value - mean_of_others, np.nan)
    reach = error * stats.t.ppf(1.0 - ALPHA / 2.0, freedom)
    return difference, reach, _p(difference, error, freedom, 1, spread)


def _p(difference: Floats, error: Floats, freedom: Floats, nodes: int, spread: Spread) -> Floats:
    """Two-sided: that alike nodes differ by this or more, `nodes` of them being the smaller group.

    By the t; and where no alike nodes are known (WIDE), also because all of these have a cause of their own, as nodes
    of one family now and then do. Where they are known, a node that is off from them is what is looked for.
    """
    by_chance = 2.0 * stats.t.sf(np.abs(difference) / error, freedom)
    by_own_cause = 2.0 * stats.norm.sf(np.abs(difference) / np.hypot(error, spread.own_scale))
    share = spread.own_share**nodes if spread.pooling is Pooling.WIDE else 0.0
    p: Floats = (1.0 - share) * by_chance + share * by_own_cause
    return p


def standings(levels: Sequence[Level], spread: Spread) -> tuple[Standing, ...]:
    """Each node beside all of its peers, p adjusted over the nodes (Holm 1979). A node without a level has NaN."""
    means = np.array([[level.mean for level in levels]])
    errors = np.array([[level.error for level in levels]])
    difference, reach, p = (array[0].tolist() for array in beside_peers(means, errors, spread))
    tested = [at for at, one in enumerate(p) if math.isfinite(one)]
    adjusted = dict(zip(tested, holm([p[at] for at in tested]), strict=True))
    return tuple(
        Standing(
            node=level.node,
            difference=difference[at],
            low=difference[at] - reach[at] if at in adjusted else math.nan,
            high=difference[at] + reach[at] if at in adjusted else math.nan,
            p=adjusted.get(at, math.nan),
            differs=adjusted.get(at, math.nan) <= ALPHA,
        )
        for at, level in enumerate(levels)
    )


def holm(ps: Sequence[float]) -> list[float]:
    """p adjusted for the number of tests (Holm, A simple sequentially rejective procedure, 1979)."""
    order = sorted(range(len(ps)), key=lambda at: ps[at])
    adjusted, worst = [0.0] * len(ps), 0.0
    for rank, at in enumerate(order):
        worst = max(worst, min(1.0, (len(ps) - rank) * ps[at]))
        adjusted[at] = worst
    return adjusted


def levels_of(nodes: Sequence[str], means: Floats, errors: Floats, samples: Floats, effective: Floats) -> list[Level]:
    """Arrays of (nodes,) as nouns."""
    return [
        Level(node=node, mean=float(m), error=float(e), samples=int(n), effective=float(f))
        for node, m, e, n, f in zip(nodes, means, errors, samples, effective, strict=True)
    ]
