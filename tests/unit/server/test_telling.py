"""What agents are told: each what concerns it, exact in time, encoded once for many. Pure."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from backstay.change import ChangeKind, EndedBy
from backstay.estate import load_text
from backstay.link.wire import Desired, Order, OrderKind, OrderOutcome
from backstay.server.model import EndedChange, EstateRevision, ServerChange, ServerOrder, Snapshot
from backstay.server.weigh import Telling, difference, index
from backstay.server.weigh.telling import report_every_s
from server_rig import SERVERDENSITY

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ESTATE = load_text(SERVERDENSITY, "estate", Path()).estate
PLACES = index(ESTATE)
ADOPTED = EstateRevision(number=1, text=SERVERDENSITY, sha256="a" * 64, actor="alice", reason="first", at=NOW)
EMPTY = Snapshot(at=NOW, server="server-1", revision=7, adopted=ADOPTED, estate=ESTATE)


def a_change(name: str = "change-1", node: str = "web1", **more: Any) -> ServerChange:
    given: dict[str, Any] = {"selector": f"node/{node}", "kind": ChangeKind.DRAIN, "actor": "alice", "reason": "why"}
    return ServerChange(id=name, batch=name, node=node, created_at=NOW, **given | more)


def an_order(name: str, lb: str, **more: Any) -> ServerOrder:
    order = Order(id=name, kind=OrderKind.REARM, ip="www", actor="alice", reason="why", expires_in_s=60)
    given: dict[str, Any] = {"created_at": NOW, "expires_at": NOW + timedelta(seconds=60)}
    return ServerOrder(lb=lb, order=order, **given | more)


def told(snapshot: Snapshot, lb: str = "lb1", have: str | None = None, now: datetime = NOW) -> Desired:
    return Desired.model_validate_json(Telling(snapshot, PLACES).to(lb, have, now))


def test_the_word_is_one_that_an_agent_understands() -> None:
    word = told(EMPTY)
    assert (word.server, word.estate, word.lb, word.revision) == ("server-1", "serverdensity", "lb1", 7)
    assert (word.estate_sha256, word.estate_text) == ("a" * 64, SERVERDENSITY)


def test_who_has_the_estate_is_not_sent_it() -> None:
    assert told(EMPTY, have="a" * 64).estate_text is None
    assert told(EMPTY, have="b" * 64).estate_text == SERVERDENSITY


def test_a_change_lasts_as_long_as_is_left_of_it() -> None:
    snapshot = replace(EMPTY, changes=(a_change(expires_at=NOW + timedelta(seconds=90)), a_change("change-2", "web2")))
    one, other = told(snapshot, now=NOW + timedelta(seconds=30)).changes
    assert (one.duration_s, other.duration_s) == (60, None)


def test_what_is_over_is_not_told_anew() -> None:
    assert told(replace(EMPTY, changes=(a_change(expires_at=NOW),))).changes == ()


def test_what_is_left_is_right_also_when_the_encoded_part_is_used_again() -> None:
    telling = Telling(replace(EMPTY, changes=(a_change(expires_at=NOW + timedelta(seconds=90)),)), PLACES)
    first = json.loads(telling.to("lb1", "a" * 64, NOW))["changes"]
    assert json.loads(telling.to("lb2", "a" * 64, NOW + timedelta(seconds=0.5)))["changes"] == first
    later = json.loads(telling.to("lb2", "a" * 64, NOW + timedelta(seconds=30)))["changes"]
    assert later[0]["duration_s"] == 60


def test_only_load_balancers_that_carry_a_pool_of_the_node_hear_of_its_change() -> None:
    text = SERVERDENSITY.replace("    hostnames: [app", "    tiers: [wdc01]\n    hostnames: [app")
    estate = load_text(text, "estate", Path()).estate
    telling = Telling(replace(EMPTY, estate=estate, changes=(a_change(),)), index(estate))
    told_to = {lb: json.loads(telling.to(lb, None, NOW))["changes"] for lb in ("lb1", "lb2", "lb3", "lb5")}
    assert {lb for lb, changes in told_to.items() if changes} == {"lb1", "lb2"}


def test_parameters_are_no_load_balancers_business() -> None:
    snapshot = replace(EMPTY, changes=(a_change(kind=ChangeKind.PARAMETER, parameter="x", value=1),))
    assert told(snapshot).changes == ()


def test_who_ended_a_change_is_told_for_an_hour() -> None:
    def ended(name: str, ago: timedelta) -> ServerChange:
        gone = EndedChange(by=EndedBy.UNDONE, at=NOW - ago, actor="bob", reason="done")
        return replace(a_change(name), ended=gone)

    snapshot = replace(EMPTY, ended=(ended("change-1", timedelta(minutes=5)), ended("change-2", timedelta(hours=2))))
    (ending,) = told(snapshot).ended
    assert (ending.id, ending.actor, ending.reason) == ("change-1", "bob", "done")


def test_orders_are_told_to_their_own_agent_until_they_are_settled_or_over() -> None:
    done = OrderOutcome(id="order-0003", done=True)
    snapshot = replace(
        EMPTY,
        orders=(  # newest first
            an_order("order-0005", "lb1"),
            an_order("order-0004", "lb1", expires_at=NOW),
            an_order("order-0003", "lb1", outcome=done),
            an_order("order-0002", "lb2"),
            an_order("order-0001", "lb1"),
        ),
    )
    word = told(snapshot, now=NOW + timedelta(seconds=10))
    assert [order.id for order in word.orders] == ["order-0001", "order-0005"]
    assert word.orders[0].expires_in_s == 50


def test_the_text_of_an_estate_is_encoded_once_for_all_its_revisions() -> None:
    before = Telling(EMPTY, PLACES)
    after = Telling(replace(EMPTY, revision=8), PLACES, before)
    assert after._estate_text is before._estate_text


def test_the_more_agents_there_are_the_less_often_each_reports() -> None:
    assert [report_every_s(agents) for agents in (1, 250, 1_000, 100_000)] == [5, 5, 20, 300]


# --- two estates -----------------------------------------------------------------------------------------------------


def test_a_difference_is_told_in_words() -> None:
    text = SERVERDENSITY.replace("port: 8000", "port: 8080").replace("  queue4: {zone", "  queue5: {zone")
    text = text.replace("  region: 2h", "  region: 3h")
    assert difference(ESTATE, load_text(text, "estate", Path()).estate) == (
        "nodes.queue4: removed",
        "nodes.queue5: added",
        "pools.web.port: 8000 -> 8080",
        "promises.region: 2h -> 3h",
    )
    assert difference(ESTATE, ESTATE) == ()
    assert difference(None, ESTATE)[0].startswith("the first estate: serverdensity with 18 nodes")
