"""Hetzner Cloud's API v1, as far as floating IPs go (https://docs.hetzner.cloud/reference/cloud)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from provider_world import ADDRESS, FOREIGN, NODES, SECRETS, World

from backstay.lab.provider import Faults
from backstay.lab.provider.faults import middleware

CODES = {401: "unauthorized", 409: "conflict", 429: "rate_limit_exceeded"}
FLOATING_ID = 4711
WHEN = "2026-11-23T00:00:00+00:00"


@dataclass(slots=True)
class Action:
    id: int
    status: str = "running"


class HetznerApi:
    def __init__(self, world: World) -> None:
        self.faults = Faults()
        self._world = world
        self._servers = dict(enumerate([*NODES.items(), ("other", FOREIGN)], 42))
        self._actions: list[Action] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._asked: list[str] = []

    def asked(self) -> int:
        return len(self._asked)

    def writes(self) -> int:
        return self._asked.count("assign")

    def unassigns(self) -> int:
        return self._asked.count("unassign")

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._note, middleware(self.faults, _writes, _error), self._enter])
        app.router.add_get("/v1/floating_ips", self._floating_ips)
        app.router.add_get(f"/v1/floating_ips/{FLOATING_ID}", self._floating_ip)
        app.router.add_get(f"/v1/floating_ips/{FLOATING_ID}/actions", self._list_actions)
        app.router.add_post(f"/v1/floating_ips/{FLOATING_ID}/actions/assign", self._assign)
        app.router.add_post(f"/v1/floating_ips/{FLOATING_ID}/actions/unassign", self._assign)
        app.router.add_get("/v1/actions/{id}", self._action)
        app.router.add_get("/v1/servers", self._list_servers)
        return app

    @web.middleware
    async def _note(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self._asked.append(request.path.rsplit("/", 1)[-1])
        return await handler(request)

    @web.middleware
    async def _enter(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {SECRETS['KEY']}":
            return _error(401, "unable to authenticate")
        return await handler(request)

    async def _floating_ips(self, request: web.Request) -> web.Response:
        assert request.query["page"] == "1"
        return web.json_response({"floating_ips": [self._state()], "meta": _meta()})

    async def _floating_ip(self, _: web.Request) -> web.Response:
        return web.json_response({"floating_ip": self._state()})

    async def _list_actions(self, request: web.Request) -> web.Response:
        wanted = request.query.getall("status", [])
        found = [_action(one) for one in self._actions if not wanted or one.status in wanted]
        return web.json_response({"actions": found, "meta": _meta()})

    async def _action(self, request: web.Request) -> web.Response:
        return web.json_response({"action": _action(self._actions[int(request.match_info["id"]) - 1])})

    async def _list_servers(self, _: web.Request) -> web.Response:
        servers = [_server(id_, name, address) for id_, (name, address) in self._servers.items()]
        return web.json_response({"servers": servers, "meta": _meta()})

    async def _assign(self, request: web.Request) -> web.Response:
        if any(one.status == "running" for one in self._actions):
            return _error(409, "the floating IP is locked by another action")
        target = self._servers[(await request.json())["server"]][1]
        action = Action(id=len(self._actions) + 1)
        self._actions.append(action)
        task = asyncio.create_task(self._move(action, target))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return web.json_response({"action": _action(action)}, status=201)

    async def _move(self, action: Action, target: str) -> None:
        await asyncio.sleep(self.faults.action_s)
        if self.faults.action_fails:
            action.status = "error"
            return
        await self._world.route(ADDRESS, target)
        action.status = "success"

    def _state(self) -> dict[str, Any]:
        where = self._world.owner(ADDRESS)
        server = next((id_ for id_, (_, address) in self._servers.items() if address == where), None)
        return {
            "id": FLOATING_ID,
            "name": "www",
            "description": "",
            "created": WHEN,
            "ip": ADDRESS,
            "type": "ipv4",
            "server": server,
            "dns_ptr": [],
            "home_location": {"id": 1, "name": "fsn1"},
            "blocked": False,
            "protection": {"delete": False},
            "labels": {},
        }


def _server(id_: int, name: str, address: str) -> dict[str, Any]:
    public = {
        "ipv4": {"id": id_, "ip": f"198.51.100.{id_}", "blocked": False, "dns_ptr": "a.example"},
        "ipv6": {"id": id_ + 100, "ip": f"2001:db8:{id_}::/64", "blocked": False, "dns_ptr": []},
        "floating_ips": [],
        "firewalls": [],
    }
    private = [{"network": 1, "ip": address, "alias_ips": [], "mac_address": "86:00:ff:2a:7d:e1"}]
    return {"id": id_, "name": name, "status": "running", "created": WHEN, "public_net": public, "private_net": private}


def _action(action: Action) -> dict[str, Any]:
    failed = {"code": "action_failed", "message": "the router said no"} if action.status == "error" else None
    return {
        "id": action.id,
        "command": "assign_floating_ip",
        "status": action.status,
        "progress": 0 if action.status == "running" else 100,
        "started": WHEN,
        "finished": None if action.status == "running" else WHEN,
        "resources": [{"id": FLOATING_ID, "type": "floating_ip"}],
        "error": failed,
    }


def _meta() -> dict[str, Any]:
    pages = {"page": 1, "per_page": 50, "previous_page": None, "next_page": None, "last_page": 1, "total_entries": 1}
    return {"pagination": pages}


def _writes(request: web.Request) -> bool:
    return request.method == "POST"


def _error(status: int, words: str) -> web.Response:
    return web.json_response({"error": {"code": CODES[status], "message": words, "details": None}}, status=status)
