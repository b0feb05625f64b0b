"""Replication: what other clusters say of the same fact.

In each cluster where a fact differs, the odds of its class moved from prior to posterior; that factor is what the
cluster says. A cluster where it differs without the effect says so with a factor below 1, and one with the effect the
other way round counts against it as well. Facts that were aliased in one cluster come apart in another, so the sum is
by fact, not by class. Factors are bounded: one cluster alone never decides (one bad cluster does not sink it either).
Effects are pooled with Hartung and Knapp's random-effects interval (Stat. Med. 20, 2001).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from backstay.audit.model import Effect, Evidence, EvidenceKind, FactStanding, Finding, Hypothesis

ONE_CLUSTER_LIMIT = 1.6  # log odds: 5 to 1, so that two are needed for 10 to 1
MINIMUM_EFFECT = 0.005  # smaller differences have no sign worth comparing


@dataclass(frozen=True, slots=True, kw_only=True)
class Replication:
    fact: str
    indicator: str
    clusters_for: tuple[str, ...]
    clusters_against: tuple[str, ...]
    log_odds: float  # of all clusters together
    effect: Effect | None  # pooled: between the two values that most clusters have; None: no pair in two clusters

    def evidence(self) -> Evidence:
        """What these clusters say, for a finding of another one."""
        for_, against = len(self.clusters_for), len(self.clusters_against)
        return Evidence(
            kind=EvidenceKind.REPLICATION,
            fact=self.fact,
            log_odds=self.log_odds,
            where=", ".join((*self.clusters_for, *self.clusters_against)),
            detail=f"{for_} other clusters with the effect, {against} without",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """One cluster that has the fact: what it says, and the effect of each pair of values."""

    cluster: str
    log_factor: float
    effects: dict[tuple[str, str], float]  # (value, value), in order of text -> second less first


def pool(findings: Sequence[Finding], fact: str, indicator: str) -> Replication:
    """What the clusters of `findings` say together of `fact`. Those where it does not differ say nothing."""
    return _pool(_seen(findings, {fact}, indicator).get(fact, []), fact, indicator)


def replications(findings: Sequence[Finding], facts: Sequence[str], indicator: str) -> tuple[Evidence, ...]:
    """What other clusters say of each of `facts`, in this order; facts that differ in none of them are left out."""
    seen = _seen(findings, set(facts), indicator)
    return tuple(_pool(seen[fact], fact, indicator).evidence() for fact in facts if fact in seen)


def _pool(seen: Sequence[_Seen], fact: str, indicator: str) -> Replication:
    direction = _direction(seen)
    factors = {one.cluster: _signed(one, direction) for one in seen}
    return Replication(
        fact=fact,
        indicator=indicator,
        clusters_for=tuple(sorted(cluster for cluster, factor in factors.items() if factor > 0.0)),
        clusters_against=tuple(sorted(cluster for cluster, factor in factors.items() if factor <= 0.0)),
        log_odds=sum(factors.values()),
        effect=_pooled(seen),
    )


def _seen(findings: Sequence[Finding], facts: Collection[str], indicator: str) -> dict[str, list[_Seen]]:
    """By fact, in one pass: a class may have thousands of them."""
    found: dict[str, list[_Seen]] = {}
    for finding in findings:
        for one in finding.hypotheses if finding.indicator == indicator else ():
            for standing in one.facts:
                if standing.fact in facts:
                    seen = _Seen(cluster=finding.cluster, log_factor=_factor(one), effects=_effects(one, standing))
                    found.setdefault(standing.fact, []).append(seen)
    return found


def _factor(one: Hypothesis) -> float:
    """Log of what the cluster's own data did to the odds of the class, bounded."""
    prior = min(max(one.prior, 1e-12), 1.0 - 1e-12)
    posterior = min(max(one.posterior, 1e-12), 1.0 - 1e-12)
    moved = math.log(posterior / (1.0 - posterior)) - math.log(prior / (1.0 - prior))
    return min(max(moved, -ONE_CLUSTER_LIMIT), ONE_CLUSTER_LIMIT)


def _effects(one: Hypothesis, standing: FactStanding) -> dict[tuple[str, str], float]:
    values = [value if value is not None else "(absent)" for value in standing.values]
    return {
        (values[a], values[b]): one.effects[b] - one.effects[a]
        for a in range(len(values))
        for b in range(len(values))
        if values[a] < values[b]
    }


def _direction(seen: Sequence[_Seen]) -> dict[tuple[str, str], float]:
    """The sign that each pair of values has in most clusters, weighed by what they say."""
    votes: dict[tuple[str, str], float] = {}
    for one in seen:
        for pair, effect in one.effects.items():
            if abs(effect) >= MINIMUM_EFFECT:
                votes[pair] = votes.get(pair, 0.0) + math.copysign(max(one.log_factor, 0.1), effect)
    return votes


def _signed(one: _Seen, direction: dict[tuple[str, str], float]) -> float:
    """Against, when the cluster's widest effect goes the other way than in most clusters."""
    if not one.effects:
        return one.log_factor
    pair, effect = max(one.effects.items(), key=lambda entry: abs(entry[1]))
    contrary = abs(effect) >= MINIMUM_EFFECT and direction.get(pair, 0.0) * effect < 0.0
    return -abs(one.log_factor) if contrary else one.log_factor


def _pooled(seen: Sequence[_Seen]) -> Effect | None:
    """Of the pair of values that most clusters have, two at least: mean and Hartung-Knapp interval over clusters."""
    by_pair: dict[tuple[str, str], list[float]] = {}
    for one in seen:
        for pair, effect in one.effects.items():
            by_pair.setdefault(pair, []).append(effect)
    effects = max(by_pair.values(), key=len, default=[])
    if len(effects) < 2:
        return None
    mean = float(np.mean(effects))
    reach = float(stats.t.ppf(0.975, len(effects) - 1)) * float(np.std(effects, ddof=1)) / math.sqrt(len(effects))
    return Effect(estimate=mean, low=mean - reach, high=mean + reach)
