"""Findings, comparisons and differences as plain data: what `-o json` prints and the API answers with."""

from __future__ import annotations

import math
from typing import Any

from backstay.audit.differences import Differences
from backstay.audit.model import Comparison, Finding, Hypothesis
from backstay.audit.report.story import Story, sentence


def of_finding(finding: Finding) -> dict[str, Any]:
    effect = finding.effect
    return {
        "cluster": finding.cluster,
        "indicator": finding.indicator,
        "nodes": list(finding.nodes),
        "grade": finding.grade.value,
        "sentence": sentence(finding),
        "effect": effect and {"estimate": effect.estimate, "low": effect.low, "high": effect.high, "unit": effect.unit},
        "hypotheses": [_of_hypothesis(one, finding.nodes) for one in finding.hypotheses],
        "evidence": [
            {
                "kind": piece.kind.value,
                "fact": piece.fact,
                "log_odds": number(piece.log_odds),
                "where": piece.where,
                "detail": piece.detail,
            }
            for piece in finding.evidence
        ],
        "experiments": [
            {"kind": one.kind.value, "fact": one.fact, "node": one.node, "donor": one.donor, "detail": one.detail}
            for one in finding.experiments
        ],
        "caps": list(finding.caps),
        "problems": list(finding.problems),
    }


def _of_hypothesis(one: Hypothesis, nodes: tuple[str, ...]) -> dict[str, Any]:
    return {
        "kind": one.kind.value,
        "prior": one.prior,
        "posterior": one.posterior,
        "log_bayes": number(one.log_bayes),
        "groups": [list(group) for group in one.partition.members(nodes)] if one.partition else [],
        "effects": [number(effect) for effect in one.effects],
        "facts": [
            {
                "fact": fact.fact,
                "values": list(fact.values),
                "mechanism": fact.mechanism.value,
                "volatile": fact.volatile,
                "identity": fact.identity,
                "changed": fact.changed.isoformat() if fact.changed else None,
                "recurrence": fact.recurrence,
                "dose": fact.dose,
            }
            for fact in one.facts
        ],
    }


def of_comparison(found: Comparison) -> dict[str, Any]:
    return {
        "cluster": found.cluster,
        "indicator": found.indicator,
        "unit": found.unit,
        "closed_loop": found.closed_loop,
        "differs": list(found.differs),
        "split": [list(group) for group in found.split.members([one.node for one in found.levels])]
        if found.split
        else [],
        "nodes": [
            {
                "node": level.node,
                "difference": number(standing.difference),
                "low": number(standing.low),
                "high": number(standing.high),
                "p": number(standing.p),
                "differs": standing.differs,
                "samples": level.samples,
                "effective": number(level.effective),
            }
            for level, standing in zip(found.levels, found.standings, strict=True)
        ],
        "spread": found.spread.pooling.value,
        "problems": list(found.problems),
    }


def of_differences(cluster: str, found: Differences) -> dict[str, Any]:
    return {
        "cluster": cluster,
        "nodes": list(found.nodes),
        "facts": found.facts,
        "noise": found.noise,
        "unread": list(found.unread),
        "splits": [
            {
                "groups": [list(group) for group in split.groups],
                "weight": split.weight,
                "facts": [
                    {"fact": one.fact, "part": one.part.value, "values": list(one.values), "noise": one.noise or None}
                    for one in split.facts
                ],
            }
            for split in found.splits
        ],
    }


def of_story(story: Story) -> list[dict[str, Any]]:
    """Its sections in their order: for pages that draw them in their own way."""
    return [
        {
            "heading": one.heading,
            "lines": list(one.lines),
            "header": list(one.header),
            "rows": [list(row) for row in one.rows],
        }
        for one in story.sections
    ]


def number(value: float) -> float | None:
    """JSON has no NaN and no infinity."""
    return value if math.isfinite(value) else None
