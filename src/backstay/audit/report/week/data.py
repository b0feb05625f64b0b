"""The review as plain data: what `-o json` prints and the API answers with."""

from __future__ import annotations

from typing import Any

from backstay.audit.report.data import number
from backstay.audit.report.week.words import details, headline, summary, title
from backstay.audit.review.model import PRESETS, ChangePoint, Review, ReviewFinding, WeekMedian


def of_review(review: Review) -> dict[str, Any]:
    """JSON values only. Times are ISO 8601, UTC; sizes are in each finding's `unit`."""
    return {
        "week": review.week.name,
        "from": review.week.start.isoformat(),
        "to": review.week.end.isoformat(),
        "title": title(review),
        "sentence": summary(review),
        "series": review.series,
        "clusters": list(review.clusters),
        "findings": [_of_finding(one) for one in review.findings],
        "quiet": [
            {"cluster": one.cluster, "indicator": one.indicator, "unit": one.unit, "weeks": _of_weeks(one.weeks)}
            for one in review.quiet
        ],
        "presets": [
            {"name": one.name, "hours": one.length.total_seconds() / 3600, "shows": one.shows} for one in PRESETS
        ],
        "problems": list(review.problems),
    }


def _of_finding(one: ReviewFinding) -> dict[str, Any]:
    trend, projection = one.trend, one.projection
    return {
        "cluster": one.cluster,
        "indicator": one.indicator,
        "node": one.node or None,
        "aspect": one.aspect.value,
        "unit": one.unit,
        "work": one.work or None,
        "grade": one.grade.value,
        "worse": one.worse,
        "fresh": one.fresh,
        "sentence": headline(one),
        "details": list(details(one)),
        "trend": trend
        and {
            "per_week": trend.per_week,
            "low": number(trend.low),
            "high": number(trend.high),
            "p": trend.p,
            "days": trend.days,
            "effective": trend.effective,
        },
        "changes": [_of_change(change) for change in one.changes],
        "projection": projection
        and {
            "limit": projection.limit,
            "now": projection.now,
            "per_week": projection.per_week,
            "earliest_weeks": projection.earliest_weeks,
            "latest_weeks": projection.latest_weeks,
        },
        "weeks": _of_weeks(one.weeks),
        "spans": [
            {"name": span.name, "median": number(span.median), "change": number(span.change)} for span in one.spans
        ],
        "days": {"from": one.start.isoformat(), "values": [number(value) for value in one.days]},
        "caps": list(one.caps),
    }


def _of_change(one: ChangePoint) -> dict[str, Any]:
    return {
        "time": one.time.isoformat(),
        "earliest": one.earliest.isoformat(),
        "latest": one.latest.isoformat(),
        "shape": one.shape.value,
        "size": one.size,
        "low": number(one.low),
        "high": number(one.high),
        "p": one.p,
        "coincides": [
            {
                "node": found.node or None,
                "what": found.what,
                "time": found.time.isoformat(),
                "fact": found.fact,
                "same_node": found.same_node,
            }
            for found in one.coincides
        ],
        "by_chance": one.by_chance,
    }


def _of_weeks(weeks: tuple[WeekMedian, ...]) -> list[dict[str, Any]]:
    return [{"from": one.start.isoformat(), "value": number(one.value)} for one in weeks]
