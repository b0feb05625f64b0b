"""The agents: enrolled, heard, and what they follow. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from backstay.server.model import AgentRecord
from backstay.server.views.nodes import load_balancer
from backstay.server.views.scene import Scene
from backstay.server.views.scene.said import Said
from backstay.server.views.scene.words import Standing, severity


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRow:
    """A load balancer's agent; also one that is declared and not enrolled, or enrolled and declared no more."""

    lb: str
    tier: str  # "": the estate does not know it
    standing: Standing
    why: str
    enrolled_at: datetime | None
    seen_at: datetime | None
    reported_at: datetime | None
    revision: int | None  # that it follows
    engine: str  # "nginx 1.31.3 (system)"
    connections: int | None
    version: str
    resident_mb: float | None
    waiting: int  # events in its spool


def agents(scene: Scene) -> list[AgentRow]:
    """Declared load balancers and enrolled agents: what matters most first, else in the order of the estate."""
    names = dict.fromkeys([*scene.index.tier_of, *sorted(scene.snapshot.agents)])
    rows = [_row(scene, lb, scene.agent(lb), scene.said.get(lb)) for lb in names]
    return sorted(rows, key=lambda row: -severity(row.standing.tone))


def _row(scene: Scene, lb: str, record: AgentRecord | None, said: Said | None) -> AgentRow:
    standing, why = load_balancer(scene, lb)
    engine = said.status.engine if said else None
    words = f"{engine.kind} {engine.version} ({engine.origin})" if engine and engine.kind else ""
    return AgentRow(
        lb=lb,
        tier=scene.index.tier_of.get(lb, ""),
        standing=standing,
        why=why,
        enrolled_at=record.enrolled_at if record else None,
        seen_at=record.seen_at if record else None,
        reported_at=record.reported_at if record else None,
        revision=said.revision if said else None,
        engine=words,
        connections=engine.client_connections if engine else None,
        version=said.status.agent.version if said else "",
        resident_mb=said.status.agent.resident_mb if said else None,
        waiting=said.status.events_waiting if said else 0,
    )
