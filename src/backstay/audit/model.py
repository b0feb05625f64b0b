"""Nouns of the audit: what is known of nodes (facts), what was measured (a grid), and what is claimed (a finding).

Arrays are read, never written: a dataclass here is frozen, and whoever makes one hands its arrays over.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Ints = NDArray[np.int32]

ABSENT = -1  # the source read the node, and it has no such fact: a value like any other
UNREAD = -2  # nobody could read it there: nothing is known


# Facts: slow, discrete


@dataclass(frozen=True, slots=True, kw_only=True)
class FactReport:
    """What one source says of one node at one time."""

    node: str
    source: str
    time: datetime  # UTC
    values: Mapping[str, str]  # "cpu.model name" -> text; a fact in neither mapping is absent
    unread: Mapping[str, str] = field(default_factory=dict)  # fact, or a group "dmi.*" -> why ("needs root")
    problem: str = ""  # the node could not be read at all: what, where, what next


@dataclass(frozen=True, slots=True, kw_only=True)
class FactInterval:
    """A node had a fact with this value, from the first report that said so to the last."""

    node: str
    fact: str
    value: str
    first_seen: datetime
    last_seen: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FactChange:
    """A fact that changed its value: an event. `time` is when the new value was first seen."""

    node: str
    fact: str
    before: str | None  # None: absent
    after: str | None
    time: datetime
    # When the old value was last seen: it changed between then and `time`. None: nobody knows. Not part of what it is.
    unseen_from: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class FactColumn:
    """One fact over the nodes of a table, coded: `codes[n]` indexes `values`, or is ABSENT or UNREAD."""

    codes: Ints  # (nodes,)
    values: tuple[str, ...]

    def text(self, position: int) -> str | None:
        """The value on the node at `position`; None where it is absent or unread."""
        code = int(self.codes[position])
        return self.values[code] if code >= 0 else None


@dataclass(frozen=True, slots=True)
class FactTable:
    """Facts by node, at one time."""

    nodes: tuple[str, ...]
    columns: Mapping[str, FactColumn]

    @classmethod
    def of(
        cls, values: Mapping[str, Mapping[str, str]], unread: Mapping[str, Iterable[str]] | None = None
    ) -> FactTable:
        """From node -> fact -> value, and node -> facts that could not be read there.

        `unread` may name groups ("dmi.*"); a value that another source has wins over "unread".
        """
        nodes = tuple(values)
        codes: dict[str, Ints] = {}
        known: dict[str, dict[str, int]] = {}
        for position, node in enumerate(nodes):
            for fact, value in values[node].items():
                if fact not in codes:
                    codes[fact] = np.full(len(nodes), ABSENT, np.int32)
                    known[fact] = {}
                codes[fact][position] = known[fact].setdefault(str(value), len(known[fact]))
        for position, node in enumerate(nodes):
            for name in (unread or {}).get(node, ()):
                group = [fact for fact in codes if fact.startswith(name[:-1])] if name.endswith("*") else [name]
                for fact in group:
                    if fact in codes and codes[fact][position] == ABSENT:
                        codes[fact][position] = UNREAD
        return cls(nodes, {fact: FactColumn(codes[fact], tuple(known[fact])) for fact in sorted(codes)})

    def rows(self, nodes: Sequence[str]) -> FactTable:
        """The same facts for these nodes, in this order. Raises KeyError for a node that is not in the table."""
        place = {node: position for position, node in enumerate(self.nodes)}
        missing = [node for node in nodes if node not in place]
        if missing:
            raise KeyError(f"no facts of {', '.join(missing[:5])}: collect them (backstay audit collect)")
        picked = np.array([place[node] for node in nodes], np.int64)
        columns = {fact: FactColumn(column.codes[picked], column.values) for fact, column in self.columns.items()}
        return FactTable(tuple(nodes), columns)


# Indicators: time series


class Resource(StrEnum):
    """What an indicator measures. It decides which facts are plausible causes."""

    CPU = "cpu"  # speed or use of processors
    MEMORY = "memory"  # bandwidth, use, paging
    STORAGE = "storage"
    NETWORK = "network"  # rates, drops, retransmits
    SERVICE = "service"  # requests, latency, errors: anything may be behind it


@dataclass(frozen=True, slots=True, kw_only=True)
class Indicator:
    name: str
    unit: str = ""
    resource: Resource = Resource.SERVICE
    per_work: bool = False  # grows with the work done: to be divided by the cluster's unit of work
    closed_loop: bool = False  # a load balancer evens it out: equal values prove nothing
    higher_is_worse: bool | None = None  # None: neither


class SeriesKind(StrEnum):
    GAUGE = "gauge"
    COUNTER = "counter"  # only grows, until it is reset or wraps: the store keeps its rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One indicator of one node as a source saw it: irregular, perhaps late, doubled or out of order."""

    node: str
    indicator: str
    times_s: Floats  # (samples,) Unix time, UTC
    values: Floats  # (samples,)
    kind: SeriesKind = SeriesKind.GAUGE


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Indicators on a common regular grid. NaN is a gap; infinities do not occur."""

    nodes: tuple[str, ...]
    indicators: tuple[str, ...]
    start: datetime  # of the first cell, UTC
    step_s: float
    values: Floats  # (indicators, nodes, times), float64 or float32

    def __post_init__(self) -> None:
        expected = (len(self.indicators), len(self.nodes))
        if self.values.ndim != 3 or self.values.shape[:2] != expected or not self.step_s > 0.0:
            raise ValueError(
                f"a grid of {expected[0]} indicators and {expected[1]} nodes has values of shape "
                f"{self.values.shape}, step {self.step_s} s: give (indicators, nodes, times) and a step above 0"
            )

    @property
    def count(self) -> int:
        """Cells in time."""
        return int(self.values.shape[2])

    @property
    def end(self) -> datetime:
        return self.start + timedelta(seconds=self.step_s * self.count)

    def of(self, indicator: str) -> Floats:
        """One indicator: (nodes, times), a view. Raises KeyError that names what there is."""
        if indicator not in self.indicators:
            raise KeyError(f"no indicator {indicator!r} here. There is: {', '.join(self.indicators[:20]) or 'none'}")
        values: Floats = self.values[self.indicators.index(indicator)]
        return values

    def rows(self, indicator: str, nodes: Sequence[str]) -> Floats:
        """One indicator of these nodes, in this order: (nodes, times), a copy. A node that is not here is a gap."""
        found = self.of(indicator)
        place = {node: at for at, node in enumerate(self.nodes)}
        rows = np.full((len(nodes), self.count), np.nan)
        for at, node in enumerate(nodes):
            if node in place:
                rows[at] = found[place[node]]
        return rows

    def cell(self, time: datetime) -> int:
        """The cell that `time` falls into; below 0 or beyond `count` when it is outside."""
        return math.floor((time - self.start).total_seconds() / self.step_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Nodes that ought to be alike. `work`: the indicator that counts its unit of work, if it has one."""

    name: str
    nodes: tuple[str, ...]
    work: str | None = None


