"""A server that speaks PuppetDB's query API, version 4, as its documentation has it: queries, paging, certificates.

https://help.puppet.com/pdb/8/ : AST query language, Query paging, Inventory endpoint, Factsets endpoint.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from aiohttp import web

TIME = "2026-03-09T23:40:00.000Z"


class Mood(StrEnum):
    WELL = "well"
    SLOW = "slow"  # answers nothing until the test is over
    CUT = "cut"  # ends the connection in the middle of the answer
    BROKEN = "broken"  # HTTP 500
    NONSENSE = "nonsense"  # a page for people


@dataclass
class PuppetDbServer:
    """`nodes`: certname -> facts. `token`: who has none is not let in."""

    nodes: dict[str, Any] = field(default_factory=dict)
    times: dict[str, str] = field(default_factory=dict)
    token: str = ""
    mood: Mood = Mood.WELL
    asked: list[dict[str, str]] = field(default_factory=list)
    port: int = 0
    _over: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        app = web.Application()
        app.router.add_get("/pdb/query/v4/inventory", self._inventory)
        app.router.add_get("/pdb/query/v4/factsets", self._factsets)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        self._over.set()
        await self._runner.cleanup()

    async def _inventory(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, lambda facts, trusted: {"facts": facts, "trusted": trusted})

    async def _factsets(self, request: web.Request) -> web.StreamResponse:
        def form(facts: Any, trusted: Any) -> dict[str, Any]:
            data = [{"name": name, "value": value} for name, value in facts.items()]
            return {"facts": {"href": "/pdb/query/v4/factsets/x/facts", "data": data}, "hash": "0"}

        return await self._answer(request, form)

    async def _answer(self, request: web.Request, form: Any) -> web.StreamResponse:
        self.asked.append(dict(request.query))
        if self.token and request.headers.get("X-Authentication") != self.token:
            return web.Response(status=401, text="Unauthorized")
        match self.mood:
            case Mood.SLOW:
                await self._over.wait()
            case Mood.BROKEN:
                return web.Response(status=500, text="java.lang.OutOfMemoryError: Java heap space")
            case Mood.NONSENSE:
                return web.Response(text="<html>Welcome to nginx!</html>", content_type="text/html")
        try:
            names = self._page(request.query)
        except ValueError as error:
            return web.Response(status=400, text=str(error))
        entries = [
            {"certname": name, "timestamp": self.times.get(name, TIME), "environment": "production"}
            | form(self.nodes[name], {"authenticated": "remote", "certname": name})
            for name in names
        ]
        text = json.dumps(entries)
        if self.mood is Mood.CUT:
            answer = web.StreamResponse(headers={"Content-Length": str(len(text)), "Content-Type": "application/json"})
            await answer.prepare(request)
            await answer.write(text[: len(text) // 2].encode())
            assert request.transport is not None
            request.transport.close()
            return answer
        return web.Response(text=text, content_type="application/json")

    def _page(self, query: Any) -> list[str]:
        """Raises ValueError for what PuppetDB would refuse."""
        unknown = set(query) - {"query", "order_by", "limit", "offset", "include_total"}
        if unknown:
            raise ValueError(f"Unsupported query parameter '{unknown.pop()}'")
        names = [name for name in self.nodes if "query" not in query or _matches(json.loads(query["query"]), name)]
        if "order_by" in query:
            if json.loads(query["order_by"]) != [{"field": "certname"}]:
                raise ValueError("Illegal value for :order_by")
            names.sort()
        elif "offset" in query:
            raise ValueError("pages without an order mean nothing")
        offset = int(query.get("offset", 0))
        return names[offset : offset + int(query.get("limit", 1_000_000))]


def _matches(ast: Any, name: str) -> bool:
    match ast:
        case ["=", "certname", str(value)]:
            return name == value
        case ["~", "certname", str(pattern)]:
            return re.search(pattern, name) is not None
        case ["or", *several]:
            return any(_matches(one, name) for one in several)
    raise ValueError(f"PQL parse error: {ast} is not well-formed")
