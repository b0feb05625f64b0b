"""A fix as a JSON object, as it is kept, answered and journaled; and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from backstay.audit.fix.model import Fix, NodeEffect, Outcome, Reason, Verdict
from backstay.audit.model import Effect


def of_fix(fix: Fix) -> dict[str, Any]:
    return {
        "id": fix.id,
        "cluster": fix.cluster,
        "indicator": fix.indicator,
        "fact": fix.fact,
        "nodes": list(fix.nodes),
        "value": fix.value,
        "expected": fix.expected,
        "by": fix.by.isoformat(),
        "reason": fix.reason,
        "actor": fix.actor,
        "registered": fix.registered.isoformat(),
        "outcome": fix.outcome.value,
        "verdict": fix.verdict and of_verdict(fix.verdict),
        "confirmed": fix.confirmed and of_verdict(fix.confirmed),
    }


def of_verdict(verdict: Verdict) -> dict[str, Any]:
    effect = verdict.effect
    return {
        "outcome": verdict.outcome.value,
        "why": verdict.reason.value,
        "time": verdict.time.isoformat(),
        "effect": effect and {"estimate": effect.estimate, "low": effect.low, "high": effect.high, "unit": effect.unit},
        "expected": verdict.expected,
        "p": verdict.p,
        "placebos": verdict.placebos,
        "log_odds": verdict.log_odds,
        "nodes": [
            {
                "node": one.node,
                "changed": one.changed.isoformat(),
                "estimate": one.estimate if math.isfinite(one.estimate) else None,
                "gone": one.gone,
            }
            for one in verdict.nodes
        ],
        "missing": list(verdict.missing),
        "own": verdict.own,
        "peers": verdict.peers,
        "before_s": verdict.before_s,
        "after_s": verdict.after_s,
        "wait_s": verdict.wait_s,
        "together": list(verdict.together),
        "problems": list(verdict.problems),
    }


def fix_of(record: Mapping[str, Any]) -> Fix:
    """Raises KeyError, TypeError or ValueError for what `of_fix` did not make."""
    verdict, confirmed = record.get("verdict"), record.get("confirmed")
    return Fix(
        id=str(record["id"]),
        cluster=str(record["cluster"]),
        indicator=str(record["indicator"]),
        fact=str(record["fact"]),
        nodes=tuple(str(node) for node in record["nodes"]),
        value=None if record["value"] is None else str(record["value"]),
        expected=None if record["expected"] is None else float(record["expected"]),
        by=_time(record["by"]),
        reason=str(record["reason"]),
        actor=str(record["actor"]),
        registered=_time(record["registered"]),
        verdict=verdict_of(verdict) if verdict else None,
        confirmed=verdict_of(confirmed) if confirmed else None,
    )


def verdict_of(record: Mapping[str, Any]) -> Verdict:
    """As `fix_of`."""
    effect = record["effect"]
    return Verdict(
        outcome=Outcome(record["outcome"]),
        reason=Reason(record["why"]),
        time=_time(record["time"]),
        effect=Effect(**effect) if effect else None,
        expected=record["expected"],
        p=record["p"],
        placebos=int(record["placebos"]),
        log_odds=float(record["log_odds"]),
        nodes=tuple(
            NodeEffect(
                node=str(one["node"]),
                changed=_time(one["changed"]),
                estimate=math.nan if one["estimate"] is None else float(one["estimate"]),
                gone=bool(one["gone"]),
            )
            for one in record["nodes"]
        ),
        missing=tuple(record["missing"]),
        own=record["own"],
        peers=record["peers"],
        before_s=float(record["before_s"]),
        after_s=float(record["after_s"]),
        wait_s=record["wait_s"],
        together=tuple(record["together"]),
        problems=tuple(record["problems"]),
    )


def _time(words: Any) -> datetime:
    """ISO 8601; without a zone: UTC."""
    time = datetime.fromisoformat(str(words))
    return time if time.tzinfo else time.replace(tzinfo=UTC)