# Estimates


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


# Hypotheses


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


class Mechanism(StrEnum):
    """How a fact could act on an indicator, nearest first. Learned from families, not from names of values."""

    DIRECT = "direct"  # the part itself: the CPU's model for its speed, the NIC's driver for drops
    NEAR = "near"  # acts on that part: firmware, mitigations, governor, kernel
    REMOTE = "remote"  # another part of the machine
    SIZE = "size"  # how much of it there is: a work-normalised indicator should not care
    LABEL = "label"  # a name or number that somebody gave it


@dataclass(frozen=True, slots=True, kw_only=True)
class FactStanding:
    """A fact within its alias class: what speaks for it beside the partition, which it shares with the others."""

    fact: str
    values: tuple[str | None, ...]  # by group of the partition; None: absent
    mechanism: Mechanism
    weight: float  # prior odds against a fact of no particular kind
    volatile: bool = False  # changes by itself
    identity: bool = False  # unique to each node
    changed: datetime | None = None  # its last change on any of the nodes
    recurrence: int = 0  # clusters where it came first before
    dose: float = 1.0  # Bayes factor of a monotone dose-response, at most its prior odds


class HypothesisKind(StrEnum):
    CLASS = "class"
    UNMEASURED = "unmeasured"  # something that splits the nodes, and that no fact shows
    NOTHING = "nothing"  # no difference beyond what nodes that are alike show


