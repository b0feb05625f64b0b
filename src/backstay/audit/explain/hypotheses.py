"""The hypotheses of one cluster and indicator, weighed: each alias class, an unmeasured cause, and nothing at all.

The prior: half for "nothing"; the other half is shared by the classes in proportion to their weight (mechanism.py) and
by the unmeasured cause. Sharing is what keeps multiplicity in check: the more classes there are, the less each has
(Scott and Berger, Bayes and empirical-Bayes multiplicity adjustment, Ann. Stat. 38, 2010). The likelihood: marginal.py,
over the forms that a cause may take in the data (partitions.py). A per-fact R^2 has neither, and facts that are unique
to each node explain everything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np

from backstay.audit.explain.dose import dose_factor
from backstay.audit.explain.mechanism import WEIGHTS, class_weight, mechanism_of
from backstay.audit.explain.partitions import AliasClasses
from backstay.audit.forms import likely_forms, unknown_forms
from backstay.audit.marginal import NOTHING_PRIOR, log_sum, mixtures, nothing
from backstay.audit.model import (
    FactStanding,
    FactTable,
    Floats,
    Hypothesis,
    HypothesisKind,
    Knowledge,
    Level,
    Partition,
    Resource,
    Spread,
)

UNMEASURED_WEIGHT = 0.1  # as a fact near the part: there is always something that nobody collects
VOLATILE_FACTOR = 0.1
IDENTITY_FACTOR = 0.1
RECENT_FACTOR = 3.0  # it changed within the time looked at: few facts did
RECURRENCE_LIMIT = 4  # counts as at most this many earlier clusters


def weigh(
    levels: Sequence[Level],
    spread: Spread,
    classes: AliasClasses,
    table: FactTable,
    resource: Resource,
    known: Knowledge,
) -> tuple[Hypothesis, ...]:
    """All hypotheses by posterior, descending; UNMEASURED and NOTHING are always among them.

    `levels`: of the table's nodes, two or more, finite. `spread`: of nodes that are alike.
    """
    means, errors = np.array([level.mean for level in levels]), np.array([level.error for level in levels])
    partitions = list(classes.facts)
    forms = [likely_forms(partition, means, spread.own_share) for partition in partitions]
    forms.append(unknown_forms(means))
    log_likelihoods = np.append(mixtures(means, errors, forms, spread), nothing(means, errors, spread))
    standings = [_standings(classes.facts[one], one, means, table, resource, known) for one in partitions]
    weights = [class_weight((fact.mechanism, fact.weight) for fact in facts) for facts in standings]
    shares = np.array([*weights, UNMEASURED_WEIGHT])
    priors = np.append(shares / shares.sum() * (1.0 - NOTHING_PRIOR), NOTHING_PRIOR)
    log_bayes = log_likelihoods - log_likelihoods[-1]
    log_posterior = np.log(priors) + log_bayes
    posteriors = np.exp(log_posterior - log_sum(log_posterior))
    kinds = [HypothesisKind.CLASS] * len(partitions) + [HypothesisKind.UNMEASURED, HypothesisKind.NOTHING]
    found = [
        Hypothesis(
            kind=kind,
            partition=partitions[at] if kind is HypothesisKind.CLASS else None,
            facts=standings[at] if kind is HypothesisKind.CLASS else (),
            prior=float(priors[at]),
            log_bayes=float(log_bayes[at]),
            posterior=float(posteriors[at]),
            effects=_effects(partitions[at], means) if kind is HypothesisKind.CLASS else (),
        )
        for at, kind in enumerate(kinds)
    ]
    return tuple(sorted(found, key=lambda one: -one.posterior))


def with_evidence(hypotheses: Sequence[Hypothesis], known: Knowledge) -> tuple[Hypothesis, ...]:
    """The posteriors once evidence from elsewhere is added.

    Within a class, each fact has its share by weight; evidence shifts the facts that it speaks of, and the class is
    worth what its facts are worth together. So a class does not fall with one of its facts, nor rise with a mere name.
    """
    if not known.evidence:
        return tuple(hypotheses)
    shifts: dict[str, float] = {}
    for piece in known.evidence:
        shifts[piece.fact] = shifts.get(piece.fact, 0.0) + piece.log_odds
    log_odds = np.array([math.log(max(one.posterior, 1e-300)) + _shift(one, shifts) for one in hypotheses])
    posteriors = np.exp(log_odds - log_sum(log_odds))
    changed = [
        replace(one, posterior=float(p), facts=_ordered(one.facts, shifts))
        for one, p in zip(hypotheses, posteriors, strict=True)
    ]
    return tuple(sorted(changed, key=lambda one: -one.posterior))


def _ordered(facts: Sequence[FactStanding], shifts: Mapping[str, float]) -> tuple[FactStanding, ...]:
    """Likely first, with what was seen elsewhere."""
    return tuple(
        sorted(
            facts, key=lambda one: (-math.log(max(one.weight * one.dose, 1e-12)) - shifts.get(one.fact, 0.0), one.fact)
        )
    )


def _shift(one: Hypothesis, shifts: Mapping[str, float]) -> float:
    if not any(fact.fact in shifts for fact in one.facts):
        return 0.0
    logs = np.log(np.array([max(fact.weight, 1e-12) for fact in one.facts]))
    moved = np.array([shifts.get(fact.fact, 0.0) for fact in one.facts])
    return float(log_sum(logs + moved) - log_sum(logs))


def _standings(
    facts: Sequence[str],
    partition: Partition,
    means: Floats,
    table: FactTable,
    resource: Resource,
    known: Knowledge,
) -> tuple[FactStanding, ...]:
    """The facts of one class, likely first: by mechanism, recency of change, recurrence, and dose-response."""
    effects = _effects(partition, means)
    place = {node: at for at, node in enumerate(table.nodes)}
    changed: dict[str, datetime] = {}
    for change in known.changes:
        if change.node in place and change.time > changed.get(
            change.fact, datetime.min.replace(tzinfo=change.time.tzinfo)
        ):
            changed[change.fact] = change.time
    first_of_group = [partition.labels.index(group) for group in range(partition.groups)]
    found = []
    for fact in facts:
        values = tuple(table.columns[fact].text(at) for at in first_of_group)
        habit = known.habits.get(fact)
        volatile, identity = bool(habit and habit.volatile), bool(habit and habit.identity)
        recurrence = known.recurrence.get(fact, 0)
        mechanism = mechanism_of(fact, resource)
        standing = FactStanding(
            fact=fact,
            values=values,
            mechanism=mechanism,
            weight=WEIGHTS[mechanism]
            * (VOLATILE_FACTOR if volatile else 1.0)
            * (IDENTITY_FACTOR if identity else 1.0)
            * (RECENT_FACTOR if fact in changed and not volatile else 1.0)
            * (1.0 + min(recurrence, RECURRENCE_LIMIT)),
            volatile=volatile,
            identity=identity,
            changed=changed.get(fact),
            recurrence=recurrence,
            dose=dose_factor(values, effects),
        )
        found.append(standing)
    return tuple(sorted(found, key=lambda one: (-one.weight * one.dose, one.fact)))


def _effects(partition: Partition, means: Floats) -> tuple[float, ...]:
    """Median of each group against the cluster's median: log ratios."""
    labels = np.array(partition.labels)
    return tuple(float(np.median(means[labels == group]) - np.median(means)) for group in range(partition.groups))
