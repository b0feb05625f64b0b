"""Nouns of the server as rows of its tables, and back. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from backstay.change import ChangeKind, EndedBy
from backstay.journal.wire import format_time, parse_time
from backstay.link.wire import Order, OrderOutcome, Report
from backstay.server.model import AgentRecord, EndedChange, EstateRevision, ServerChange, ServerOrder

Row = Mapping[str, Any]


def estate_row(one: EstateRevision) -> dict[str, Any]:
    return {
        "number": one.number,
        "text": one.text,
        "sha256": one.sha256,
        "actor": one.actor,
        "reason": one.reason,
        "at": format_time(one.at),
    }


def to_estate(row: Row) -> EstateRevision:
    return EstateRevision(
        number=row["number"],
        text=row["text"],
        sha256=row["sha256"],
        actor=row["actor"],
        reason=row["reason"],
        at=parse_time(row["at"]),
    )


def change_row(one: ServerChange, revision: int, place: int) -> dict[str, Any]:
    return {
        "id": one.id,
        "revision": revision,
        "place": place,
        "altered": revision,
        "batch": one.batch,
        "selector": one.selector,
        "kind": one.kind.value,
        "node": one.node,
        "pool": one.pool,
        "factor": one.factor,
        "parameter": one.parameter,
        "value": None if one.parameter is None else json.dumps(one.value, ensure_ascii=False),
        "actor": one.actor,
        "reason": one.reason,
        "created_at": format_time(one.created_at),
        "expires_at": _text(one.expires_at),
        "forced": one.forced,
        "event": one.event,
    } | (ended_row(one.ended) if one.ended else {})


def ended_row(ended: EndedChange) -> dict[str, Any]:
    return {
        "ended_by": ended.by.value,
        "ended_at": format_time(ended.at),
        "ended_actor": ended.actor,
        "ended_reason": ended.reason,
    }


def to_change(row: Row) -> ServerChange:
    return ServerChange(
        id=row["id"],
        batch=row["batch"],
        selector=row["selector"],
        kind=ChangeKind(row["kind"]),
        node=row["node"],
        pool=row["pool"],
        factor=row["factor"],
        parameter=row["parameter"],
        value=None if row["value"] is None else json.loads(row["value"]),
        actor=row["actor"],
        reason=row["reason"],
        created_at=parse_time(row["created_at"]),
        expires_at=_time(row["expires_at"]),
        forced=bool(row["forced"]),
        event=row["event"],
        ended=None
        if row["ended_by"] is None
        else EndedChange(
            by=EndedBy(row["ended_by"]),
            at=parse_time(row["ended_at"]),
            actor=row["ended_actor"],
            reason=row["ended_reason"],
        ),
    )


def order_row(one: ServerOrder, revision: int, place: int) -> dict[str, Any]:
    return {
        "id": one.order.id,
        "revision": revision,
        "place": place,
        "altered": revision,
        "lb": one.lb,
        "body": one.order.model_dump_json(),
        "created_at": format_time(one.created_at),
        "expires_at": format_time(one.expires_at),
        "event": one.event,
        "outcome": None if one.outcome is None else one.outcome.model_dump_json(),
    }


def to_order(row: Row) -> ServerOrder:
    return ServerOrder(
        lb=row["lb"],
        order=Order.model_validate_json(row["body"]),
        created_at=parse_time(row["created_at"]),
        expires_at=parse_time(row["expires_at"]),
        event=row["event"],
        outcome=None if row["outcome"] is None else OrderOutcome.model_validate_json(row["outcome"]),
    )


def to_agent(row: Row) -> AgentRecord:
    return AgentRecord(
        lb=row["lb"],
        enrolled_at=parse_time(row["enrolled_at"]),
        revoked_at=_time(row["revoked_at"]),
        report=None if row["report"] is None else Report.model_validate_json(row["report"]),
        reported_at=_time(row["reported_at"]),
    )


def _text(time: datetime | None) -> str | None:
    return None if time is None else format_time(time)


def _time(text: str | None) -> datetime | None:
    return None if text is None else parse_time(text)
