"""EC2's query protocol, as far as elastic IPs go (https://docs.aws.amazon.com/AWSEC2/latest/APIReference/)."""

from __future__ import annotations

import asyncio
from xml.sax.saxutils import escape

from aiohttp import web
from multidict import MultiDictProxy
from provider_world import ADDRESS, FOREIGN, NODES, SECRETS, World

from backstay.lab.provider import Faults
from backstay.lab.provider.faults import middleware

CODES = {401: "AuthFailure", 409: "Resource.AlreadyAssociated", 429: "RequestLimitExceeded"}
ALLOCATION = "eipalloc-4711"
ACTION = web.RequestKey("action", str)
NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"
INSTANCES = {address: f"i-{number:017x}" for number, address in enumerate([*NODES.values(), FOREIGN], 1)}


class AwsApi:
    def __init__(self, world: World) -> None:
        self.faults = Faults()
        self._world = world
        self._asked: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def asked(self) -> int:
        return len(self._asked)

    def writes(self) -> int:
        return self._asked.count("AssociateAddress")

    def unassigns(self) -> int:
        return self._asked.count("DisassociateAddress")

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._note, middleware(self.faults, _writes, _error)])
        app.router.add_post("/", self._act)
        return app

    @web.middleware
    async def _note(self, request: web.Request, handler: object) -> web.StreamResponse:
        form = await request.post()
        request[ACTION] = str(form["Action"])
        self._asked.append(request[ACTION])
        return await handler(request)  # type: ignore[operator]

    async def _act(self, request: web.Request) -> web.Response:
        signature = request.headers.get("Authorization", "")
        if not signature.startswith(f"AWS4-HMAC-SHA256 Credential={SECRETS['USER']}/") or "Signature=" not in signature:
            return _error(401, "AWS was not able to validate the provided access credentials")
        assert "X-Amz-Date" in request.headers
        form = await request.post()
        return await {
            "DescribeAddresses": self._describe,
            "DescribeNetworkInterfaces": self._interfaces,
            "AssociateAddress": self._associate,
        }[request[ACTION]](form)

    async def _describe(self, form: MultiDictProxy[object]) -> web.Response:
        assert form["PublicIp.1"] == ADDRESS
        where = self._world.owner(ADDRESS)
        held = {"publicIp": ADDRESS, "allocationId": ALLOCATION, "domain": "vpc"}
        if where is not None:
            held |= {"associationId": "eipassoc-1", "instanceId": INSTANCES[where], "privateIpAddress": where}
        return _answer("DescribeAddresses", f"<addressesSet><item>{_tags(held)}</item></addressesSet>")

    async def _interfaces(self, form: MultiDictProxy[object]) -> web.Response:
        assert form["Filter.1.Name"] == "addresses.private-ip-address"
        where = str(form["Filter.1.Value.1"])
        item = (
            f"<item>{_tags({'networkInterfaceId': 'eni-' + where.replace('.', '-'), 'privateIpAddress': where})}</item>"
        )
        return _answer("DescribeNetworkInterfaces", f"<networkInterfaceSet>{item}</networkInterfaceSet>")

    async def _associate(self, form: MultiDictProxy[object]) -> web.Response:
        assert form["AllocationId"] == ALLOCATION
        assert form["AllowReassociation"] == "true"
        if self.faults.action_fails:
            return _xml_error(400, "IncorrectInstanceState", "the router said no")
        task = asyncio.create_task(self._move(str(form["PrivateIpAddress"])))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return _answer("AssociateAddress", "<return>true</return><associationId>eipassoc-2</associationId>")

    async def _move(self, target: str) -> None:
        await asyncio.sleep(self.faults.action_s)
        await self._world.route(ADDRESS, target)


def _answer(action: str, body: str) -> web.Response:
    text = f'<{action}Response xmlns="{NAMESPACE}"><requestId>r-1</requestId>{body}</{action}Response>'
    return web.Response(text=text, content_type="text/xml")


def _tags(values: dict[str, str]) -> str:
    return "".join(f"<{key}>{escape(value)}</{key}>" for key, value in values.items())


def _writes(request: web.Request) -> bool:
    return bool(request[ACTION] == "AssociateAddress")


def _error(status: int, words: str) -> web.Response:
    return _xml_error(status, CODES[status], words)


def _xml_error(status: int, code: str, words: str) -> web.Response:
    error = f"<Error>{_tags({'Code': code, 'Message': words})}</Error>"
    text = f"<Response><Errors>{error}</Errors><RequestID>r-1</RequestID></Response>"
    return web.Response(text=text, status=status, content_type="text/xml")
