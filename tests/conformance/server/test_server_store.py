"""What every store keeps: what is desired with the events that tell of it, or neither; each repetition is none."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backstay.change import ChangeKind, EndedBy
from backstay.journal import Event, Whole, new_id
from backstay.journal.store import Database, JournalStore
from backstay.link.wire import Order, OrderKind, OrderOutcome, Report
from backstay.server.model import EndedChange, EstateRevision, ServerChange, ServerOrder
from backstay.server.ports import StaleRevision, StoreError
from backstay.server.store import DatabaseStore

NOW = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
UNDONE = EndedChange(by=EndedBy.UNDONE, at=NOW + timedelta(minutes=1), actor="bob", reason="done")


def an_event(kind: str = "change.put", **more: Any) -> Event:
    return Event(id=new_id(), time=NOW, kind=kind, subject="node/web1", actor="alice", reason="why", **more)


def a_change(name: str = "change-1", batch: str | None = None, **more: Any) -> ServerChange:
    given: dict[str, Any] = {
        "id": name,
        "batch": batch or name,
        "selector": "node/web1",
        "kind": ChangeKind.DRAIN,
        "node": "web1",
        "actor": "alice",
        "reason": "kernel",
        "created_at": NOW,
    }
    return ServerChange(**given | more)


def an_order(name: str = "order-0001", lb: str = "lb1", kind: OrderKind = OrderKind.REARM) -> ServerOrder:
    order = Order(id=name, kind=kind, ip="www", actor="alice", reason="looked", expires_in_s=60)
    return ServerOrder(lb=lb, order=order, created_at=NOW, expires_at=NOW + timedelta(minutes=1))


def an_estate(text: str = "estate: x") -> EstateRevision:
    return EstateRevision(number=0, text=text, sha256=text.ljust(64, "0"), actor="alice", reason="first", at=NOW)


def a_report(lb: str = "lb1", revision: int = 1, **more: Any) -> Report:
    return Report(lb=lb, at=NOW, revision=revision, status={"lb": lb, "word": "größe"}, pools=[], **more)


def put(store: DatabaseStore, *changes: ServerChange, expect: int | None = None) -> int:
    return store.put_changes(changes, [an_event() for _ in changes], expect=expect)


def kept(store: DatabaseStore) -> Any:
    return store.kept(-1, ended_limit=100, orders_limit=100)


# --- changes ---------------------------------------------------------------------------------------------------------


def test_a_change_comes_back_as_it_went_in(store: DatabaseStore) -> None:
    every = a_change(
        pool="web",
        kind=ChangeKind.WEIGHT,
        factor=0.25,
        expires_at=NOW + timedelta(hours=1),
        forced=True,
        event="event-0001",
    )
    value = {"a": [1, 2.5, None, "ä"], "b": True}
    parameter = a_change("change-2", kind=ChangeKind.PARAMETER, parameter="nginx::workers", value=value)
    put(store, every)
    put(store, parameter)
    assert kept(store).changes == (every, parameter)


def test_a_parameter_may_be_null(store: DatabaseStore) -> None:
    put(store, a_change(kind=ChangeKind.PARAMETER, parameter="x", value=None))
    assert kept(store).changes[0].value is None


def test_a_batch_is_kept_in_its_order_and_is_one_revision(store: DatabaseStore) -> None:
    batch = [a_change(f"change-{name}", batch="change-9", node=f"web{name}") for name in (9, 3, 5)]
    before = store.marks().revision
    assert put(store, *batch) == before + 1
    assert [change.id for change in kept(store).changes] == ["change-9", "change-3", "change-5"]
    assert store.batch("change-9") == batch


def test_a_batch_put_twice_is_there_once_and_so_are_its_events(store: DatabaseStore, database: Database) -> None:
    first = put(store, a_change())
    assert put(store, a_change()) == first
    assert len(kept(store).changes) == 1
    assert JournalStore(database).newest() == 1


def test_a_change_that_ended_is_not_put_again_by_a_late_repetition(store: DatabaseStore) -> None:
    put(store, a_change())
    store.end_changes(["change-1"], UNDONE, {})
    put(store, a_change())
    assert kept(store).changes == ()


def test_what_was_weighed_against_another_revision_alters_nothing(store: DatabaseStore, database: Database) -> None:
    put(store, a_change())
    with pytest.raises(StaleRevision):
        put(store, a_change("change-2"), expect=0)
    assert len(kept(store).changes) == 1
    assert JournalStore(database).newest() == 1
    assert put(store, a_change("change-2"), expect=1) == 2


def test_a_repetition_is_known_again_whatever_the_revision(store: DatabaseStore) -> None:
    put(store, a_change(), expect=0)
    put(store, a_change("change-2"))
    assert put(store, a_change(), expect=0) == 2


def test_ending_tells_which_ended_now_and_journals_those_alone(store: DatabaseStore, database: Database) -> None:
    put(store, a_change())
    put(store, a_change("change-2"))
    events = {name: an_event("change.undone") for name in ("change-1", "change-2", "change-3")}
    assert store.end_changes(["change-1"], UNDONE, events) == (3, ["change-1"])
    revision, ended = store.end_changes(["change-1", "change-2", "change-3"], UNDONE, events)
    assert (revision, ended) == (4, ["change-2"])
    assert store.end_changes(["change-1", "change-2"], UNDONE, events) == (4, [])
    assert [link.event.kind for link in JournalStore(database).tail(after=0)] == ["change.put"] * 2 + [
        "change.undone"
    ] * 2


def test_what_ended_is_told_newest_first_with_who_and_why(store: DatabaseStore) -> None:
    put(store, a_change())
    put(store, a_change("change-2"))
    later = EndedChange(by=EndedBy.EXPIRED, at=NOW + timedelta(hours=1), actor="expiry", reason="over")
    store.end_changes(["change-2"], UNDONE, {})
    store.end_changes(["change-1"], later, {})
    found = kept(store).ended
    assert [(change.id, change.ended) for change in found] == [("change-1", later), ("change-2", UNDONE)]
    assert store.kept(-1, ended_limit=1, orders_limit=1).ended == found[:1]


def test_a_thousand_changes_end_at_once(store: DatabaseStore) -> None:
    batch = [a_change(f"change-{name}", batch="change-0", node=f"n{name}") for name in range(1_000)]
    put(store, *batch)
    ids = [change.id for change in batch]
    assert sorted(store.end_changes(ids, UNDONE, {one: an_event() for one in ids})[1]) == sorted(ids)
    assert len(store.find_changes(ids)) == 1_000
    assert kept(store).changes == ()


def test_of_servers_that_end_one_change_at_the_same_time_one_does(database_url: str) -> None:
    databases = [Database(database_url) for _ in range(4)]
    stores = [DatabaseStore(database) for database in databases]
    put(stores[0], a_change())
    events = {"change-1": an_event("change.expired")}
    with ThreadPoolExecutor(4) as threads:
        outcomes = list(threads.map(lambda store: store.end_changes(["change-1"], UNDONE, events), stores))
    assert sorted(len(ended) for _, ended in outcomes) == [0, 0, 0, 1]
    assert JournalStore(databases[0]).newest() == 2
    for database in databases:
        database.close()


def test_revisions_of_several_writers_have_no_gap_and_the_chain_holds(database_url: str) -> None:
    databases = [Database(database_url) for _ in range(4)]
    stores = [DatabaseStore(database) for database in databases]

    def write(number: int) -> list[int]:
        return [put(stores[number], a_change(f"change-{number}-{turn}")) for turn in range(10)]

    with ThreadPoolExecutor(4) as threads:
        told = [revision for revisions in threads.map(write, range(4)) for revision in revisions]
    assert sorted(told) == list(range(1, 41))
    found = JournalStore(databases[0]).verify()
    assert isinstance(found, Whole) and found.links == 40
    for database in databases:
        database.close()


def test_an_event_that_is_none_keeps_the_change_out_as_well(store: DatabaseStore) -> None:
    with pytest.raises(StoreError):
        store.put_changes([a_change()], [an_event(data={"not json": object()})])
    assert (kept(store).changes, store.marks().revision) == ((), 0)


# --- estates ---------------------------------------------------------------------------------------------------------


def test_the_newest_estate_is_in_force_and_the_others_are_remembered(store: DatabaseStore) -> None:
    assert kept(store).estate is None
    store.adopt(an_estate("one"), [an_event("estate.adopted")])
    store.adopt(an_estate("two"), [an_event("estate.adopted")])
    assert kept(store).estate.text == "two"
    assert [(one.number, one.text) for one in store.estates(10)] == [(2, "two"), (1, "one")]


def test_the_same_estate_adopted_again_is_no_new_revision(store: DatabaseStore) -> None:
    assert store.adopt(an_estate(), [an_event()]) == 1
    assert store.adopt(an_estate(), [an_event()]) == 1


def test_an_estate_that_was_planned_against_another_is_refused(store: DatabaseStore) -> None:
    store.adopt(an_estate("one"), [an_event()])
    with pytest.raises(StaleRevision):
        store.adopt(an_estate("two"), [an_event()], expect=0)
    assert kept(store).estate.text == "one"


# --- orders ----------------------------------------------------------------------------------------------------------


def test_an_order_is_settled_once_by_its_own_load_balancer(store: DatabaseStore, database: Database) -> None:
    store.put_orders([an_order()], [an_event("order.put")])
    done = OrderOutcome(id="order-0001", done=True, detail="rearmed")
    events = {"order-0001": an_event("order.settled")}
    assert store.settle_orders("lb2", [done], events) == 1
    assert store.settle_orders("lb1", [done], events) == 2
    assert store.settle_orders("lb1", [OrderOutcome(id="order-0001", done=False)], events) == 2
    assert kept(store).orders[0].outcome == done
    assert JournalStore(database).newest() == 2


def test_orders_put_twice_are_there_once(store: DatabaseStore) -> None:
    orders = [an_order(), an_order("order-0002", "lb2")]
    for _ in range(2):
        assert store.put_orders(orders, [an_event("order.put") for _ in orders]) == 1
    assert list(kept(store).orders) == orders


# --- from a revision on ----------------------------------------------------------------------------------------------


def test_only_what_altered_since_is_told_from_a_revision_on(store: DatabaseStore) -> None:
    store.adopt(an_estate(), [an_event()])
    put(store, a_change())
    put(store, a_change("change-2"))
    store.put_orders([an_order()], [an_event()])
    seen = store.marks().revision
    nothing = store.kept(seen, ended_limit=10, orders_limit=10)
    assert (nothing.estate, nothing.changes, nothing.ended, nothing.orders) == (None, (), (), ())
    put(store, a_change("change-3"))
    store.end_changes(["change-1"], UNDONE, {"change-1": an_event()})
    store.settle_orders("lb1", [OrderOutcome(id="order-0001", done=True)], {"order-0001": an_event()})
    news = store.kept(seen, ended_limit=10, orders_limit=10)
    assert [change.id for change in news.changes] == ["change-3"]
    assert [change.id for change in news.ended] == ["change-1"]
    assert [order.order.id for order in news.orders] == ["order-0001"]


# --- agents ----------------------------------------------------------------------------------------------------------


def test_what_is_known_of_agents_is_told_from_a_mark_on(store: DatabaseStore) -> None:
    store.enrol("lb1", NOW, [an_event("agent.enrolled")])
    mark = store.marks().agents
    store.enrol("lb2", NOW, [an_event("agent.enrolled")])
    store.report([(a_report("lb1"), NOW)])
    assert [agent.lb for agent in store.agents(mark)] == ["lb1", "lb2"]
    assert [agent.lb for agent in store.agents(mark + 1)] == ["lb1"]
    assert store.agents(mark)[0].report == a_report("lb1")


def test_a_report_of_a_load_balancer_without_an_agent_is_not_kept(store: DatabaseStore) -> None:
    store.report([(a_report("lb9"), NOW)])
    assert store.agents(0) == []


def test_an_older_report_does_not_replace_a_newer_one(store: DatabaseStore) -> None:
    store.enrol("lb1", NOW, [])
    store.report([(a_report(revision=2), NOW + timedelta(seconds=1))])
    store.report([(a_report(revision=1), NOW)])
    found = store.agents(0)[0].report
    assert found is not None and found.revision == 2


def test_an_agent_is_revoked_once_and_comes_back_by_enrolling(store: DatabaseStore, database: Database) -> None:
    store.enrol("lb1", NOW, [an_event("agent.enrolled")])
    assert store.revoke("lb1", NOW, [an_event("agent.revoked")])
    assert not store.revoke("lb1", NOW, [an_event("agent.revoked")])
    assert store.agents(0)[0].revoked_at == NOW
    store.enrol("lb1", NOW, [an_event("agent.enrolled")])
    assert store.agents(0)[0].revoked_at is None
    assert JournalStore(database).newest() == 3


def test_when_agents_were_seen_only_grows(store: DatabaseStore) -> None:
    store.seen(["lb1", "lb2"], NOW)
    store.seen(["lb2"], NOW + timedelta(seconds=5))
    store.seen(["lb2"], NOW - timedelta(seconds=5))
    assert store.seen_at() == {"lb1": NOW, "lb2": NOW + timedelta(seconds=5)}


# --- the whole -------------------------------------------------------------------------------------------------------


def test_all_servers_on_one_database_are_one(database_url: str) -> None:
    one, other = Database(database_url), Database(database_url)
    assert DatabaseStore(one).identity() == DatabaseStore(other).identity() != ""
    one.close()
    other.close()


def test_what_ended_long_ago_is_forgotten_and_what_is_in_force_is_not(store: DatabaseStore) -> None:
    put(store, a_change())
    put(store, a_change("change-2"))
    store.put_orders([an_order()], [an_event("order.put")])
    store.end_changes(["change-1"], UNDONE, {})
    assert store.forget(NOW - timedelta(days=1)) == 0
    assert store.forget(NOW + timedelta(days=1)) == 2
    assert [change.id for change in kept(store).changes] == ["change-2"]
    assert (kept(store).ended, kept(store).orders) == ((), ())
