"""The same synthetic load balancers, twice: each on its control socket, or following a real server over HTTP.

with SmallFleet(estate, lbs, run, state, make=ToldAgent): ...      # asked directly
with FollowedServer(tmp_path, ESTATE) as server: ...               # asked by way of server.url, server.token
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvicorn
from aiohttp import web

from backstay.change import Change, change_json, ended_json, parse_request, read_clock
from backstay.estate import load_text
from backstay.estate.model import Estate
from backstay.estate.select import load_balancers
from backstay.journal.store import Database
from backstay.link.wire import OrderOutcome, Report
from backstay.server.access.shell import Access
from backstay.server.app import create_app
from backstay.server.model import Role
from backstay.server.settings import Settings
from backstay.server.shell import Server
from backstay.server.tasks import Tasks
from server_agents import report_for
from server_rig import ALICE, REASON
from small_agent import SmallAgent

STARTED = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
DEADLINE_S = 60.0


class ToldAgent(SmallAgent):
    """An agent whose control API says what its report says."""

    def __init__(self, lb: str, estate: Estate, folder: Path, holders: dict[str, str] | None = None) -> None:
        super().__init__(lb, estate, folder)
        self.holders = holders if holders is not None else {}
        self.revision = 0

    def report(self, orders: tuple[OrderOutcome, ...] = ()) -> Report:
        reading = read_clock()
        there = self.book.in_force(reading)
        report = report_for(
            self.estate, self.lb, revision=self.revision, at=STARTED, changes=there, orders=orders, owners=self.holders
        )
        told = [*(ended_json(one, reading) for one in self.book.ended), *(change_json(one, reading) for one in there)]
        return report.model_copy(update={"changes": told})

    def app(self) -> web.Application:
        app = super().app()
        app.add_routes(
            [
                web.get("/v1/status", self._status),
                web.get("/v1/pools", self._pools),
                web.get("/v1/pools/{name}", self._pool),
                web.get("/v1/pools/{name}/explain", self._explain),
                web.get("/v1/ips", self._ips),
                web.get("/v1/ips/{name}", self._ip),
                web.get("/v1/ips/{name}/explain", self._explain_ip),
                web.get("/v1/ips/{name}/history", self._history),
                web.post("/v1/ips/{name}/expect", self._ip),
                web.post("/v1/ips/{name}/rearm", self._ip),
                web.post("/v1/ips/{name}/freeze", self._ip),
                web.post("/v1/ips/{name}/move", self._move),
            ]
        )
        return app

    async def _status(self, _: web.Request) -> web.Response:
        return web.json_response(self.report().status)

    async def _pools(self, _: web.Request) -> web.Response:
        return web.json_response(self.report().pools)

    async def _pool(self, asked: web.Request) -> web.Response:
        return _named(self.report().pools, "pool", asked)

    async def _explain(self, asked: web.Request) -> web.Response:
        return _named(self.report().explains, "pool", asked)

    async def _ips(self, _: web.Request) -> web.Response:
        return web.json_response([brief(ip) for ip in self.report().ips])

    async def _explain_ip(self, asked: web.Request) -> web.Response:
        return _named(self.report().ips, "ip", asked)

    async def _history(self, _: web.Request) -> web.Response:
        return web.json_response([])

    async def _ip(self, asked: web.Request) -> web.Response:
        return _named([brief(ip) for ip in self.report().ips], "ip", asked)

    async def _move(self, asked: web.Request) -> web.Response:
        self.holders[asked.match_info["name"]] = self.lb
        return await self._ip(asked)

    async def _proof(self, request: web.Request) -> web.Response:
        return web.json_response([one for one in self.report().proofs if one["change"] == request.match_info["id"]])

    # --- following a server -----------------------------------------------------------------------------------------

    async def follow(self, server: Server) -> None:
        """As a real agent does: put and end what the server says, do its orders, report."""
        sha256: str | None = None
        after, orders = -1, tuple[OrderOutcome, ...]()
        put: set[str] = set()
        while not server.ending:
            word = await server.desired_for(self.lb, sha256, after, 5.0)
            if word is not None:
                desired = json.loads(word)
                after, sha256 = desired["revision"], desired["estate_sha256"]
                self._take(desired, put)
                orders = tuple(self._done(order) for order in desired["orders"])
                self.revision = after
            await server.report(self.lb, self.report(orders))

    def _take(self, desired: dict[str, Any], put: set[str]) -> None:
        reading = read_clock()
        wanted = {one["id"]: one for one in desired["changes"]}
        why = {one["id"]: one for one in desired["ended"]}
        for change_id, asked in wanted.items():
            if self.book.get(change_id) is None:
                self.book = self.book.put(parse_request(asked).to_change(reading))
                put.add(change_id)
        for change_id in put - wanted.keys():
            end = why[change_id]
            if isinstance(self.book.get(change_id), Change):
                self.book = self.book.undo(change_id, actor=end["actor"], reason=end["reason"], now=reading.wall)

    def _done(self, order: dict[str, Any]) -> OrderOutcome:
        if order["kind"] == "move":
            self.holders[order["ip"]] = self.lb
        return OrderOutcome(id=order["id"], done=True)


def _named(found: list[dict[str, Any]], key: str, asked: web.Request) -> web.Response:
    return web.json_response(next(one for one in found if one[key] == asked.match_info["name"]))


def brief(ip: dict[str, Any]) -> dict[str, Any]:
    """An address without the evidence."""
    return {key: value for key, value in ip.items() if key not in ("candidates_seen", "own", "gateway", "trace")}


class FollowedServer:
    """A real server on a free port, with an agent of each load balancer that follows it, in a thread of its own."""

    def __init__(self, folder: Path, estate_text: str) -> None:
        self._folder = folder
        self._text = estate_text
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._socket = socket.create_server(("127.0.0.1", 0))
        # asyncio does it for sockets of its own alone; without, each answer waits 40 ms for an acknowledgement.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.token = ""
        self.agents: dict[str, ToldAgent] = {}
        self.silent: set[str] = set()  # load balancers whose agents do not start

    def __enter__(self) -> FollowedServer:
        # Where Alembic may run: not within a loop.
        self._server = Server.open(f"sqlite:///{self._folder / 'server.db'}")
        self._thread.start()
        assert self._ready.wait(DEADLINE_S), "the server did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end)
        self._thread.join(DEADLINE_S)
        self._server.close()
        for agent in self.agents.values():
            agent.spool.close()

    @property
    def database(self) -> Database:
        return self._server.database

    def _end(self) -> None:
        self._server.end()
        self._web.should_exit = True

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        server = self._server
        await server.adopt(self._text, None, ALICE, REASON)
        estate = load_text(self._text, "estate", Path()).estate
        settings = Settings(state_dir=self._folder, base_url=self.url)
        app = create_app(server, settings)
        access: Access = app.state.access
        _, self.token = access.registry.create_token("alice", Role.ADMIN, actor="root", reason=REASON)
        holders: dict[str, str] = {}
        for lb in load_balancers(estate):
            self.agents[lb] = ToldAgent(lb, estate, self._folder / "agents", holders)
            await server.enrolled(lb, ALICE, REASON)
        self._web = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        async with Tasks(server).running():
            following = [
                asyncio.create_task(agent.follow(server)) for lb, agent in self.agents.items() if lb not in self.silent
            ]
            serving = asyncio.create_task(self._web.serve(sockets=[self._socket]))
            while not self._web.started:
                await asyncio.sleep(0.01)
            while not all(server.snapshot().agents[lb].report for lb in self.agents if lb not in self.silent):
                await asyncio.sleep(0.01)
            self._ready.set()
            await serving
            for task in following:
                task.cancel()
            await asyncio.gather(*following, return_exceptions=True)
