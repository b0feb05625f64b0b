"""Orders to the candidates of a global IP: what a person asked to be done once, and what became of it. Pure decisions;
ids of events are made here.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from backstay.change import ChangeInvalid, check_duration
from backstay.estate.model import GlobalIp
from backstay.journal import Event, new_id
from backstay.link.wire import Order, OrderKind, OrderOutcome
from backstay.server.model import ServerOrder, Snapshot

LASTS_S = 60.0  # not begun by then, it is not done any more: nobody waits for it
TOLD_WITHIN_S = 3.0  # how long the others get to say that they expect a move


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    """What is asked for. Asked twice with one `id`, it is one order."""

    id: str  # 8 to 64 letters, digits, - and _
    kind: OrderKind
    ip: str
    lbs: tuple[str, ...] | None = None  # of which candidates; None: of all
    to: str | None = None  # MOVE
    for_s: float | None = None  # FREEZE; 0 ends a freeze
    false_alarm: bool = False  # REARM: the takeover was no death


def planned(ordered: Ordered, snapshot: Snapshot, actor: str, reason: str, now: datetime) -> list[ServerOrder]:
    """The orders, one a candidate. Raises ChangeInvalid."""
    ip = _ip(ordered.ip, snapshot)
    if ordered.kind not in (OrderKind.REARM, OrderKind.FREEZE):
        raise ChangeInvalid(f"{ordered.kind}: an address is moved as a whole: the others are told first.")
    if ordered.kind is OrderKind.FREEZE:
        if ordered.for_s is None:
            raise ChangeInvalid("freeze: say for how long (0 ends a freeze).")
        if ordered.for_s:
            check_duration(ordered.for_s)
    lbs = ordered.lbs if ordered.lbs is not None else ip.candidates
    for lb in lbs:
        _candidate(lb, ordered.ip, ip)
    return [_order(ordered, lb, place, actor, reason, now) for place, lb in enumerate(lbs)]


def move(
    ordered: Ordered, snapshot: Snapshot, actor: str, reason: str, now: datetime
) -> tuple[list[ServerOrder], list[ServerOrder]]:
    """What the other candidates are told first, and the move itself. Raises ChangeInvalid."""
    ip = _ip(ordered.ip, snapshot)
    assert ordered.to is not None
    _candidate(ordered.to, ordered.ip, ip)
    expect = replace(ordered, kind=OrderKind.EXPECT)
    others = [lb for lb in ip.candidates if lb != ordered.to]
    told = [_order(expect, lb, place, actor, reason, now) for place, lb in enumerate(others, start=1)]
    return told, [_order(ordered, ordered.to, 0, actor, reason, now)]


def told(one: ServerOrder, now: datetime) -> tuple[ServerOrder, Event]:
    """The order with the event that tells of it."""
    event = _event("order.put", one, one.order.actor, one.order.reason, now)
    return replace(one, event=event.id), event


def settled(one: ServerOrder, outcome: OrderOutcome, now: datetime) -> Event:
    """The event that tells what became of it."""
    reason = outcome.detail[:500] or ("done" if outcome.done else "not done")
    event = _event("order.settled", one, f"agent/{one.lb}", reason, now)
    return replace(event, data={**event.data, "done": outcome.done}, cause=one.event)


def _event(kind: str, one: ServerOrder, actor: str, reason: str, now: datetime) -> Event:
    order = one.order
    data = {"order": order.id, "kind": order.kind.value, "lb": one.lb, "to": order.to, "for_s": order.for_s}
    return Event(
        id=new_id(),
        time=now,
        kind=kind,
        subject=f"ip/{order.ip}",
        actor=actor,
        reason=reason,
        data={key: value for key, value in data.items() if value is not None},
    )


def _order(ordered: Ordered, lb: str, place: int, actor: str, reason: str, now: datetime) -> ServerOrder:
    digest = hashlib.sha256(f"{ordered.id}/{lb}".encode()).hexdigest()[:32]
    order = Order(
        id=ordered.id if place == 0 else digest,
        kind=ordered.kind,
        ip=ordered.ip,
        to=ordered.to,
        for_s=ordered.for_s,
        false_alarm=ordered.false_alarm,
        actor=actor,
        reason=reason,
        expires_in_s=LASTS_S,
    )
    return ServerOrder(lb=lb, order=order, created_at=now, expires_at=now + timedelta(seconds=LASTS_S))


def _ip(name: str, snapshot: Snapshot) -> GlobalIp:
    known = snapshot.estate.global_ips if snapshot.estate else {}
    if name not in known:
        raise ChangeInvalid(f'"{name[:64]}" is no global IP. There is: {", ".join(known) or "none"}.')
    return known[name]


def _candidate(lb: str, name: str, ip: GlobalIp) -> None:
    if lb not in ip.candidates:
        raise ChangeInvalid(f'"{lb[:64]}" is no candidate of {name}. Candidates: {", ".join(ip.candidates)}.')
