"""The Server over both databases: what is put once is put once, whoever asks and whichever server is asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from backstay.change import ChangeInvalid, ChangeKind, ChangeUnknown
from backstay.estate import EstateFaults
from backstay.journal import Whole, event_json, new_id
from backstay.journal.store import Filter
from backstay.link.wire import Desired, OrderKind, OrderOutcome
from backstay.server.estates import EstateStale
from backstay.server.orders import Ordered
from backstay.server.ports import StoreError
from backstay.server.shell import AgentUnknown, Server
from backstay.server.tasks import FORGET_AFTER, Tasks
from backstay.server.weigh import Asked
from server_agents import report_for
from server_rig import ALICE, REASON, SERVERDENSITY, MovedClock, a_server, enrol


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
async def server(tmp_path: Path, database_url: str, clock: MovedClock) -> AsyncIterator[Server]:
    async with a_server(tmp_path, now=clock, database_url=database_url) as found:
        yield found


@pytest.fixture
async def other(server: Server, tmp_path: Path, database_url: str, clock: MovedClock) -> AsyncIterator[Server]:
    """Another server on the same database."""
    async with a_server(tmp_path, None, now=clock, database_url=database_url) as found:
        yield found


def asked(name: str = "asked-0001", selector: str = "node/web2", **more: Any) -> Asked:
    given: dict[str, Any] = {"id": name, "selector": selector, "kind": ChangeKind.DRAIN, "reason": "kernel"}
    return Asked(**given | more)


def journaled(server: Server, kind: str) -> list[Any]:
    return [link.event for link in server.journal.tail(limit=1_000, where=Filter(kind=kind))]


async def desired(server: Server, lb: str = "lb1", known: Desired | None = None, wait_s: float = 0.0) -> Desired | None:
    have, after = (None, -1) if known is None else (known.estate_sha256, known.revision)
    word = await server.desired_for(lb, have, after, wait_s)
    return None if word is None else Desired.model_validate_json(word)


# --- put and undo ----------------------------------------------------------------------------------------------------


async def test_a_change_is_weighed_journaled_stored_and_told(server: Server) -> None:
    known = await desired(server)
    weighed = await server.put(asked(duration_s=60), ALICE)
    assert weighed.allowed and server.snapshot().revision == weighed.revision
    (event,) = journaled(server, "change.put")
    (change,) = server.snapshot().changes
    assert (event.id, event.subject, event.actor, event.data["change"]) == (
        change.event,
        "node/web2",
        "alice",
        "asked-0001",
    )
    told = await desired(server, known=known)
    assert told is not None and [one.id for one in told.changes] == ["asked-0001"]


async def test_what_is_refused_is_stored_nowhere(server: Server) -> None:
    before = server.snapshot().revision
    weighed = await server.put(asked(selector="cluster/web"), ALICE)
    assert not weighed.allowed and weighed.overridable
    assert (server.snapshot().revision, server.snapshot().changes) == (before, ())
    assert journaled(server, "change.put") == []


async def test_a_dry_run_alters_nothing(server: Server) -> None:
    before = server.snapshot()
    assert (await server.weigh(asked())).allowed
    assert server.snapshot() is before


async def test_the_same_request_again_is_the_same_change_also_at_another_server(server: Server, other: Server) -> None:
    """Also when the guard would refuse it by now, and when it has ended since."""
    first = await server.put(asked(selector="nodes/web[1-4]"), ALICE)
    again = await other.put(asked(selector="nodes/web[1-4]"), ALICE)
    assert again.already and again.allowed
    assert [node.change.id for node in again.nodes] == [node.change.id for node in first.nodes]
    await server.undo([node.change.id for node in first.nodes], ALICE, "done")
    assert (await other.put(asked(selector="nodes/web[1-4]"), ALICE)).already
    assert len(journaled(server, "change.put")) == 4


async def test_an_id_that_is_taken_is_refused_for_anything_else(server: Server) -> None:
    await server.put(asked(), ALICE)
    with pytest.raises(ChangeInvalid, match="taken by another request"):
        await server.put(asked(selector="node/web3"), ALICE)


async def test_two_servers_do_not_drain_together_what_each_alone_may(server: Server, other: Server) -> None:
    """Four of eight may be out. Each is asked for three, at the same time: one of them must say no."""
    plans = await asyncio.gather(
        server.put(asked("asked-0001", "nodes/web[1-3]"), ALICE),
        other.put(asked("asked-0002", "nodes/web[4-6]"), ALICE),
    )
    assert sorted(plan.allowed for plan in plans) == [False, True]
    await server.refresh()
    assert len(server.snapshot().changes) == 3


async def test_fifty_at_once_are_fifty(server: Server) -> None:
    weights = [
        asked(f"asked-{number:04}", f"node/web{number % 8 + 1}", kind=ChangeKind.WEIGHT, factor=0.9)
        for number in range(50)
    ]
    plans = await asyncio.gather(*(server.put(one, ALICE) for one in weights))
    assert sorted(plan.revision for plan in plans) == list(range(2, 52))
    assert isinstance(server.journal.verify(), Whole)


async def test_an_undo_tells_who_and_why_and_is_done_once(server: Server, other: Server) -> None:
    await server.put(asked(), ALICE)
    await other.refresh()
    for one in (server, other, server):
        (ended,) = await one.undo(["asked-0001"], ALICE, "rebooted")
        assert ended.ended is not None and ended.ended.reason == "rebooted"
    (event,) = journaled(server, "change.undone")
    assert event.cause == ended.event
    assert server.snapshot().changes == ()
    assert [change.id for change in server.snapshot().ended] == ["asked-0001"]


async def test_an_undo_of_something_unknown_ends_nothing(server: Server) -> None:
    await server.put(asked(), ALICE)
    with pytest.raises(ChangeUnknown, match="nobody-asked"):
        await server.undo(["asked-0001", "nobody-asked"], ALICE, "done")
    assert len(server.snapshot().changes) == 1


async def test_what_is_over_ends_once_whichever_server_sees_it_first(
    server: Server, other: Server, clock: MovedClock
) -> None:  # fmt: skip
    await server.put(asked(duration_s=60), ALICE)
    await other.refresh()
    assert await server.expire() == ()
    clock.move(60)
    ended = await asyncio.gather(server.expire(), other.expire())
    assert {one for ids in ended for one in ids} == {"asked-0001"}
    assert len(journaled(server, "change.expired")) == 1


async def test_a_parameter_is_kept_here_and_told_to_no_load_balancer(server: Server) -> None:
    known = await desired(server)
    value = {"workers": [1, 2]}
    await server.put(asked(kind=ChangeKind.PARAMETER, parameter="nginx::conf", value=value), ALICE)
    assert server.snapshot().changes[0].value == value
    told = await desired(server, known=known)
    assert told is not None and told.changes == ()


# --- who waits -------------------------------------------------------------------------------------------------------


async def test_who_waits_hears_of_a_change_at_once(server: Server) -> None:
    known = await desired(server)
    waiting = [asyncio.create_task(desired(server, lb, known, 30)) for lb in ("lb1", "lb2", "lb5")]
    watching = asyncio.create_task(server.wait(server.snapshot().revision, 30))
    await asyncio.sleep(0)
    await server.put(asked(), ALICE)
    async with asyncio.timeout(10):
        told = await asyncio.gather(*waiting)
        assert all(one is not None and one.revision == 2 for one in told)
        assert (await watching).revision == 2


async def test_who_waits_for_nothing_is_told_so(server: Server) -> None:
    known = await desired(server)
    assert await desired(server, known=known, wait_s=0.01) is None


async def test_nobody_waits_for_a_server_that_ends(server: Server) -> None:
    known = await desired(server)
    waiting = asyncio.create_task(desired(server, known=known, wait_s=30))
    await asyncio.sleep(0)
    server.end()
    async with asyncio.timeout(10):
        assert await waiting is None


async def test_a_new_server_has_nothing_to_tell(tmp_path: Path, database_url: str) -> None:
    async with a_server(tmp_path, None, database_url=database_url) as new:
        assert await desired(new) is None
        with pytest.raises(ChangeInvalid, match="No estate"):
            await new.put(asked(), ALICE)


async def test_a_server_started_again_knows_everything(server: Server, tmp_path: Path, database_url: str) -> None:
    await server.put(asked(), ALICE)
    await enrol(server, "lb1")
    async with a_server(tmp_path, None, database_url=database_url) as again:
        one, before = again.snapshot(), server.snapshot()
        assert (one.server, one.revision, one.changes, one.adopted) == (
            before.server,
            before.revision,
            before.changes,
            before.adopted,
        )
        assert one.agents.keys() == {"lb1"}


# --- addresses -------------------------------------------------------------------------------------------------------


async def test_a_move_waits_for_the_word_of_those_who_are_there(server: Server) -> None:
    await enrol(server, "lb1", "lb2", "lb3", "lb4")
    estate = server.snapshot().estate
    assert estate is not None
    for lb in ("lb1", "lb3"):  # lb4's agent is not there: nobody waits for it
        await server.report(lb, report_for(estate, lb))
    moving = asyncio.create_task(server.move("www", "lb2", ALICE, "new kernel", order_id="order-0001"))
    async with asyncio.timeout(10):
        while len(server.snapshot().orders) < 3:
            await server.changed(server.snapshot(), 5)
        for lb in ("lb1", "lb3"):
            (order,) = [one.order for one in server.snapshot().orders if one.lb == lb]
            told = await server.report(
                lb, report_for(estate, lb, orders=[OrderOutcome(id=order.id, done=True)])
            )  # fmt: skip
            assert told.orders == (order.id,)
        orders = await moving
    assert [(one.lb, one.order.kind) for one in orders][-1] == ("lb2", OrderKind.MOVE)
    assert {one.lb for one in orders if one.outcome is not None} == {"lb1", "lb3"}
    assert len(journaled(server, "order.settled")) == 2


async def test_an_order_asked_for_twice_is_given_once(server: Server) -> None:
    freeze = Ordered(id="order-0001", kind=OrderKind.FREEZE, ip="www", for_s=60)
    for _ in range(2):
        assert len(await server.order(freeze, ALICE, REASON)) == 4
    assert len(server.snapshot().orders) == 4 == len(journaled(server, "order.put"))


# --- estates ---------------------------------------------------------------------------------------------------------


async def test_an_estate_is_adopted_as_it_was_planned(server: Server, other: Server) -> None:
    text = SERVERDENSITY.replace("port: 8000", "port: 8080")
    plan = await server.plan_estate(text)
    await server.adopt(text, plan.against, ALICE, "new port")
    assert server.snapshot().adopted is not None and server.snapshot().adopted.number == 2
    assert journaled(server, "estate.adopted")[-1].data["difference"] == ["pools.web.port: 8000 -> 8080"]
    with pytest.raises(EstateStale):  # the other server has not heard of it, and finds out in time
        await other.adopt(SERVERDENSITY + "# later", plan.against, ALICE, "mine")
    await other.refresh()
    assert other.snapshot().estate == server.snapshot().estate


async def test_an_estate_that_does_not_hold_is_not_adopted(server: Server) -> None:
    plan = await server.plan_estate("estate: 1")
    with pytest.raises(EstateFaults):
        await server.adopt("estate: 1", plan.against, ALICE, "why")
    assert server.snapshot().revision == 1


# --- agents ----------------------------------------------------------------------------------------------------------


async def test_reports_reach_all_servers(server: Server, other: Server) -> None:
    await enrol(server, "lb1")
    estate = server.snapshot().estate
    assert estate is not None
    report = report_for(estate, "lb1", revision=1)
    await server.report("lb1", report)
    assert server.snapshot().agents["lb1"].report == report
    await Tasks(server).keep_reports()
    await other.refresh()
    assert other.snapshot().agents["lb1"].report == report


async def test_who_is_not_enrolled_or_speaks_for_another_is_refused(server: Server) -> None:
    estate = server.snapshot().estate
    assert estate is not None
    with pytest.raises(AgentUnknown):
        await server.report("lb1", report_for(estate, "lb1"))
    with pytest.raises(ValueError, match="lb1 from the agent of lb2"):
        await server.report("lb2", report_for(estate, "lb1"))
    await enrol(server, "lb1")
    await server.revoked("lb1", ALICE, "gone")
    with pytest.raises(AgentUnknown):
        await server.report("lb1", report_for(estate, "lb1"))


async def test_events_are_stored_once_and_what_is_none_does_not_hold_up_the_rest(server: Server) -> None:
    events = [
        {
            "id": new_id(),
            "time": "2026-11-23T12:00:00Z",
            "kind": "drain.done",
            "subject": "node/web2",
            "actor": "agent/lb1",
        }
        | {"reason": "proved", "data": {}, "cause": None}
        for _ in range(3)
    ]
    bad = {"id": new_id(), "kind": "no time"}
    for _ in range(2):
        delivered = await server.deliver("lb1", [*events[:1], bad, *events[1:]])
        assert delivered.through == events[-1]["id"]
    assert [event_json(event)["id"] for event in journaled(server, "drain.done")] == [one["id"] for one in events]
    assert journaled(server, "journal.faulty")[0].data["faults"]


async def test_who_waits_is_seen(server: Server, other: Server, clock: MovedClock) -> None:
    await enrol(server, "lb1")
    known = await desired(server)
    waiting = asyncio.create_task(desired(server, known=known, wait_s=30))
    await asyncio.sleep(0)
    clock.move(60)
    await Tasks(server).keep_seen()
    assert server.snapshot().agents["lb1"].connected(clock(), 10)
    await other.refresh()
    await Tasks(other).keep_seen()
    assert other.snapshot().agents["lb1"].connected(clock(), 10)
    waiting.cancel()


# --- by itself -------------------------------------------------------------------------------------------------------


async def test_what_ended_long_ago_is_forgotten_but_journaled(server: Server, clock: MovedClock) -> None:
    await server.put(asked(), ALICE)
    await server.undo(["asked-0001"], ALICE, "done")
    clock.at += FORGET_AFTER * 2
    await Tasks(server).forget()
    assert await server.call(server.store.find_changes, ["asked-0001"]) == []
    assert len(journaled(server, "change.*")) == 2


async def test_with_the_database_away_the_snapshot_stays_and_says_so(server: Server) -> None:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(Tasks(server).running())
        await server.put(asked(), ALICE)
        store = server.store
        server.newest._store = _Away()  # type: ignore[assignment]
        async with asyncio.timeout(10):
            while not server.snapshot().trouble:
                await server.changed(server.snapshot(), 5)
        assert "does not answer since" in server.snapshot().trouble[0]
        assert len(server.snapshot().changes) == 1
        with pytest.raises(StoreError, match="nothing can change"):
            await server.put(asked("asked-0002", "node/web3"), ALICE)
        server.newest._store = store
        async with asyncio.timeout(10):
            while server.snapshot().trouble:
                await server.changed(server.snapshot(), 5)
        assert (await server.put(asked("asked-0002", "node/web3"), ALICE)).allowed


class _Away:
    """Where a database was. (The real one's going and coming: test_servers_and_postgres.py.)"""

    def marks(self) -> None:
        raise StoreError("gone")


async def test_a_report_that_was_not_kept_yet_is_kept_at_the_end(
    server: Server, tmp_path: Path, database_url: str
) -> None:  # fmt: skip
    await enrol(server, "lb1")
    estate = server.snapshot().estate
    assert estate is not None
    async with Tasks(server).running():
        await server.report("lb1", report_for(estate, "lb1", revision=1))
    async with a_server(tmp_path, None, database_url=database_url) as again:
        report = again.snapshot().agents["lb1"].report
        assert report is not None and report.revision == 1
        assert json.loads(report.model_dump_json())["lb"] == "lb1"
