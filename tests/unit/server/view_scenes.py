"""Scenes for the tests of views: a real estate, reports of synthetic agents, a time that the test names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from backstay.change import Change, ChangeKind
from backstay.estate import Estate, load_text
from backstay.estate.select import load_balancers
from backstay.journal.model import Event
from backstay.link.wire import Report
from backstay.server.model import AgentRecord, EstateRevision, ServerChange, ServerOrder, Snapshot
from backstay.server.views.scene import Memo, Scene
from server_agents import NOW, report_for
from server_rig import SERVERDENSITY

LBS = ("lb1", "lb2", "lb3", "lb4", "lb5", "lb6")


def estate_of(text: str = SERVERDENSITY) -> Estate:
    return load_text(text, "estate", Path()).estate


def a_scene(
    text: str = SERVERDENSITY,
    *,
    reports: Mapping[str, Report] | None = None,
    silent: Sequence[str] = (),
    changes: Sequence[ServerChange] = (),
    ended: Sequence[ServerChange] = (),
    orders: Sequence[ServerOrder] = (),
    revision: int = 1,
    **told: Any,
) -> Scene:
    """All load balancers enrolled and reporting (`told`: to report_for), but for `silent` ones, heard a minute ago."""
    estate = estate_of(text)
    agents: dict[str, AgentRecord] = {}
    for lb in load_balancers(estate):
        report = (reports or {}).get(lb) or report_for(estate, lb, revision=revision, **told)
        seen = NOW - timedelta(seconds=60) if lb in silent else NOW
        agents[lb] = AgentRecord(lb=lb, enrolled_at=NOW, seen_at=seen, report=report, reported_at=seen)
    adopted = EstateRevision(number=1, text=text, sha256="0" * 64, actor="alice", reason="first", at=NOW)
    snapshot = Snapshot(
        at=NOW,
        server="server",
        revision=revision,
        adopted=adopted,
        estate=estate,
        changes=tuple(changes),
        ended=tuple(ended),
        orders=tuple(orders),
        agents=agents,
    )
    return Memo().scene(snapshot, NOW)


def altered(lb: str, **parts: Any) -> dict[str, Report]:
    """The report of `lb` with some of its parts replaced."""
    return {lb: report_for(estate_of(), lb).model_copy(update=parts)}


def a_change(node: str, kind: ChangeKind = ChangeKind.DRAIN, **more: Any) -> ServerChange:
    identity = f"change-{kind}-{node}"
    plain = ServerChange(
        id=identity,
        batch=identity,
        selector=f"node/{node}",
        kind=kind,
        node=node,
        actor="alice",
        reason="kernel",
        created_at=NOW,
    )
    return replace(plain, **more)


def an_event(number: int, kind: str, subject: str, *, ago_s: float = 0.0, at: datetime = NOW, **more: Any) -> Event:
    given = {"actor": "agent/lb2", "reason": "because"} | more
    return Event(id=f"event-{number:06}", time=at - timedelta(seconds=ago_s), kind=kind, subject=subject, **given)


def as_told(change: ServerChange, lbs: Sequence[str]) -> dict[str, Report]:
    """Reports of load balancers at which `change` is in force."""
    local = Change(
        id=change.id,
        kind=change.kind,
        node=change.node,
        actor=change.actor,
        reason=change.reason,
        created_at=change.created_at,
    )
    return {lb: report_for(estate_of(), lb, changes=[local]) for lb in lbs}
