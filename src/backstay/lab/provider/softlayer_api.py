"""SoftLayer's REST API, as far as a global IP goes: what its own client sends is understood, and the address moves.

    GET  SoftLayer_Account/getGlobalIpRecords.json?objectMask=..&objectFilter=..
    GET  SoftLayer_Account/getSubnets.json?objectMask=..&objectFilter=..
    POST SoftLayer_Network_Subnet_IpAddress_Global/ID/route.json    {"parameters": [TARGET ADDRESS]}
    GET  SoftLayer_Network_Subnet_IpAddress_Global/ID/unroute.json
    POST SoftLayer_Network_Subnet/ID/route.json                     {"parameters": [TYPE, TARGET ADDRESS]}

Basic authentication; errors as {"error": .., "code": ..}. An action is a transaction that ends later.
(https://sldn.softlayer.com/article/rest/, and what the client of PyPI sends.)
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import web

from backstay.lab.provider.faults import Faults, middleware

PREFIX = "/rest/v3.1"
CALLS_LIMIT = 10_000
BODY_LIMIT_BYTES = 64 * 1024
FIRST_ID = 1_000
GLOBAL = "SoftLayer_Network_Subnet_IpAddress_Global"
SUBNET = "SoftLayer_Network_Subnet"
ADDRESS_TYPE = "SoftLayer_Network_Subnet_IpAddress"


class Routes(Protocol):
    """Where the addresses really are. Hosts are named by their address, as the vendor does."""

    def owner(self, address: str) -> str | None: ...

    async def route(self, address: str, target: str | None) -> None:
        """None: nobody has it any more (`unroute`)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request that came, also one that was refused."""

    at_s: float  # CLOCK_MONOTONIC
    method: str  # "SoftLayer_Account::getGlobalIpRecords"
    address: str | None
    target: str | None
    writes: bool


class SoftlayerApi:
    """`app()` is an aiohttp application; `faults` and `calls` are for who runs it."""

    def __init__(
        self,
        routes: Routes,
        *,
        global_ips: Sequence[str],
        static_subnets: Sequence[str] = (),
        username: str,
        api_key: str,
        faults: Faults | None = None,
    ) -> None:
        self.faults = faults or Faults()
        self.calls: deque[Call] = deque(maxlen=CALLS_LIMIT)
        self._routes = routes
        self._global = dict(enumerate(global_ips, FIRST_ID))
        self._static = dict(enumerate(static_subnets, FIRST_ID + len(self._global)))
        self._credentials = f"{username}:{api_key}"
        self._moving: dict[str, asyncio.Task[None]] = {}

    def app(self) -> web.Application:
        app = web.Application(
            middlewares=[self._note, middleware(self.faults, _writes, _error), self._enter],
            client_max_size=BODY_LIMIT_BYTES,
        )
        app.router.add_get(f"{PREFIX}/SoftLayer_Account/getGlobalIpRecords.json", self._global_ips)
        app.router.add_get(f"{PREFIX}/SoftLayer_Account/getSubnets.json", self._subnets)
        app.router.add_post(f"{PREFIX}/{GLOBAL}/{{id}}/route.json", self._route_global)
        app.router.add_get(f"{PREFIX}/{GLOBAL}/{{id}}/unroute.json", self._unroute)
        app.router.add_post(f"{PREFIX}/{SUBNET}/{{id}}/route.json", self._route_subnet)
        app.on_shutdown.append(self._end)
        return app

    def moving(self, address: str) -> bool:
        """Whether a transaction is under way."""
        return address in self._moving

    # --- who may enter, and what they asked -------------------------------------------------------------------------

    @web.middleware
    async def _note(self, request: web.Request, handler: Any) -> web.StreamResponse:
        service, method = request.path.removeprefix(PREFIX).strip("/").split("/")[0], request.path.split("/")[-1]
        addresses = self._static if service == SUBNET else self._global
        parameters = await _parameters(request)
        self.calls.append(
            Call(
                at_s=time.monotonic(),
                method=f"{service}::{method.removesuffix('.json')}",
                address=addresses.get(_id(request)),
                target=str(parameters[-1]) if parameters else None,
                writes=_writes(request),
            )
        )
        answer: web.StreamResponse = await handler(request)
        return answer

    @web.middleware
    async def _enter(self, request: web.Request, handler: Any) -> web.StreamResponse:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        wanted = base64.b64encode(self._credentials.encode()).decode()
        if scheme.lower() != "basic" or not hmac.compare_digest(given.encode(), wanted.encode()):
            return _error(401, "Invalid API token.")
        answer: web.StreamResponse = await handler(request)
        return answer

    # --- reading ----------------------------------------------------------------------------------------------------

    async def _global_ips(self, request: web.Request) -> web.Response:
        wanted = _filtered(request, "globalIpRecords", "ipAddress", "ipAddress")
        return self._answer(
            request,
            [
                {"id": id_, "ipAddress": {"ipAddress": address}} | self._state(address, "destinationIpAddress")
                for id_, address in self._global.items()
                if wanted in (None, address)
            ],
        )

    async def _subnets(self, request: web.Request) -> web.Response:
        wanted = _filtered(request, "subnets", "networkIdentifier")
        return self._answer(
            request,
            [
                {"id": id_, "networkIdentifier": address, "cidr": 32} | self._state(address, "endPointIpAddress")
                for id_, address in self._static.items()
                if wanted in (None, address)
            ],
        )

    def _state(self, address: str, key: str) -> dict[str, Any]:
        """A relation that is not there has no key, as at the vendor."""
        owner = self._routes.owner(address)
        state: dict[str, Any] = {} if owner is None else {key: {"ipAddress": owner}}
        return state | ({"activeTransaction": {"id": 1}} if self.moving(address) else {})

    def _answer(self, request: web.Request, records: list[dict[str, Any]]) -> web.Response:
        """Only what the object mask asks for: relations never come unasked."""
        mask = request.query.get("objectMask", "")
        asked = [{key: value for key, value in one.items() if _local(value) or key in mask} for one in records]
        return web.json_response(asked, headers={"softlayer-total-items": str(len(asked))})

    # --- routing ----------------------------------------------------------------------------------------------------

    async def _route_global(self, request: web.Request) -> web.Response:
        parameters = await _parameters(request)
        if len(parameters) != 1:
            return _error(500, "Function (route) takes 1 parameter: newEndPointIpAddress.")
        return self._begin(self._global.get(_id(request)), str(parameters[0]), {"id": 1})

    async def _route_subnet(self, request: web.Request) -> web.Response:
        parameters = await _parameters(request)
        if len(parameters) != 2 or parameters[0] != ADDRESS_TYPE:
            return _error(500, f"Function (route) takes 2 parameters: type ({ADDRESS_TYPE}) and identifier.")
        return self._begin(self._static.get(_id(request)), str(parameters[1]), True)

    async def _unroute(self, request: web.Request) -> web.Response:
        return self._begin(self._global.get(_id(request)), None, {"id": 1})

    def _begin(self, address: str | None, target: str | None, done: object) -> web.Response:
        if address is None:
            return _error(404, "Unable to find object with that id.")
        if self.moving(address):
            return _error(500, "This IP address has an active transaction.")
        if target is not None and self._routes.owner(address) == target:
            return _error(500, "The IP address is already routed there.")
        task = asyncio.create_task(self._transaction(address, target))
        self._moving[address] = task
        return web.json_response(done)

    async def _transaction(self, address: str, target: str | None) -> None:
        try:
            await asyncio.sleep(self.faults.action_s)
            if not self.faults.action_fails:
                await self._routes.route(address, target)
        finally:
            del self._moving[address]

    async def _end(self, _: web.Application) -> None:
        self.faults.heal()
        running = list(self._moving.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _writes(request: web.Request) -> bool:
    return request.path.endswith("route.json")


def _error(status: int, words: str) -> web.Response:
    return web.json_response({"error": words, "code": f"SoftLayer_Exception_Public_{status}"}, status=status)


def _id(request: web.Request) -> int:
    """The object's id; -1 when the path has none."""
    parts = request.path.removeprefix(PREFIX).strip("/").split("/")
    return int(parts[1]) if len(parts) == 3 and parts[1].isdecimal() else -1


async def _parameters(request: web.Request) -> list[Any]:
    if request.method != "POST":
        return []
    try:
        found = json.loads(await request.text())["parameters"]
    except (ValueError, KeyError, TypeError):
        return []
    return found if isinstance(found, list) else []


def _filtered(request: web.Request, *keys: str) -> str | None:
    """The value that an object filter asks for; None: any."""
    try:
        value: Any = json.loads(request.query.get("objectFilter", "{}"))
        for key in keys:
            value = value[key]
        return str(value["operation"])
    except (ValueError, KeyError, TypeError):
        return None


def _local(value: object) -> bool:
    return not isinstance(value, dict)
