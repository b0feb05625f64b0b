"""How well a partition of the nodes predicts their levels: the marginal likelihood, by which hypotheses are weighed.

A node's level is y = m + u[group] + b[node] + e[node]: u ~ N(0, tau^2) is what the group's cause does, b ~ N(0,
sigma^2) is how nodes that are alike differ, and e is measurement error, known from the series. m is flat; sigma and
tau are integrated out on grids, sigma under what is known of nodes that are alike (a `Spread`), tau log-uniform over
effects worth finding. Each further group pays for its freedom: the Bayes factor has its level penalty built in (Kass
and Raftery, Bayes factors, JASA 90, 1995), which an R^2 has not. Time samples shrink e alone, never b.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from backstay.audit.forms import Forms, alike_forms
from backstay.audit.model import Floats, Ints, Level, Pooling, Spread

# Estimated over 300 families of real machines with one CPU model each (`./run bench audit nulls` shows the fit): half
# of them agree within 0.8%, a tenth spread by more than 8%. A quarter of them is within 0.2%, hence so little freedom.
# One in seven is off by more, alone, and by 7%: burstable, throttled, or on a busy host.
WIDE = Spread(variance=0.008**2, freedom=0.6, pooling=Pooling.WIDE, own_share=0.15, own_scale=0.07)

SIGMAS = np.exp(np.linspace(math.log(2e-4), math.log(0.5), 14))  # log ratios: 0.02% to 65%
TAUS = np.array([0.02, 0.05, 0.12, 0.3, 0.8])
ERROR_FLOOR = 1e-4  # a clock and a counter agree no better
NOTHING_PRIOR = 0.5  # that nodes which ought to be alike are alike, in one indicator
CHUNK = 2_000_000  # floats of one intermediate array


def log_marginals(means: Floats, errors: Floats, partitions: Ints, spread: Spread, taus: Floats = TAUS) -> Floats:
    """log p(means | partition), up to a constant that all partitions share: (partitions,).

    `means`, `errors`: (nodes,), finite, log ratios. `partitions`: (partitions, nodes), labels from 0.
    `taus`: what u may be.
    """
    log_prior = log_sigma_prior(spread)[:, None] - math.log(len(taus))
    groups = int(partitions.max(initial=0)) + 1
    rows = max(1, CHUNK // (groups * len(SIGMAS) * len(taus)))
    chunks = [partitions[at : at + rows] for at in range(0, len(partitions), rows)]
    return np.concatenate(
        [log_sum((log_likelihoods(means, errors, one, taus) + log_prior).reshape(len(one), -1)) for one in chunks]
    )


def nothing(means: Floats, errors: Floats, spread: Spread) -> float:
    """log p(means | the nodes are alike): those with a cause of their own differ as such nodes do, no more."""
    forms = alike_forms(means, spread.own_share)
    scale = np.array([max(spread.own_scale, float(SIGMAS[0]))])
    of_forms = log_marginals(means, errors, np.array(list(forms), np.int32), spread, scale)
    return float(log_sum(of_forms + np.array(list(forms.values()))))


def mixtures(means: Floats, errors: Floats, hypotheses: Sequence[Forms], spread: Spread) -> Floats:
    """log p(means | hypothesis) of each, a mixture over its forms: (hypotheses,). Shared forms are computed once."""
    place: dict[tuple[int, ...], int] = {}
    for forms in hypotheses:
        for form in forms:
            place.setdefault(form, len(place))
    of_forms = log_marginals(means, errors, np.array(list(place), np.int32), spread)
    return np.array(
        [log_sum(of_forms[[place[form] for form in forms]] + np.array(list(forms.values()))) for forms in hypotheses]
    )


def log_likelihoods(means: Floats, errors: Floats, partitions: Ints, taus: Floats) -> Floats:
    """log p(means | partition, sigma, tau), m flat: (partitions, SIGMAS, taus).

    Axes p: partition, n: node, k: group, s: sigma, t: tau. Woodbury for u, and m in closed form.
    """
    assert np.isfinite(means).all() and np.isfinite(errors).all()
    means = means - np.median(means)
    variances = SIGMAS[:, None] ** 2 + np.maximum(errors, ERROR_FLOOR) ** 2
    precisions = 1.0 / variances
    groups = int(partitions.max(initial=0)) + 1
    member = (partitions[:, :, None] == np.arange(groups)).astype(np.float64)  # p n k
    mass = np.matmul(precisions, member)[:, :, None, :]  # p s 1 k
    pull = np.matmul(precisions * means, member)[:, :, None, :]
    tau2 = taus[:, None] ** 2  # t 1
    shrink = 1.0 + tau2 * mass  # p s t k
    a, b = (mass / shrink).sum(-1), (pull / shrink).sum(-1)  # p s t
    square = (precisions * means**2).sum(-1)[None, :, None] - (tau2 * pull**2 / shrink).sum(-1) - b * b / a
    log_det = np.log(variances).sum(-1)[None, :, None] + np.log(shrink).sum(-1) + np.log(a)
    found: Floats = -0.5 * (square + log_det)
    return found


def log_sigma_prior(spread: Spread) -> Floats:
    """Scaled inverse chi-square of sigma^2 as weights over SIGMAS; they add up to 1."""
    log_weights = -spread.freedom * (np.log(SIGMAS) + spread.variance / (2.0 * SIGMAS**2))
    weights: Floats = log_weights - log_sum(log_weights)
    return weights


def log_sum(values: Floats) -> Floats:
    """log(sum(exp(values))) over the last axis, without overflow."""
    top = values.max(axis=-1, keepdims=True)
    total: Floats = np.log(np.exp(values - top).sum(axis=-1)) + top[..., 0]
    return total


def usable(levels: tuple[Level, ...]) -> list[int]:
    """Positions of the levels that have a value."""
    return [at for at, level in enumerate(levels) if math.isfinite(level.mean) and math.isfinite(level.error)]
