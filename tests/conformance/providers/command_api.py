"""What the two programs of `command_programs.py` speak with: some appliance of somebody's."""

from __future__ import annotations

import asyncio

from aiohttp import web
from provider_world import ADDRESS, NODES, World

from backstay.lab.provider import Faults
from backstay.lab.provider.faults import middleware


class CommandApi:
    def __init__(self, world: World) -> None:
        self.faults = Faults()
        self._world = world
        self._moving: set[asyncio.Task[None]] = set()
        self._asked: list[str] = []

    def asked(self) -> int:
        return len(self._asked)

    def writes(self) -> int:
        return self._asked.count("assign")

    def unassigns(self) -> int:
        return 0  # the programs have no such word

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._note, middleware(self.faults, _writes, _error)])
        app.router.add_get("/owner", self._owner)
        app.router.add_post("/assign", self._assign)
        return app

    @web.middleware
    async def _note(self, request: web.Request, handler: object) -> web.StreamResponse:
        self._asked.append(request.path.strip("/"))
        if request.headers.get("X-Key") != "sesame":
            return _error(401, "wrong key")
        return await handler(request)  # type: ignore[operator]

    async def _owner(self, request: web.Request) -> web.Response:
        assert request.query["address"] == ADDRESS
        lines = [self._world.owner(ADDRESS) or ""] + (["moving"] if self._moving else [])
        return web.Response(text="\n".join(lines) + "\n")

    async def _assign(self, request: web.Request) -> web.Response:
        assert NODES[request.query["node"]] == request.query["target"]
        if self._moving:
            return _error(409, "busy")
        if self.faults.action_fails:
            return _error(409, "the router said no")
        task = asyncio.create_task(self._move(request.query["target"]))
        self._moving.add(task)
        task.add_done_callback(self._moving.discard)
        return web.Response(text="")

    async def _move(self, target: str) -> None:
        await asyncio.sleep(self.faults.action_s)
        await self._world.route(ADDRESS, target)


def _writes(request: web.Request) -> bool:
    return request.method == "POST"


def _error(status: int, words: str) -> web.Response:
    return web.Response(text=words, status=status)
