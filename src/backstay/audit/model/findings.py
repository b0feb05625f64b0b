"""What is claimed, how sure it is, and what would settle it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from backstay.audit.model.estimates import Effect, Partition, Spread
from backstay.audit.model.facts import FactChange


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
