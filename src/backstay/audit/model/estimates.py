"""Where nodes stand beside each other, and how a cluster splits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Partition:
    """How a fact splits the nodes: a label each, in order of first appearance (0, 1, 1, 2)."""

    labels: tuple[int, ...]

    @classmethod
    def of(cls, codes: Iterable[object]) -> Partition:
        """Canonical: equal codes, equal labels."""
        seen: dict[object, int] = {}
        return cls(tuple(seen.setdefault(code, len(seen)) for code in codes))

    @property
    def groups(self) -> int:
        return max(self.labels, default=-1) + 1

    def members(self, nodes: Sequence[str]) -> tuple[tuple[str, ...], ...]:
        """The nodes of each group."""
        groups: list[list[str]] = [[] for _ in range(self.groups)]
        for node, label in zip(nodes, self.labels, strict=True):
            groups[label].append(node)
        return tuple(tuple(group) for group in groups)


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """Where one node stands on one indicator: the mean of its (peer-relative or log) series."""

    node: str
    mean: float  # log ratio unless the comparison says otherwise; NaN: no data
    error: float  # standard error from time alone: s/sqrt(n_eff)
    samples: int
    effective: float  # samples that the autocorrelation leaves


class Pooling(StrEnum):
    """Where sigma_b, the spread between nodes that are alike, comes from."""

    ALIKE = "alike"  # nodes with identical facts, fleet-wide (empirical Bayes)
    WIDE = "wide"  # there are none: a wide prior


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How nodes that are alike differ: most by N(0, sigma_b^2), a few by a cause of their own, and then by more."""

    variance: float  # sigma_b^2 is scaled inverse chi-square about this, with `freedom` degrees
    freedom: float
    pooling: Pooling
    own_share: float = 0.0  # nodes with a cause of their own
    own_scale: float = 0.0  # standard deviation of what it does: log ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A node beside the leave-one-out median of its peers."""

    node: str
    difference: float  # log ratio (or units, where the indicator has no logarithm); NaN: nothing to compare
    low: float  # 95% interval
    high: float
    p: float  # node-level t, two-sided, adjusted over the nodes (Holm); NaN: none
    differs: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One indicator over one cluster: who differs, and how the cluster splits."""

    cluster: str
    indicator: str
    levels: tuple[Level, ...]
    standings: tuple[Standing, ...]
    split: Partition | None  # None: it does not split
    spread: Spread
    unit: str = "log ratio"  # of the levels and differences
    closed_loop: bool = False
    problems: tuple[str, ...] = ()  # what could not be used, and why

    @property
    def differs(self) -> tuple[str, ...]:
        return tuple(standing.node for standing in self.standings if standing.differs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """A difference between two groups of nodes. Log ratio unless `unit` says otherwise."""

    estimate: float
    low: float  # 95%
    high: float
    unit: str = "log ratio"

    @property
    def ratio(self) -> float:
        return math.exp(self.estimate)
