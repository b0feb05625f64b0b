"""Which fact explains the difference: from a comparison and the facts to a finding with its grade.

FactTable -> partitions (alias classes) -.
Comparison -> levels --------------------+-> hypotheses -> evidence -> grade, experiment -> Finding
mechanism, dose, volatility (priors) ----'
replicate, natural: evidence from other clusters, and from facts that changed
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from backstay.audit.compare.between import contrast
from backstay.audit.explain.experiment import cheapest
from backstay.audit.explain.grade import grade
from backstay.audit.explain.hypotheses import weigh, with_evidence
from backstay.audit.explain.partitions import alias_classes
from backstay.audit.marginal import usable
from backstay.audit.model import (
    Comparison,
    Effect,
    FactTable,
    Finding,
    Grade,
    Hypothesis,
    HypothesisKind,
    Indicator,
    Knowledge,
    Level,
)

CLASSES_TOLD = 8  # first hypotheses whose evidence from elsewhere is in the finding: thousands of facts may have some
NODES_LIMIT = 500  # of one cluster; larger ones are a fleet (fleet.py)


def explain(comparison: Comparison, table: FactTable, indicator: Indicator, known: Knowledge | None = None) -> Finding:
    """Say which alias class explains the levels of `comparison`, how sure that is, and what would settle it.

    Nodes without a level or without facts are left out and named in `problems`. Raises ValueError for more nodes than
    NODES_LIMIT.
    """
    known = known or Knowledge()
    have_facts = set(table.nodes)
    kept = [at for at in usable(comparison.levels) if comparison.levels[at].node in have_facts]
    levels = [comparison.levels[at] for at in kept]
    nodes = tuple(level.node for level in levels)
    if len(nodes) > NODES_LIMIT:
        raise ValueError(
            f"{len(nodes)} nodes in {comparison.cluster}: explain takes {NODES_LIMIT}; compare a fleet instead"
        )
    problems = [*comparison.problems, *_left_out(comparison, set(nodes), have_facts)]
    if comparison.closed_loop:
        problems.append(f"{indicator.name} is evened out by the load balancer: it shows less than there is")
    if len(nodes) < 2:
        return Finding(
            cluster=comparison.cluster,
            indicator=indicator.name,
            nodes=nodes,
            grade=Grade.NOTHING,
            effect=None,
            hypotheses=(),
            caps=("fewer than two nodes have values and facts: nothing to compare",),
            problems=tuple(problems),
        )
    table = table.rows(nodes)
    classes = alias_classes(table)
    weighed = weigh(levels, comparison.spread, classes, table, indicator.resource, known)
    hypotheses = with_evidence(weighed, known)
    graded = grade(hypotheses, len(nodes), known.evidence)
    first = next((one for one in hypotheses if one.kind is HypothesisKind.CLASS), None)
    leading = {fact.fact for one in hypotheses[:CLASSES_TOLD] for fact in one.facts}
    if classes.unread:
        problems.append(f"{len(classes.unread)} facts could not be read on every node and are left out")
    return Finding(
        cluster=comparison.cluster,
        indicator=indicator.name,
        nodes=nodes,
        grade=graded.grade,
        effect=_effect(first, levels, comparison) if graded.grade is not Grade.NOTHING else None,
        hypotheses=hypotheses,
        evidence=tuple(piece for piece in known.evidence if piece.fact in leading),
        experiments=cheapest(first, nodes, classes.unread) if graded.grade is not Grade.NOTHING else (),
        caps=graded.caps,
        problems=tuple(problems),
    )


def _left_out(comparison: Comparison, used: set[str], have_facts: set[str]) -> list[str]:
    problems = []
    for level in comparison.levels:
        if level.node not in used:
            why = "no usable values" if level.node in have_facts else "no facts: collect them (backstay audit collect)"
            problems.append(f"{level.node} is left out: {why}")
    return problems


def _effect(first: Hypothesis | None, levels: Sequence[Level], comparison: Comparison) -> Effect | None:
    """Between the groups of the first class whose levels are farthest apart; None where no fact differs."""
    if first is None or first.partition is None:
        return None
    groups: list[list[Level]] = [[] for _ in range(first.partition.groups)]
    for level, label in zip(levels, first.partition.labels, strict=True):
        groups[label].append(level)
    low, *_, high = sorted(range(len(groups)), key=lambda group: first.effects[group])
    return replace(contrast(groups[low], groups[high], comparison.spread).effect, unit=comparison.unit)
