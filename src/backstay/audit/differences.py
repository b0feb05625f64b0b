"""Which facts differ between nodes that ought to be alike, grouped by how they split them, the likely causes first.

Noise (names, addresses, serial numbers, what changes by itself) is told apart by what the fleet taught and by what a
fact names; it is counted and kept, never deleted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backstay.audit.explain.hypotheses import IDENTITY_FACTOR, VOLATILE_FACTOR
from backstay.audit.explain.mechanism import WEIGHTS, Part, class_weight, mechanism_of, part_of
from backstay.audit.explain.partitions import alias_classes
from backstay.audit.model import FactTable, Habit, Mechanism, Partition, Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class DifferingFact:
    fact: str
    part: Part
    values: tuple[str | None, ...]  # by group of the split; None: absent
    noise: str  # why it is noise; empty: it is none


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """An alias class: facts that split the nodes in the same way, likely causes first."""

    groups: tuple[tuple[str, ...], ...]
    facts: tuple[DifferingFact, ...]
    weight: float  # prior odds against one fact that names the measured part

    @property
    def telling(self) -> tuple[DifferingFact, ...]:
        return tuple(one for one in self.facts if not one.noise)

    @property
    def noise(self) -> tuple[DifferingFact, ...]:
        return tuple(one for one in self.facts if one.noise)


@dataclass(frozen=True, slots=True, kw_only=True)
class Differences:
    nodes: tuple[str, ...]
    splits: tuple[Split, ...]  # likely causes first; those of noise alone are last
    unread: tuple[str, ...]  # facts that are unread on some node: they may differ
    facts: int  # of all of them

    @property
    def telling(self) -> tuple[Split, ...]:
        return tuple(one for one in self.splits if one.telling)

    @property
    def noise(self) -> int:
        return sum(len(one.noise) for one in self.splits)


def differences(table: FactTable, habits: Mapping[str, Habit], resource: Resource = Resource.SERVICE) -> Differences:
    """How the nodes of `table` differ. `habits`: of facts, fleet-wide. `resource`: what the causes would act on."""
    classes = alias_classes(table)
    splits = [_split(table, partition, facts, habits, resource) for partition, facts in classes.facts.items()]
    return Differences(
        nodes=table.nodes,
        splits=tuple(sorted(splits, key=lambda one: (not one.telling, -one.weight, one.groups))),
        unread=classes.unread,
        facts=len(table.columns),
    )


def _split(
    table: FactTable, partition: Partition, facts: Sequence[str], habits: Mapping[str, Habit], resource: Resource
) -> Split:
    first_of_group = [partition.labels.index(group) for group in range(partition.groups)]
    weights, found = [], []
    for fact in facts:
        mechanism, noise = mechanism_of(fact, resource), noise_of(fact, habits.get(fact))
        factor = VOLATILE_FACTOR if noise == CHANGES else IDENTITY_FACTOR if noise == UNIQUE else 1.0
        weights.append((mechanism, WEIGHTS[mechanism] * factor))
        values = tuple(table.columns[fact].text(at) for at in first_of_group)
        found.append(DifferingFact(fact=fact, part=part_of(fact), values=values, noise=noise))
    order = sorted(range(len(facts)), key=lambda at: (bool(found[at].noise), -weights[at][1], facts[at]))
    return Split(
        groups=partition.members(table.nodes),
        facts=tuple(found[at] for at in order),
        weight=class_weight(weights),
    )


CHANGES = "changes by itself"
UNIQUE = "unique to each node"
NAMES = "a name or number that somebody gave it"


def noise_of(fact: str, habit: Habit | None) -> str:
    """Why the fact is noise; empty: it is none."""
    if habit is not None and habit.volatile:
        return CHANGES
    if habit is not None and habit.identity:
        return UNIQUE
    return NAMES if mechanism_of(fact, Resource.SERVICE) is Mechanism.LABEL else ""
