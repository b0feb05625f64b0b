"""What registered fixes say of a fact, as evidence for `explain`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from backstay.audit.fix.model import Fix, Outcome, Reason, Verdict
from backstay.audit.model import Evidence, EvidenceKind


def interventions(fixes: Sequence[Fix], cluster: str, indicator: str) -> tuple[Evidence, ...]:
    """Of every fix that was judged on this indicator: an intervention in its own cluster, and in another one a
    replication. Facts that changed with the fixed one have the same evidence: the fix did not tell them apart."""
    return tuple(
        piece
        for fix in fixes
        if fix.indicator == indicator and (verdict := telling(fix)) is not None
        for piece in _pieces(fix, verdict, here=fix.cluster == cluster)
    )


def telling(fix: Fix) -> Verdict | None:
    """The verdict that counts. An effect that came and went proves nothing; a fact that was changed back took nothing
    away from what was seen while it was changed."""
    verdict = fix.verdict
    if verdict is None or verdict.outcome in (Outcome.WAITING, Outcome.TOO_EARLY):
        return None
    if verdict.outcome is Outcome.REOPENED:
        return fix.confirmed if verdict.reason is Reason.CHANGED_BACK else None
    return fix.confirmed if verdict.outcome is Outcome.CONFIRMED and fix.confirmed is not None else verdict


def _pieces(fix: Fix, verdict: Verdict, *, here: bool) -> Iterator[Evidence]:
    confirmed = verdict.outcome is Outcome.CONFIRMED
    log_odds = verdict.log_odds if confirmed else min(verdict.log_odds, 0.0)
    nodes = ", ".join(one.node for one in verdict.nodes)
    for fact in (fix.fact, *verdict.together):
        yield Evidence(
            kind=EvidenceKind.INTERVENTION if here else EvidenceKind.REPLICATION,
            fact=fact,
            log_odds=log_odds,
            where=nodes if here else f"{fix.cluster}: {nodes}",
            detail=f"fix {fix.id} was {verdict.outcome.value}",
        )
