"""The journal's events of changes: one a node, so that a search for a node finds what was done to it.

A group's events after the first are caused by it; an end is caused by the event that put the change.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from backstay.change import verdict_json
from backstay.journal import Event, new_id
from backstay.journal.wire import format_time
from backstay.server.model import EndedChange, ServerChange
from backstay.server.weigh import Weighed, WeighedNode


def journaled(weighed: Weighed, now: datetime) -> tuple[Weighed, list[Event]]:
    """The plan, each change with its event, and those events."""
    nodes: list[WeighedNode] = []
    events: list[Event] = []
    for node in weighed.nodes:
        change = node.change
        event = Event(
            id=new_id(),
            time=now,
            kind="change.put",
            subject=f"node/{change.node}",
            actor=change.actor,
            reason=change.reason,
            data=_about(change) | {"verdict": verdict_json(node.verdict)},
            cause=events[0].id if events else None,
        )
        events.append(event)
        nodes.append(replace(node, change=replace(change, event=event.id)))
    return replace(weighed, nodes=tuple(nodes)), events


def ending(change: ServerChange, ended: EndedChange, kind: str) -> Event:
    """`kind`: "change.undone", "change.expired"."""
    return Event(
        id=new_id(),
        time=ended.at,
        kind=kind,
        subject=f"node/{change.node}",
        actor=ended.actor,
        reason=ended.reason,
        data=_about(change),
        cause=change.event,
    )


def _about(change: ServerChange) -> dict[str, Any]:
    """What an event tells of a change."""
    told = {
        "change": change.id,
        "batch": change.batch,
        "selector": change.selector,
        "kind": change.kind.value,
        "pool": change.pool,
        "factor": change.factor,
        "parameter": change.parameter,
        "value": change.value,
        "until": None if change.expires_at is None else format_time(change.expires_at),
        "forced": change.forced or None,
    }
    return {key: value for key, value in told.items() if value is not None}
