"""The agents' reports, merged: which backends take traffic, and what they carry. Pure.

Each load balancer sees for itself, so there are two answers: for the users of all of them, and for those of any.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from backstay.change import BackendLoad
from backstay.server.model import AgentRecord

FRESH_S = 120.0  # an older report says nothing about now

Key = tuple[str, str]  # (pool, node)


def fresh(agents: Iterable[AgentRecord], now: datetime) -> list[AgentRecord]:
    """Those whose report is of now."""
    return [
        agent
        for agent in agents
        if agent.report is not None
        and agent.revoked_at is None
        and agent.reported_at is not None
        and (now - agent.reported_at).total_seconds() < FRESH_S
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """All load balancers that reported lately, together. What nobody said counts as taking traffic."""

    up: frozenset[Key]  # one of them at least has it in
    down: frozenset[Key]  # one of them at least has it out
    load: Mapping[Key, BackendLoad]  # what they have in flight there together, and its error ratio by samples

    def for_all(self, pool: str, node: str) -> bool:
        """Does it take traffic for the users of every load balancer?"""
        return (pool, node) not in self.down

    def for_some(self, pool: str, node: str) -> bool:
        """Does it take traffic for the users of any load balancer?"""
        return (pool, node) in self.up or (pool, node) not in self.down


def seen(agents: Iterable[AgentRecord], now: datetime) -> Seen:
    """What `agents` say of now. A drained backend is not out: changes are known apart."""
    reported = fresh(agents, now)
    up: set[Key] = set()
    down: set[Key] = set()
    in_flight: dict[Key, float] = {}
    for pool, member in _members(reported):
        key = (pool, str(member.get("backend")))
        (down if member.get("state") == "down" else up).add(key)
        count = member.get("in_flight")
        if isinstance(count, int | float):
            in_flight[key] = in_flight.get(key, 0.0) + float(count)
    errors = _errors(reported)
    load = {
        key: BackendLoad(in_flight=in_flight.get(key), error_ratio=errors.get(key)) for key in in_flight.keys() | errors
    }
    return Seen(up=frozenset(up), down=frozenset(down), load=load)


def _errors(reported: Iterable[AgentRecord]) -> dict[Key, float]:
    failed: dict[Key, float] = {}
    samples: dict[Key, float] = {}
    for agent in reported:
        for explain in agent.report.explains if agent.report else ():
            for row in explain.get("rows", ()):
                count, rate = row.get("samples"), row.get("error_rate")
                if isinstance(count, int) and count > 0 and isinstance(rate, int | float):
                    key = (str(explain.get("pool")), str(row.get("backend")))
                    samples[key] = samples.get(key, 0.0) + count
                    failed[key] = failed.get(key, 0.0) + count * rate
    return {key: failed[key] / samples[key] for key in samples}


def _members(reported: Iterable[AgentRecord]) -> Iterable[tuple[str, Mapping[str, Any]]]:
    for agent in reported:
        for pool in agent.report.pools if agent.report else ():
            for member in pool.get("members", ()):
                yield str(pool.get("pool")), member
