"""The cheapest experiments that would settle a finding: each splits the first class, or takes its cause away.

Facts of one part move together (a CPU swap takes its model, flags and microcode along), so an experiment is on a
part: it splits the class where the class has facts of other parts too, and tests it against an unmeasured cause
where it has not. Costs order them: reading a fact is free, a setting is undone in seconds, a part needs hands.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from backstay.audit.explain.mechanism import Part, part_of
from backstay.audit.model import Experiment, ExperimentKind, FactStanding, Hypothesis, Mechanism

EXPERIMENTS_LIMIT = 4
# What is done to each part, how the sentence names it, and its rank of cost.
HANDLES: dict[Part, tuple[ExperimentKind, str, int]] = {
    Part.KERNEL: (ExperimentKind.SET, "setting", 1),
    Part.CPU_SETTING: (ExperimentKind.SET, "setting", 1),
    Part.NIC_SETTING: (ExperimentKind.SET, "setting", 1),
    Part.SOFTWARE: (ExperimentKind.SET, "version", 2),
    Part.FIRMWARE: (ExperimentKind.SET, "firmware", 3),
    Part.OTHER: (ExperimentKind.SET, "value", 3),
    Part.STORAGE: (ExperimentKind.SWAP, "disk", 5),
    Part.MEMORY: (ExperimentKind.SWAP, "memory", 5),
    Part.NIC: (ExperimentKind.SWAP, "NIC", 5),
    Part.CPU: (ExperimentKind.SWAP, "CPU", 6),
    Part.MACHINE: (ExperimentKind.MOVE, "work", 4),
    Part.SIZE: (ExperimentKind.MOVE, "work", 4),
}  # a label is nothing that can be changed to learn something


def cheapest(first: Hypothesis | None, nodes: Sequence[str], unread: Sequence[str] = ()) -> tuple[Experiment, ...]:
    """What would raise the grade, cheapest first. `first`: the class that comes first, if any fact differs.

    `unread`: facts that could not be read on every node, of which any might be the cause.
    """
    found: list[tuple[int, int, Experiment]] = []
    if unread:
        detail = f"read {', '.join(unread[:3])}{' and others' if len(unread) > 3 else ''} on every node (as root?)"
        found.append((0, 0, Experiment(kind=ExperimentKind.READ, fact=unread[0], splits=tuple(unread), detail=detail)))
    if first is None or first.partition is None or not first.effects:
        return tuple(one for _, _, one in found)
    by_part: dict[Part, list[FactStanding]] = defaultdict(list)
    for fact in first.facts:
        by_part[part_of(fact.fact)].append(fact)
    # Flags and caches of a CPU whose model differs go with it: nobody can set them.
    if Part.CPU in by_part:
        by_part[Part.CPU] += by_part.pop(Part.CPU_SETTING, [])
    if Part.NIC in by_part:
        by_part[Part.NIC] += by_part.pop(Part.NIC_SETTING, [])
    target, donor, group = _pair(first, nodes)
    for part, facts in by_part.items():
        if part not in HANDLES:
            continue
        mine = {fact.fact for fact in facts}
        splits = tuple(fact.fact for fact in first.facts if fact.fact not in mine)
        rank = HANDLES[part][2]
        likelier = -max(fact.weight for fact in facts)
        found.append((rank, round(1000 * likelier), _experiment(part, facts, (target, donor, group), splits)))
    if not any(one.kind is not ExperimentKind.READ for _, _, one in found):
        detail = "add a node with another combination of these facts, or compare a second cluster"
        found.append((9, 0, Experiment(kind=ExperimentKind.ADD, fact=first.facts[0].fact, detail=detail)))
    return tuple(one for _, _, one in sorted(found, key=lambda entry: entry[:2])[:EXPERIMENTS_LIMIT])


def _pair(first: Hypothesis, nodes: Sequence[str]) -> tuple[str, str, int]:
    """(node to change, node whose value it gets, the latter's group).

    Of the two groups whose levels are farthest apart, the smaller gives, so that one change makes the odd node's value
    appear where its other facts are not.
    """
    assert first.partition is not None
    groups = first.partition.members(nodes)
    ordered = sorted(range(len(groups)), key=lambda group: first.effects[group])
    low, high = ordered[0], ordered[-1]
    small, large = sorted((low, high), key=lambda group: (len(groups[group]), group))
    return groups[large][0], groups[small][0], small


def _experiment(
    part: Part, facts: Sequence[FactStanding], pair: tuple[str, str, int], splits: tuple[str, ...]
) -> Experiment:
    target, donor, group = pair
    kind, word, _ = HANDLES[part]
    fact = next((one for one in facts if one.mechanism is Mechanism.DIRECT), facts[0])
    sentence = {
        ExperimentKind.SET: f"give {target} the {word} of {donor}: {fact.fact}",
        ExperimentKind.SWAP: f"put {donor}'s {word} in {target}",
        ExperimentKind.MOVE: f"move the work of {target} to a machine like {donor}, or swap the two",
    }[kind]
    value = fact.values[group]
    return Experiment(kind=kind, fact=fact.fact, node=target, donor=donor, value=value, splits=splits, detail=sentence)
