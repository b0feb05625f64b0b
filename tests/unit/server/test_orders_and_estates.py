"""Orders to the candidates of an address, and estates before they are adopted. Pure but for ids of events."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backstay.change import ChangeInvalid
from backstay.estate import EstateFaults, load_text
from backstay.link.wire import OrderKind, OrderOutcome
from backstay.server import estates, orders
from backstay.server.model import EstateRevision, Snapshot
from backstay.server.orders import Ordered
from server_rig import SERVERDENSITY

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ESTATE = load_text(SERVERDENSITY, "estate", Path()).estate
ADOPTED = EstateRevision(
    number=1, text=SERVERDENSITY, sha256=estates.sha256_of(SERVERDENSITY), actor="alice", reason="first", at=NOW
)
SNAPSHOT = Snapshot(at=NOW, server="server-1", revision=7, adopted=ADOPTED, estate=ESTATE)
OTHER = SERVERDENSITY.replace("port: 8000", "port: 8080")


def ordered(kind: OrderKind = OrderKind.REARM, ip: str = "www", **more: object) -> Ordered:
    return Ordered(**({"id": "order-0001", "kind": kind, "ip": ip} | more))  # type: ignore[arg-type]


def test_a_freeze_is_asked_of_every_candidate_under_ids_that_come_back_alike() -> None:
    one, other = (
        orders.planned(ordered(OrderKind.FREEZE, for_s=60.0), SNAPSHOT, "alice", "why", NOW) for _ in range(2)
    )  # fmt: skip
    assert [order.lb for order in one] == ["lb1", "lb2", "lb3", "lb4"]
    assert [order.order.id for order in one] == [order.order.id for order in other]
    assert one[0].order.id == "order-0001"


def test_a_rearm_may_be_asked_of_one_candidate() -> None:
    (one,) = orders.planned(ordered(lbs=("lb2",), false_alarm=True), SNAPSHOT, "alice", "why", NOW)
    assert (one.lb, one.order.false_alarm) == ("lb2", True)


def test_before_a_move_the_others_are_told() -> None:
    expected, moving = orders.move(ordered(OrderKind.MOVE, to="lb2"), SNAPSHOT, "alice", "why", NOW)
    assert [(one.lb, one.order.kind, one.order.to) for one in expected] == [
        (lb, OrderKind.EXPECT, "lb2") for lb in ("lb1", "lb3", "lb4")
    ]
    assert [(one.lb, one.order.kind, one.order.id) for one in moving] == [("lb2", OrderKind.MOVE, "order-0001")]


@pytest.mark.parametrize(
    ("what", "wrong"),
    [
        ("no such address", ordered(ip="nowhere")),
        ("no candidate", ordered(lbs=("lb6",))),
        ("a move that is no move", ordered(OrderKind.MOVE, to="lb2")),
        ("a freeze without an end", ordered(OrderKind.FREEZE)),
        ("a freeze without limit", ordered(OrderKind.FREEZE, for_s=1e9)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_order_that_fits_no_address_is_refused(what: str, wrong: Ordered) -> None:
    with pytest.raises(ChangeInvalid):
        orders.planned(wrong, SNAPSHOT, "alice", "why", NOW)


def test_the_outcome_of_an_order_is_caused_by_it() -> None:
    (planned,) = orders.planned(ordered(lbs=("lb1",)), SNAPSHOT, "alice", "why", NOW)
    one, event = orders.told(planned, NOW)
    outcome = orders.settled(one, OrderOutcome(id="order-0001", done=False, detail="not fit"), NOW)
    assert (event.kind, event.subject, event.actor) == ("order.put", "ip/www", "alice")
    assert (outcome.kind, outcome.actor, outcome.reason) == ("order.settled", "agent/lb1", "not fit")
    assert (outcome.cause, outcome.data["done"]) == (event.id, False)


def test_a_plan_tells_the_difference_or_every_fault() -> None:
    assert estates.plan(OTHER, SNAPSHOT).words == ("pools.web.port: 8000 -> 8080",)
    assert estates.plan(SERVERDENSITY, SNAPSHOT).words == ()
    faulty = estates.plan(SERVERDENSITY.replace("cluster: web", "cluster: wep").replace("nodes:", "nodez:"), SNAPSHOT)
    assert len(faulty.faults) >= 2 and faulty.faults[0].startswith("estate:")


def test_an_estate_of_another_name_is_no_revision_of_this_one() -> None:
    other = SERVERDENSITY.replace("estate: serverdensity", "estate: another")
    assert "Run another server" in estates.plan(other, SNAPSHOT).faults[0]
    with pytest.raises(EstateFaults):
        estates.check(other, SNAPSHOT, ADOPTED.sha256)


def test_an_estate_that_was_planned_against_another_is_stale() -> None:
    estates.check(OTHER, SNAPSHOT, ADOPTED.sha256)
    for planned_against in (None, "0" * 64):
        with pytest.raises(estates.EstateStale, match="by alice"):
            estates.check(OTHER, SNAPSHOT, planned_against)


def test_the_first_estate_needs_nothing_to_be_planned_against() -> None:
    new = replace(SNAPSHOT, adopted=None, estate=None)
    estates.check(SERVERDENSITY, new, None)
    one, event = estates.adopted(SERVERDENSITY, new, "alice", "first", NOW)
    assert (one.number, event.kind, event.subject) == (1, "estate.adopted", "estate")


def test_a_text_without_end_is_not_read() -> None:
    assert "at most" in estates.plan("#" * 4_000_001, SNAPSHOT).faults[0]
