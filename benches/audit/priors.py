"""The weights of mechanisms, estimated as they were for the program: conditional logit, leaving families out.

The choice set of a cluster is its alias classes; a class scores log_bayes + log class_weight; the chosen one is the CPU
model's. Families weigh alike, however many clusters were drawn from them. Shrunk towards the weights in use.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from backstay.audit.explain.mechanism import CONCORD, CONCORD_LIMIT, WEIGHTS
from backstay.audit.model import Hypothesis, Mechanism

FREE = [Mechanism.NEAR, Mechanism.REMOTE, Mechanism.SIZE, Mechanism.LABEL]
RIDGE = 0.3
START = np.array([*(math.log(WEIGHTS[mechanism]) for mechanism in FREE), CONCORD])


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One cluster: what its classes have, and which of them is the CPU model's."""

    family: str
    log_bayes: np.ndarray  # (classes,)
    has: np.ndarray  # (classes, mechanisms): DIRECT, then FREE
    names: np.ndarray  # (classes,): log of the facts that name the part, limited; 0 where there are none
    truth: int

    def scores(self, weights: np.ndarray) -> np.ndarray:
        logs = np.array([0.0, *weights[:-1]])
        best = np.where(self.has, logs, -np.inf).max(axis=1)
        scores: np.ndarray = self.log_bayes + np.maximum(
            best, np.where(self.has[:, 0], weights[-1] * self.names, -np.inf)
        )
        return scores


def choice(family: str, classes: Sequence[Hypothesis], truth: int) -> Choice:
    found = [[fact.mechanism for fact in one.facts] for one in classes]
    counts = np.array([mechanisms.count(Mechanism.DIRECT) for mechanisms in found])
    return Choice(
        family=family,
        log_bayes=np.array([one.log_bayes for one in classes]),
        has=np.array([[kind in mechanisms for kind in (Mechanism.DIRECT, *FREE)] for mechanisms in found]),
        names=np.log(np.clip(counts, 1, CONCORD_LIMIT)),
        truth=truth,
    )


def estimate(choices: Sequence[Choice]) -> np.ndarray:
    """Log weights of FREE, and CONCORD."""
    share = Counter(one.family for one in choices)

    def loss(weights: np.ndarray) -> float:
        total = 0.0
        for one in choices:
            scores = one.scores(weights)
            total -= (scores[one.truth] - np.logaddexp.reduce(scores)) / share[one.family]
        return total + RIDGE * float(((weights - START) ** 2).sum())

    found: np.ndarray = minimize(loss, START, method="Powell", options={"maxiter": 4, "xtol": 0.02, "ftol": 1e-3}).x
    return found


def out_of_fold(choices: Sequence[Choice], folds: int = 5) -> tuple[list[bool], np.ndarray]:
    """Does the truth come first, each cluster judged by weights from other folds' families? And all estimates."""
    families = sorted({one.family for one in choices})
    fold = {family: at % folds for at, family in enumerate(families)}
    estimates = np.array(
        [estimate([one for one in choices if fold[one.family] != at]) for at in range(min(folds, len(families)))]
    )
    first = [int(np.argmax(one.scores(estimates[fold[one.family]]))) == one.truth for one in choices]
    return first, estimates
