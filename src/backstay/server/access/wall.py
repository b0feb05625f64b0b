"""What stands before every request: limits, the Host header, deadlines; and the headers that every answer gets.

A pure ASGI middleware, the outermost. It reads the body whole, so that a handler never waits for a slow sender. Limits
of the connection itself are uvicorn's (`UVICORN`, for run.py) and protocol.py's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog import get_logger

from backstay.server.problem import Problem, answer, route_of
from backstay.server.settings import Settings

BODY_LIMIT_BYTES = 16 * 1024 * 1024  # an estate of 4 million characters, as JSON; a report of 1,000 backends
BODY_TIMEOUT_S = 30.0
ANSWER_TIMEOUT_S = 60.0  # until an answer begins; a long poll takes 30 s
HEADERS_LIMIT = 64
URL_LIMIT_BYTES = 8 * 1024
FORWARDED_LIMIT = 20  # proxies in X-Forwarded-For that are looked at

UVICORN: dict[str, Any] = {
    "limit_concurrency": 4_096,
    "timeout_keep_alive": 20,
    "timeout_graceful_shutdown": 5,
    "server_header": False,
    "proxy_headers": False,  # X-Forwarded-For is read here, by `trusted_proxies`
}

# Scripts, styles and connections of this server alone; nothing inline; framed by nobody.
CSP = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "font-src 'self'",
        "connect-src 'self'",
        "manifest-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)
ALWAYS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # "no-referrer" would make browsers send `Origin: null` with our own forms
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
HSTS = "max-age=31536000"
NO_STORE = "no-store"  # unless the handler says otherwise: what one may see, the next at this machine may not
ANY_HOST = {"/healthz"}  # asked by load balancers, by address

log = get_logger()


class Wall:
    """Nothing gets past it without a limit, and nothing leaves without its headers."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._headers = ALWAYS | ({"Strict-Transport-Security": HSTS} if settings.secure else {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # a WebSocket: nothing here takes one
        begun = False
        scope.setdefault("state", {})["address"] = client_address(scope, self._settings.trusted_proxies)

        async def dressed(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                headers.update(self._headers)
                headers.setdefault("Cache-Control", NO_STORE)
            await send(message)

        try:
            check_request(scope, self._settings.host_names)
            body = await read_body(scope, receive)
            await self._carry_out(scope, _replayed(body, receive), dressed)
        except Problem as problem:
            await answer(Request(scope), problem)(scope, receive, dressed)
        except Disconnected:
            return
        except Exception:
            log.exception("a request failed", route=route_of(scope), method=scope["method"])
            if begun:
                raise  # uvicorn breaks the connection off: half an answer must not look whole
            bug = Problem(500, "bug", "This is a fault of the server's. Its log says more.")
            await answer(Request(scope), bug)(scope, receive, dressed)

    async def _carry_out(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S) as deadline:

                async def begins(message: Message) -> None:
                    if message["type"] == "http.response.start":
                        deadline.reschedule(None)  # a stream lasts as long as its reader
                    await send(message)

                await self._app(scope, receive, begins)
        except TimeoutError:
            if not deadline.expired():
                raise
            raise Problem(503, "timeout", f"It took longer than {ANSWER_TIMEOUT_S:g} s. Try again.") from None


class Disconnected(Exception):
    """The client went before it had sent its request."""


def check_request(scope: Scope, host_names: frozenset[str]) -> None:
    """Raises Problem for a request that is too long, or not meant for this host."""
    target = len(scope.get("raw_path") or scope["path"].encode()) + len(scope["query_string"])
    if target > URL_LIMIT_BYTES:
        raise Problem(414, "too_long", f"An address has at most {URL_LIMIT_BYTES} bytes.")
    if len(scope["headers"]) > HEADERS_LIMIT:
        raise Problem(431, "too_long", f"A request has at most {HEADERS_LIMIT} header fields.")
    host = Headers(scope=scope).get("host", "")
    if scope["path"] not in ANY_HOST and host_name(host) not in host_names:
        detail = f'"{host[:80]}" is no name of this server. Add it to `hosts` in its server.yaml, or use its base_url.'
        raise Problem(421, "host", detail)


def host_name(host: str) -> str:
    """The name in a Host header: lower case, without its port. "" for what is none."""
    try:
        return (urlsplit(f"//{host}").hostname or "") if "@" not in host and "/" not in host else ""
    except ValueError:
        return ""


async def read_body(scope: Scope, receive: Receive) -> bytes:
    """The whole body. Raises Problem for one that is too long or too slow, and Disconnected."""
    length = Headers(scope=scope).get("content-length", "0")
    most = f"A body has at most {BODY_LIMIT_BYTES} bytes."
    too_long = Problem(413, "too_long", most, headers={"Connection": "close"})
    if not length.isdecimal() or len(length) > 12 or int(length) > BODY_LIMIT_BYTES:
        raise too_long
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Disconnected
                body += message.get("body", b"")
                if len(body) > BODY_LIMIT_BYTES:
                    raise too_long
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError:
        slow = f"The body did not come within {BODY_TIMEOUT_S:g} s."
        raise Problem(408, "too_slow", slow, headers={"Connection": "close"}) from None


def _replayed(body: bytes, receive: Receive) -> Receive:
    """The body in one message; after it whatever the connection says (that it is closed)."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def client_address(scope: Mapping[str, Any], proxies: tuple[IPv4Network | IPv6Network, ...]) -> str:
    """Who sent it: the peer; behind trusted proxies the last address in X-Forwarded-For that is none of theirs."""
    client = scope.get("client")
    peer = str(client[0]) if client else "unix"
    if not proxies or not _is_one_of(peer, proxies):
        return peer
    forwarded = Headers(raw=scope["headers"]).getlist("x-forwarded-for")
    hops = [hop.strip() for hop in ",".join(forwarded).split(",")][-FORWARDED_LIMIT:]
    for hop in reversed(hops):
        try:
            ip_address(hop)
        except ValueError:
            return peer  # made up: nobody's word is better than that
        if not _is_one_of(hop, proxies):
            return hop
        peer = hop
    return peer


def _is_one_of(address: str, networks: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in networks)
