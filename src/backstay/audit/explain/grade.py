"""How sure a finding is: differs, consistent, probable, replicated, confirmed. Never more than the evidence is worth.

A single cross-section of few nodes cannot tell a cause from a coincidence: 4 nodes have 14 partitions, and there are
thousands of facts. So it is capped at consistent, and the report says what would lift the cap. The same holds for one
odd node in eight: a fact that singles out one node hits the odd one by chance once in 8 times, and no look at these
eight can ever show less (Fisher's randomisation test, The design of experiments, 1935).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from backstay.audit.model import (
    Evidence,
    EvidenceKind,
    FactStanding,
    Grade,
    Hypothesis,
    HypothesisKind,
    Mechanism,
    Partition,
)

NOTHING_LIMIT = 0.1  # a difference is claimed when "nothing" is no more likely than this
CONSISTENT_AT = 0.5
PROBABLE_AT = 0.9
NODES_FOR_PROBABLE = 6
ARRANGEMENTS_FOR_PROBABLE = 20  # 1 in 20: the least by which chance can be excluded at 5%
BEYOND = frozenset({EvidenceKind.CHANGE, EvidenceKind.REPLICATION, EvidenceKind.INTERVENTION})
STRONG = 2.3  # log odds of 10 to 1: what evidence from elsewhere must be worth to lift a cap
ACTING = frozenset({Mechanism.DIRECT, Mechanism.NEAR})


@dataclass(frozen=True, slots=True, kw_only=True)
class Graded:
    grade: Grade
    caps: tuple[str, ...] = ()  # why it is not higher


def grade(hypotheses: Sequence[Hypothesis], nodes: int, evidence: Sequence[Evidence] = ()) -> Graded:
    """The grade of what comes first. `hypotheses`: by posterior, descending, with evidence counted in.

    `nodes`: those with a value. `evidence`: from elsewhere, for any fact.
    """
    nothing = sum(one.posterior for one in hypotheses if one.kind is HypothesisKind.NOTHING)
    if nothing > NOTHING_LIMIT:
        return Graded(grade=Grade.NOTHING, caps=(f"nodes that are alike differ as much ({nothing:.0%} likely)",))
    first = hypotheses[0]
    if first.kind is not HypothesisKind.CLASS or first.posterior < CONSISTENT_AT:
        return Graded(grade=Grade.DIFFERS, caps=(_no_explanation(hypotheses),))
    named = {fact.fact for fact in first.facts}
    elsewhere = [piece for piece in evidence if piece.fact in named]
    caps = _caps(first, nodes, elsewhere)
    if caps:
        return Graded(grade=Grade.CONSISTENT, caps=caps)
    return _beyond_probable(first.facts, elsewhere)


def _no_explanation(hypotheses: Sequence[Hypothesis]) -> str:
    first = hypotheses[0]
    if first.kind is HypothesisKind.UNMEASURED:
        return f"no collected fact explains it: an unmeasured cause is likelier ({first.posterior:.0%})"
    return f"no explanation is likelier than not: the first of {len(hypotheses) - 2} has {first.posterior:.0%}"


def _caps(first: Hypothesis, nodes: int, elsewhere: Sequence[Evidence]) -> tuple[str, ...]:
    """What keeps a class at consistent. Experiments and other clusters lift the first two, odds never."""
    caps = []
    lifted = _worth(elsewhere, BEYOND) >= STRONG
    if nodes < NODES_FOR_PROBABLE and not lifted:
        caps.append(
            f"one look at {nodes} nodes: {NODES_FOR_PROBABLE} or more are needed, or a change, or other clusters"
        )
        if (worth := _worth(elsewhere, BEYOND)) > 0.0:
            caps.append(f"changes and other clusters are worth {math.exp(worth):.0f} to 1 so far; 10 to 1 is needed")
    elif not lifted and (ways := arrangements(first.partition)) < ARRANGEMENTS_FOR_PROBABLE:
        caps.append(f"a fact that does nothing would split these {nodes} nodes like this once in {ways} times")
    if not lifted and not any(fact.mechanism in ACTING and not fact.volatile for fact in first.facts):
        caps.append("no fact of it is known to act on this indicator")
    if first.posterior < PROBABLE_AT:
        caps.append(f"it is {math.floor(100.0 * first.posterior)}% likely; {PROBABLE_AT:.0%} is needed")
    return tuple(caps)


def _worth(pieces: Sequence[Evidence], kinds: Collection[EvidenceKind]) -> float:
    """Log odds of these kinds for the fact of the class that has most: facts of one part changed together, and ten of
    them are no ten experiments."""
    by_fact: dict[str, float] = {}
    for piece in pieces:
        if piece.kind in kinds:
            by_fact[piece.fact] = by_fact.get(piece.fact, 0.0) + piece.log_odds
    return max(by_fact.values(), default=0.0)


def arrangements(partition: Partition | None) -> int:
    """In how many ways the nodes can be dealt to groups of these sizes: one over the chance of a coincidence."""
    sizes = Counter(Counter(partition.labels).values()) if partition else Counter()
    ways = math.factorial(sum(size * times for size, times in sizes.items()))
    for size, times in sizes.items():
        ways //= math.factorial(size) ** times * math.factorial(times)
    return ways


def _beyond_probable(facts: Sequence[FactStanding], elsewhere: Sequence[Evidence]) -> Graded:
    """Replicated by other clusters, or by a change and its reversal; confirmed by an intervention that was verified."""
    worth = {kind: _worth(elsewhere, {kind}) for kind in EvidenceKind}
    if worth[EvidenceKind.INTERVENTION] >= STRONG:
        return Graded(grade=Grade.CONFIRMED)
    if worth[EvidenceKind.REPLICATION] >= STRONG or (
        worth[EvidenceKind.CHANGE] >= STRONG and worth[EvidenceKind.REVERSAL] >= STRONG
    ):
        return Graded(grade=Grade.REPLICATED, caps=("nobody has changed it on purpose and looked",))
    caps = ["not seen in another cluster, nor changed and changed back"]
    if len(facts) > 1:
        caps.append(f"{len(facts)} facts split the nodes alike and cannot be told apart here")
    return Graded(grade=Grade.PROBABLE, caps=tuple(caps))
