"""The server end to end: real agents and engines in a lab, each on a host of its own, over TLS.

A lab is brought up once; every test leaves it with its server up, its agents connected and no change in force.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from rig import SMALL, Rig, poll, run

from backstay.agent.client import AgentClient, AgentError
from backstay.change import ChangeKind, UndoRequest, parse_request
from backstay.journal import Event, new_id
from backstay.journal.store import JournalStore
from backstay.journal.store.query import Filter
from backstay.lab import build
from backstay.lab.hosts.control import tell
from backstay.lab.keeper.client import call
from backstay.lab.model import SERVER, LabError
from backstay.lab.served import ServerApi
from backstay.lab.state import LabFolder
from backstay.lab.traffic import Traffic
from backstay.link.views import StatusView
from backstay.link.wire import OrderKind
from backstay.server.model import Principal, PrincipalKind, Role, ServerOrder
from backstay.server.orders import Ordered
from backstay.server.shell import Server
from backstay.server.tasks import Tasks
from backstay.server.weigh import Asked

T = TypeVar("T")
ALICE = Principal(name="alice", kind=PrincipalKind.USER, role=Role.ADMIN)
UNDO = UndoRequest(actor="bob", reason="done")
PATIENCE_S = 60.0

pytestmark = pytest.mark.timeout(180)


class Served:
    """A lab with a server, spoken to from outside."""

    def __init__(self, folder: LabFolder) -> None:
        self.folder = folder
        self.lbs = folder.layout.load_balancers
        self.rig = Rig(folder)

    # --- the server

    def api(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        async def ask() -> Any:
            async with ServerApi(self.folder) as api:
                return await api.call(method, path, body)

        return run(ask())

    def beside(self, work: Callable[[Server], Awaitable[T]]) -> T:
        """Do `work` with a second server over the same database, as a second process of production would."""

        async def whole(server: Server) -> T:
            async with Tasks(server).running():
                return await work(server)

        server = Server.open(f"sqlite:///{self.folder.server / 'server.db'}")
        try:
            return run(whole(server))
        finally:
            server.close()

    def drain(self, node: str) -> str:
        body = {"selector": f"node/{node}", "kind": "drain", "reason": "kernel", "duration_s": 600}
        return str(self.api("POST", "/changes", body)["changes"][0]["id"])

    def undo(self, change_id: str) -> None:
        self.api("POST", f"/changes/{change_id}/undo", {"reason": "kernel updated"})

    def agents(self) -> dict[str, dict[str, Any]]:
        return {one["lb"]: one for one in self.api("GET", "/agents")["items"]}

    def all_follow(self) -> bool:
        try:
            found = self.agents()
        except LabError:
            return False
        return all(found[lb]["connected"] and found[lb]["behind"] == 0 for lb in self.lbs)

    def kill_server(self) -> None:
        """kill -9."""
        self.rig.fault("crash", SERVER)

    def start_server(self) -> None:
        self.rig.heal(SERVER)
        assert poll(self.all_follow, PATIENCE_S), self.said()

    def journal(self, kind: str) -> list[Event]:
        """Events of that kind that the server has, oldest first."""
        with JournalStore.open(f"sqlite:///{self.folder.server / 'server.db'}") as journal:
            return [link.event for link in journal.tail(where=Filter(kind=kind))]

    def copy_database(self, to: Path) -> None:
        with sqlite3.connect(self.folder.server / "server.db") as source, sqlite3.connect(to) as target:
            source.backup(target)

    def put_database(self, copy: Path) -> None:
        """Of a server that is down."""
        for old in self.folder.server.glob("server.db*"):
            old.unlink()
        shutil.copy(copy, self.folder.server / "server.db")

    # --- the agents

    def ask(self, lb: str, question: Callable[[AgentClient], Awaitable[T]]) -> T:
        async def whole() -> T:
            async with AgentClient(lb, socket=self.folder.run / f"{lb}.sock") as agent:
                return await question(agent)

        return run(whole())

    def status(self, lb: str) -> StatusView:
        return self.ask(lb, lambda agent: agent.status())

    def error(self, lb: str) -> str:
        server = self.status(lb)["server"]
        assert server is not None
        return server["error"] or ""

    def warns(self, lb: str, words: str) -> bool:
        return any(words in warning for warning in self.status(lb)["warnings"])

    def state(self, lb: str, node: str) -> str:
        view = self.ask(lb, lambda agent: agent.pool("web"))
        return next(member["state"] for member in view["members"] if member["backend"] == node)

    def is_everywhere(self, node: str, state: str) -> bool:
        return all(self.state(lb, node) == state for lb in self.lbs)

    def said(self) -> str:
        """For a failure: what everybody says."""
        told = {lb: self.status(lb)["server"] for lb in self.lbs}
        log = (self.folder.log / f"{SERVER}-server.log").read_text(errors="replace")[-2_000:]
        return f"{json.dumps(told, indent=1)}\n{log}"


@pytest.fixture(scope="module")
def served(root: Path) -> Iterator[Served]:
    """Skips where the lab cannot be brought up at all."""
    lab = run(build.up(build.Options(source=SMALL, root=root, server=True)))
    yield Served(lab.folder)
    run(lab.down())


def until(condition: Callable[[], bool], what: str, served: Served) -> None:
    assert poll(condition, PATIENCE_S), f"{what} never came: {served.said()}"


def test_a_click_is_applied_on_every_load_balancer(
    served: Served, record_property: Callable[[str, object], None]
) -> None:
    began = time.monotonic()
    change = served.drain("web2")
    until(lambda: served.is_everywhere("web2", "draining"), "the drain", served)
    record_property("applied_s", round(time.monotonic() - began, 3))
    until(lambda: all(one["behind"] == 0 for one in served.agents().values()), "the reports", served)
    served.undo(change)
    until(lambda: served.is_everywhere("web2", "active"), "the end of the drain", served)
    ended = served.ask("lb1", lambda agent: agent.changes())
    assert next(one["ended"]["actor"] for one in ended if one["id"] == change) == "token/lab"


def test_a_server_that_is_away_loses_nothing_and_no_user_notices(served: Served) -> None:
    ip = served.folder.layout.ips[0]
    witness = Traffic(served.folder, ip, rate=50)
    run(witness.start())
    kept = served.drain("web3")
    until(lambda: served.is_everywhere("web3", "draining"), "the drain", served)
    served.kill_server()
    until(lambda: all(served.error(lb) for lb in served.lbs), "the agents' word that it is away", served)
    # Meanwhile a person works with the agents alone, and the drain of the server's holds.
    own_id = new_id()
    own = {"id": own_id, "kind": "weight", "node": "web2", "factor": 0.5, "actor": "bob", "reason": "slow disk"}
    for lb in served.lbs:
        served.ask(lb, lambda agent: agent.put_change(parse_request(own | {"created_at": "2026-11-23T00:00:00Z"})))
    assert served.is_everywhere("web3", "draining")
    served.start_server()
    served.undo(kept)
    until(lambda: served.is_everywhere("web3", "active"), "the end of the drain", served)
    until(lambda: all(served.status(lb)["events_waiting"] == 0 for lb in served.lbs), "the events", served)
    figures = run(witness.stop())
    assert (figures.unanswered, figures.wrong, figures.bad_status) == (0, 0, 0)
    assert figures.sent > 100
    # What happened while it was away is in its journal, once for each load balancer; the change itself is not its own.
    told = served.journal("weight.started")
    assert [one.data["change"] for one in told] == [own_id] * len(served.lbs)
    for lb in served.lbs:
        assert any(one["id"] == own_id and "ended" not in one for one in served.ask(lb, lambda a: a.changes()))
        served.ask(lb, lambda agent: agent.undo(own_id, UNDO))


def test_an_estate_is_adopted_through_the_server_by_every_agent(served: Served) -> None:
    text = served.folder.estate_file.read_text()
    altered = json.dumps(json.loads(text) | {"promises": {"region": "3h"}})

    async def adopt(server: Server) -> str:
        before = server.snapshot().adopted
        assert before is not None
        after = await server.adopt(altered, before.sha256, ALICE, "a promise")
        assert after.adopted is not None
        return after.adopted.sha256

    sha256 = served.beside(adopt)
    until(lambda: all(served.status(lb)["estate_sha256"] == sha256 for lb in served.lbs), "the estate", served)
    assert {served.status(lb)["estate_source"] for lb in served.lbs} == {"server"}
    until(served.all_follow, "the reports", served)


def orders(served: Served, work: Callable[[Server], Awaitable[tuple[ServerOrder, ...]]]) -> dict[str, ServerOrder]:
    """The orders that `work` gave, by load balancer, once all are settled."""

    async def whole(server: Server) -> dict[str, ServerOrder]:
        given = {one.order.id for one in await work(server)}
        async with asyncio.timeout(PATIENCE_S):
            while True:
                found = {one.lb: one for one in server.snapshot().orders if one.order.id in given}
                if len(found) == len(given) and all(one.outcome for one in found.values()):
                    return found
                await asyncio.sleep(0.05)

    return served.beside(whole)


def test_an_address_is_frozen_moved_and_rearmed_by_orders(served: Served) -> None:
    def order(kind: OrderKind, **more: Any) -> dict[str, ServerOrder]:
        ordered = Ordered(id=new_id(), kind=kind, ip="www", **more)
        return orders(served, lambda server: server.order(ordered, ALICE, "for a test"))

    assert all(one.outcome and one.outcome.done for one in order(OrderKind.FREEZE, for_s=60.0).values())
    for lb in served.lbs:
        frozen = served.ask(lb, lambda agent: agent.ip("www"))["frozen_for_s"]
        assert frozen is not None
        assert 0 < frozen <= 60
    order(OrderKind.FREEZE, for_s=0.0)

    moved = orders(served, lambda server: server.move("www", "lb2", ALICE, "for a test"))
    assert all(one.outcome and one.outcome.done for one in moved.values()), moved
    assert run(tell(served.folder.control / "provider.sock", {}))["owners"]["www"] == "lb2"
    assert served.ask("lb1", lambda agent: agent.ip("www"))["quarantined"] is None

    refused = orders(served, lambda server: server.move("www", "lb2", ALICE, "once more"))
    assert refused["lb2"].outcome is not None
    assert not refused["lb2"].outcome.done
    assert "holds www already" in refused["lb2"].outcome.detail

    rearmed = order(OrderKind.REARM, lbs=("lb1",))
    assert rearmed["lb1"].outcome is not None
    assert rearmed["lb1"].outcome.done


def test_an_agent_that_dies_in_the_middle_of_an_order_never_does_it_twice(served: Served) -> None:
    provider = served.folder.control / "provider.sock"
    holder = run(tell(provider, {}))["owners"]["www"]
    to = next(lb for lb in served.lbs if lb != holder)
    before = run(tell(provider, {"faults": {"answer": "hang", "hits": "writes"}}))["writes"]

    async def move_and_die(server: Server) -> ServerOrder:
        given = next(one for one in await server.move("www", to, ALICE, "for a test") if one.lb == to)
        async with asyncio.timeout(PATIENCE_S):
            while (await tell(provider, {}))["writes"] == before:
                await asyncio.sleep(0.02)
            await call(served.folder, "fault", kind="crash", name=to)
            await tell(provider, {"faults": {}})
            await call(served.folder, "heal", name=to)
            while True:
                now = next(one for one in server.snapshot().orders if one.order.id == given.order.id)
                if now.outcome is not None:
                    return now
                await asyncio.sleep(0.05)

    order = served.beside(move_and_die)
    assert order.outcome is not None
    assert not order.outcome.done
    assert order.outcome.detail.startswith("unknown")
    until(served.all_follow, "the agent that died", served)
    assert run(tell(provider, {}))["writes"] == before + 1
    kept = json.loads((served.folder.hosts / to / "state" / "followed.json").read_text())
    assert order.order.id in kept["followed"]["orders"]


def test_a_server_whose_database_is_an_older_copy_is_refused_until_it_is_the_right_one_again(
    served: Served, tmp_path: Path
) -> None:
    served.copy_database(tmp_path / "old.db")
    change = served.drain("web2")
    until(lambda: served.is_everywhere("web2", "draining"), "the drain", served)
    until(served.all_follow, "the reports", served)
    served.copy_database(tmp_path / "new.db")

    served.kill_server()
    served.put_database(tmp_path / "old.db")
    served.rig.heal(SERVER)
    until(lambda: all("an older copy" in served.error(lb) for lb in served.lbs), "the refusals", served)
    assert served.is_everywhere("web2", "draining")  # what it has forgotten is not undone
    until(lambda: all("an older copy" in one["error"] for one in served.agents().values()), "their reports", served)
    until(lambda: all(served.warns(lb, "an older copy") for lb in served.lbs), "the warnings", served)

    served.kill_server()
    served.put_database(tmp_path / "new.db")
    served.start_server()
    until(lambda: all(not served.error(lb) for lb in served.lbs), "the right server", served)
    served.undo(change)
    until(lambda: served.is_everywhere("web2", "active"), "the end of the drain", served)


def test_a_drain_that_one_load_balancer_refuses_is_told_to_the_server(served: Served) -> None:
    """lb1 has drained web1 by itself, so its own guard does not allow another; it is not overruled."""
    own = {"id": new_id(), "kind": "drain", "node": "web1", "actor": "bob", "reason": "kernel"}
    served.ask("lb1", lambda agent: agent.put_change(parse_request(own | {"created_at": "2026-11-23T00:00:00Z"})))

    # The server hears of it by the report; weighed before that, it allows the drain.
    async def put(server: Server) -> str:
        asked = Asked(id=new_id(), selector="node/web2", kind=ChangeKind.DRAIN, reason="kernel", duration_s=600)
        weighed = await server.put(asked, ALICE)
        return weighed.nodes[0].change.id if weighed.allowed else ""

    change = served.beside(put)
    if change:  # it was quicker than the report
        until(lambda: served.agents()["lb1"]["refusals"] == 1, "the refusal", served)
        until(lambda: served.state("lb2", "web2") == "draining", "the drain elsewhere", served)
        assert served.state("lb1", "web2") == "active"
        served.undo(change)
    served.ask("lb1", lambda agent: agent.undo(own["id"], UNDO))
    until(lambda: served.is_everywhere("web1", "active") and served.is_everywhere("web2", "active"), "peace", served)


def test_its_agents_answer_the_control_api_as_ever(served: Served) -> None:
    for lb in served.lbs:
        status = served.status(lb)
        assert status["in_sync"]
        server = status["server"]
        assert server is not None
        assert server["connected"]
        with pytest.raises(AgentError):
            served.ask(lb, lambda agent: agent.pool("nowhere"))
