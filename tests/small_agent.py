"""An agent without an engine: the control API's changes and events, over the real guard, book and spool.

It answers on a unix socket as the real one does, so the real client and the real commands speak to it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from backstay.change import (
    Allowed,
    ChangeBook,
    Ended,
    change_json,
    decide_guard,
    ended_json,
    parse_request,
    parse_undo,
    read_clock,
    verdict_json,
)
from backstay.estate.model import Estate
from backstay.journal import Event, Spool, event_json, new_id


class SmallAgent:
    """One load balancer's agent. Tests set `health`, `in_flight` (one is finished a proof) and `cut`."""

    def __init__(self, lb: str, estate: Estate, folder: Path) -> None:
        self.lb = lb
        self.estate = estate
        self.book = ChangeBook()
        self.spool = Spool(folder / lb, actor=f"agent/{lb}")
        self.health: dict[tuple[str, str], bool] = {}
        self.in_flight = 0
        self.cut = 0
        self._finished = 0

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.get("/v1/changes", self._changes),
                web.post("/v1/changes", self._put),
                web.post("/v1/changes/{id}/undo", self._undo),
                web.get("/v1/changes/{id}/proof", self._proof),
                web.get("/v1/events", self._events),
                web.post("/v1/events/ack", self._ack),
            ]
        )
        return app

    def _tell(self, kind: str, node: str, actor: str, reason: str) -> None:
        event = Event(
            id=new_id(), time=datetime.now(UTC), kind=kind, subject=f"node/{node}", actor=actor, reason=reason
        )
        self.spool.append(event)

    async def _changes(self, _: web.Request) -> web.Response:
        reading = read_clock()
        there = [change_json(change, reading) for change in self.book.in_force(reading)]
        return web.json_response([*(ended_json(ended, reading) for ended in self.book.ended), *there])

    async def _put(self, request: web.Request) -> web.Response:
        body = await request.json()
        reading = read_clock()
        change = parse_request(body["change"]).to_change(reading)
        verdict = decide_guard(self.estate, self.book.in_force(reading), self.health, {}, change, reading)
        if not isinstance(verdict, Allowed) and not body["dry_run"]:
            problem = {"title": "Conflict", "detail": verdict.sentence, "code": verdict.reason, "figures": {}}
            return web.json_response(problem, status=409)
        if not body["dry_run"]:
            self.book = self.book.put(change)
            self._tell(f"{change.kind}.started", change.node, change.actor, change.reason)
        answer = {"lb": self.lb, "change": change_json(change, reading), "verdict": verdict_json(verdict)}
        return web.json_response(answer | {"dry_run": body["dry_run"]})

    async def _undo(self, request: web.Request) -> web.Response:
        asked = parse_undo(await request.json())
        reading = read_clock()
        self.book = self.book.undo(request.match_info["id"], actor=asked.actor, reason=asked.reason, now=reading.wall)
        ended = self.book.get(request.match_info["id"])
        assert isinstance(ended, Ended)
        self._tell(f"{ended.change.kind}.ended", ended.change.node, asked.actor, asked.reason)
        return web.json_response(ended_json(ended, reading))

    async def _proof(self, request: web.Request) -> web.Response:
        proof = {
            "change": request.match_info["id"],
            "lb": self.lb,
            "backend": "web2",
            "started_at": "",
            "in_flight_at_start": self.in_flight + self._finished,
            "in_flight": self.in_flight,
            "finished": self._finished,
            "cut": self.cut,
            "refused": 0,
            "done": self.in_flight == 0,
            "done_at": None,
            "detail": "",
        }
        if self.in_flight > 0:
            self.in_flight -= 1
            self._finished += 1
        return web.json_response([proof])

    async def _events(self, request: web.Request) -> web.Response:
        events = self.spool.read(request.query.get("after"), int(request.query.get("limit", "1000")))
        return web.json_response([event_json(event) for event in events])

    async def _ack(self, request: web.Request) -> web.Response:
        self.spool.ack((await request.json())["through"])
        return web.Response(status=204)


class SmallFleet:
    """Small agents in a thread of their own, on RUN/LB.sock."""

    def __init__(
        self,
        estate: Estate,
        lbs: Sequence[str],
        run: Path,
        state: Path,
        make: Callable[[str, Estate, Path], SmallAgent] = SmallAgent,
    ) -> None:
        self.agents = {lb: make(lb, estate, state) for lb in lbs}
        self._run = run
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._runners: dict[str, web.AppRunner] = {}

    def __enter__(self) -> SmallFleet:
        self._thread.start()
        for lb in self.agents:
            self.start(lb)
        return self

    def __exit__(self, *_: object) -> None:
        for lb in list(self._runners):
            self.stop(lb)
        for agent in self.agents.values():
            agent.spool.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=30)
        self._loop.close()

    def __getitem__(self, lb: str) -> SmallAgent:
        return self.agents[lb]

    def start(self, lb: str) -> None:
        self._do(self._start(lb))

    def stop(self, lb: str) -> None:
        """The agent is gone; its socket file stays, as after kill -9."""
        self._do(self._runners.pop(lb).cleanup())

    async def _start(self, lb: str) -> None:
        runner = web.AppRunner(self.agents[lb].app())
        await runner.setup()
        await web.UnixSite(runner, str(self._run / f"{lb}.sock")).start()
        self._runners[lb] = runner

    def _do(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=60)