@dataclass(frozen=True, slots=True, kw_only=True)
class Hypothesis:
    """One explanation: an alias class (facts that no data of this cluster can tell apart), or none of them."""

    kind: HypothesisKind
    partition: Partition | None = None  # of the cluster's nodes; for CLASS only
    facts: tuple[FactStanding, ...] = ()  # likely first
    prior: float = 0.0
    log_bayes: float = 0.0  # natural log of the Bayes factor against NOTHING
    posterior: float = 0.0
    effects: tuple[float, ...] = ()  # mean of each group, as log ratio to the cluster's


class EvidenceKind(StrEnum):
    CROSS_SECTION = "cross_section"
    CHANGE = "change"  # a natural experiment: difference-in-differences
    REVERSAL = "reversal"  # changed back, and the effect went
    REPLICATION = "replication"  # other clusters
    PLACEBO = "placebo"
    DOSE = "dose"
    INTERVENTION = "intervention"  # a registered fix, verified


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One piece, for (`log_odds` above 0) or against. `where`: cluster, node or time; `detail`: for people."""

    kind: EvidenceKind
    fact: str  # it speaks for, or against, every hypothesis with this fact
    log_odds: float
    where: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Habit:
    """How a fact behaves across the fleet: learned, not listed."""

    fact: str
    nodes: int  # that have it
    distinct: float  # distinct values a node, 0 to 1
    churn: float  # changes a node and day
    volatile: bool  # changes by itself
    identity: bool  # unique to each node, and stable


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """What the fleet and the past say beyond one cluster's cross-section. Empty where there is nothing."""

    spread: Spread | None = None  # None: the wide prior
    habits: Mapping[str, Habit] = field(default_factory=dict)
    changes: Sequence[FactChange] = ()  # within the time looked at
    recurrence: Mapping[str, int] = field(default_factory=dict)  # fact -> clusters where it came first before
    evidence: Sequence[Evidence] = ()  # natural experiments, replications, interventions


class Grade(StrEnum):
    """How sure a finding is, weakest first."""

    NOTHING = "nothing"
    DIFFERS = "differs"  # a difference, and no explanation stands out
    CONSISTENT = "consistent"  # one class fits best; other causes are not excluded
    PROBABLE = "probable"
    REPLICATED = "replicated"  # in other clusters too, or with time: a change, and its reversal
    CONFIRMED = "confirmed"  # by intervention

    @property
    def rank(self) -> int:
        return list(Grade).index(self)


class ExperimentKind(StrEnum):
    READ = "read"  # read a fact that is unread somewhere: free
    SET = "set"  # change a setting on one node: undone in seconds
    MOVE = "move"  # move the work of one node
    SWAP = "swap"  # swap a part between two nodes
    ADD = "add"  # add nodes: no change of one fact splits it here


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """What would raise the grade: cheapest first. `splits`: facts that would no longer be aliased with `fact`."""

    kind: ExperimentKind
    fact: str
    node: str = ""  # where it is done
    donor: str = ""  # the node that has the other value
    value: str | None = None
    splits: tuple[str, ...] = ()
    detail: str = ""  # the sentence: "put web2's CPU in web4"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is claimed of one indicator of one cluster, how sure it is, and what would settle it."""

    cluster: str
    indicator: str
    nodes: tuple[str, ...]
    grade: Grade
    effect: Effect | None  # between the extreme groups of the first class, or of the split
    hypotheses: tuple[Hypothesis, ...]  # by posterior, descending; always has UNMEASURED and NOTHING
    evidence: tuple[Evidence, ...] = ()
    experiments: tuple[Experiment, ...] = ()  # cheapest first
    caps: tuple[str, ...] = ()  # why it is not graded higher
    problems: tuple[str, ...] = ()  # what could not be used, and why

    @property
    def first(self) -> Hypothesis | None:
        """The alias class that comes first; None where no fact differs."""
        return next((one for one in self.hypotheses if one.kind is HypothesisKind.CLASS), None)
