"""What each agent is to be told: a Desired (link/wire.py) as JSON, made of parts that many agents share. Pure.

A thousand agents hear of one change within a second. So the estate's text is encoded once an estate, the changes once a
tier and second, and only a name and the orders are an agent's own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import cached_property

from backstay.change import ChangeKind
from backstay.link.wire import CHANGES_LIMIT
from backstay.server.model import ServerChange, Snapshot
from backstay.server.weigh.places import Places

ENDED_FOR = timedelta(hours=1)  # an agent that was away longer undoes by what is no longer in force
REPORT_EVERY_S = 5.0
REPORTS_PER_S = 50.0  # of all agents together; what one server stores beside everything else
PART_LASTS_S = 1.0  # what is left of a change is that exact


def report_every_s(agents: int) -> float:
    """How often each of so many agents reports: the more there are, the less often."""
    return min(300.0, max(REPORT_EVERY_S, agents / REPORTS_PER_S))


class Telling:
    """One snapshot's word to every agent. Keeps the parts that it has encoded: make one a revision."""

    def __init__(self, snapshot: Snapshot, places: Places, before: Telling | None = None) -> None:
        """`before`: of the revision before, whose estate may be the same."""
        assert snapshot.adopted is not None
        self._snapshot = snapshot
        self._places = places
        adopted = snapshot.adopted
        self.sha256: str = adopted.sha256
        self._head = _json(
            {
                "server": snapshot.server,
                "estate": places.estate.estate,
                "revision": snapshot.revision,
                "estate_sha256": adopted.sha256,
                "estate_actor": adopted.actor,
                "estate_reason": adopted.reason,
                "report_every_s": report_every_s(len(places.tier_of)),
            }
        )[:-1]
        same = before is not None and before.sha256 == adopted.sha256
        self._estate_text: bytes = before._estate_text if before and same else _estate_text(adopted.text)
        self._encoded: dict[str, tuple[datetime, bytes]] = {}

    @cached_property
    def _in_force(self) -> dict[str, list[ServerChange]]:
        return _by_tier(self._snapshot.changes, self._places)

    @cached_property
    def _ended(self) -> dict[str, list[ServerChange]]:
        return _by_tier(self._snapshot.ended, self._places)

    def to(self, lb: str, have_sha256: str | None, now: datetime) -> bytes:
        """The Desired of `lb`; without the estate's text when it has that one."""
        adopted = self._snapshot.adopted
        assert adopted is not None
        parts = [
            self._head,
            b',"lb":' + _json(lb),
            self._changes(self._places.tier_of.get(lb, ""), now),
            b',"orders":' + self._orders(lb, now),
            b"" if have_sha256 == adopted.sha256 else self._estate_text,
            b"}",
        ]
        return b"".join(parts)

    def _changes(self, tier: str, now: datetime) -> bytes:
        made_at, part = self._encoded.get(tier, (None, b""))
        if made_at is None or not 0 <= (now - made_at).total_seconds() < PART_LASTS_S:
            part = self._encode_changes(tier, now)
            self._encoded[tier] = (now, part)
        return part

    def _encode_changes(self, tier: str, now: datetime) -> bytes:
        in_force = [_request(change, now) for change in self._in_force.get(tier, ()) if _left_s(change, now)]
        ended = [
            {"id": change.id, "actor": change.ended.actor, "reason": change.ended.reason}
            for change in self._ended.get(tier, ())
            if change.ended is not None and now - change.ended.at < ENDED_FOR
        ]
        return b',"changes":' + _json(in_force[:CHANGES_LIMIT]) + b',"ended":' + _json(ended[:CHANGES_LIMIT])

    def _orders(self, lb: str, now: datetime) -> bytes:
        """Those that are not settled and still wanted, oldest first."""
        waiting = [
            order
            for order in reversed(self._snapshot.orders)
            if order.lb == lb and order.outcome is None and order.expires_at > now
        ]
        return _json(
            [
                order.order.model_dump(mode="json") | {"expires_in_s": (order.expires_at - now).total_seconds()}
                for order in waiting
            ]
        )


def _estate_text(text: str) -> bytes:
    return b',"estate_text":' + _json(text)


def _by_tier(changes: Iterable[ServerChange], places: Places) -> dict[str, list[ServerChange]]:
    """The changes that the load balancers of each tier have to do with."""
    found: dict[str, list[ServerChange]] = {}
    for change in changes:
        if change.kind is not ChangeKind.PARAMETER:
            for tier in places.tiers(change.node, change.pool):
                found.setdefault(tier, []).append(change)
    return found


def _request(change: ServerChange, now: datetime) -> dict[str, object]:
    """A ChangeRequest (change/wire.py) for what is left of `change`."""
    return {
        "id": change.id,
        "kind": change.kind.value,
        "node": change.node,
        "pool": change.pool,
        "factor": change.factor,
        "actor": change.actor,
        "reason": change.reason,
        "created_at": change.created_at.isoformat(),
        "duration_s": None if change.expires_at is None else _left_s(change, now),
        "forced": change.forced,
    }


def _left_s(change: ServerChange, now: datetime) -> float:
    """Seconds; 0 when it is over."""
    if change.expires_at is None:
        return float("inf")
    return max(0.0, (change.expires_at - now).total_seconds())


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
