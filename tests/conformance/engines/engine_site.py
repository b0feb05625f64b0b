"""A load balancer under test: one real engine, backends in this process, and the `Desired` between them."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from engine_backends import WebBackend

from backstay.balance.model import (
    Applied,
    Backend,
    BackendStats,
    Capabilities,
    Desired,
    DesiredPool,
    DesiredRoute,
    DesiredTls,
    HttpService,
    Sample,
    TcpService,
)
from backstay.balance.ports import Engine
from backstay.estate.model import Balance, EngineKind, Protocol

HOST = "app.example.com"
LB = "lb1"
DEADLINE_S = 20.0
# An address of our own: test runs side by side do not take each other's ports.
ADDRESS = f"127.{os.getpid() % 250 + 2}.{os.getpid() // 250 % 250 + 1}.1"

T = TypeVar("T")


def free_port() -> int:
    with socket.create_server((ADDRESS, 0)) as server:
        port: int = server.getsockname()[1]
        return port


async def eventually(ask: Callable[[], Awaitable[T]], holds: Callable[[T], bool]) -> T:
    """Ask until the answer holds; the last answer is in the failure."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        answer = await ask()
        if holds(answer):
            return answer
        assert time.monotonic() < deadline, f"not within {DEADLINE_S:g} s: {answer!r}"
        await asyncio.sleep(0.02)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Any  # case-insensitive
    body: bytes

    @property
    def said(self) -> dict[str, Any]:
        """What our web backend says of the request that it got."""
        import json

        return dict(json.loads(self.body))

    @property
    def backend(self) -> str:
        return str(self.said["backend"])


@dataclass
class Site:
    """What a test turns: `desired` is altered with `with_`, made to run with `apply`, and asked with `get`."""

    engine: Engine
    folder: Path
    desired: Desired
    http_port: int
    https_port: int
    backends: list[WebBackend] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)

    @property
    def capabilities(self) -> Capabilities:
        return self.engine.capabilities()

    async def apply(self, desired: Desired | None = None) -> Applied:
        """Make `desired` (default: the site's) run."""
        self.desired = revised(desired or self.desired)
        return await self.engine.apply(self.desired)

    async def get(self, path: str = "/", *, method: str = "GET", host: str = HOST, **options: Any) -> Answer:
        """One request on a connection of its own over plain HTTP."""
        return await self.ask(f"http://{ADDRESS}:{self.http_port}{path}", method=method, host=host, **options)

    async def ask(self, url: str, *, method: str = "GET", host: str = HOST, **options: Any) -> Answer:
        headers = {"Host": host, **options.pop("headers", {})}
        timeout = aiohttp.ClientTimeout(total=DEADLINE_S)
        async with (
            aiohttp.ClientSession(
                timeout=timeout, connector=aiohttp.TCPConnector(force_close=True), auto_decompress=False
            ) as session,
            session.request(method, url, headers=headers, allow_redirects=False, **options) as response,
        ):
            return Answer(response.status, response.headers, await response.read())

    async def get_tls(self, path: str = "/", *, context: ssl.SSLContext, sni: str = HOST, **options: Any) -> Answer:
        url = f"https://{ADDRESS}:{self.https_port}{path}"
        return await self.ask(url, ssl=context, server_hostname=sni, **options)

    async def served_by(self, count: int, path: str = "/") -> Counter[str]:
        """Which backends answered `count` requests, one after the other."""
        return Counter([(await self.get(path)).backend for _ in range(count)])

    async def stats_of(self, backend: str, pool: str = "web") -> BackendStats:
        seen = await self.engine.observe()
        return next(one for one in seen.backends if (one.pool, one.backend) == (pool, backend))

    async def logged(self, holds: Callable[[list[Sample]], bool]) -> list[Sample]:
        """Every sample so far, once they hold what is asked."""

        async def read() -> list[Sample]:
            self.samples += await self.engine.samples()
            return self.samples

        return await eventually(read, holds)


def revised(desired: Desired) -> Desired:
    """With a revision that is of its contents."""
    return replace(desired, revision=f"{hash(replace(desired, revision='')) & 0xFFFFFFFFFFFF:012x}")


def with_service(desired: Desired, **changes: Any) -> Desired:
    """`desired` with its first service altered."""
    first, *others = desired.services
    return replace(desired, services=(replace(first, **changes), *others))


def with_pool(desired: Desired, name: str = "web", **changes: Any) -> Desired:
    return replace(
        desired, pools=tuple(replace(pool, **changes) if pool.name == name else pool for pool in desired.pools)
    )


def with_backend(desired: Desired, backend: str, pool: str = "web", **changes: Any) -> Desired:
    [found] = [one for one in desired.pools if one.name == pool]
    backends = tuple(replace(one, **changes) if one.name == backend else one for one in found.backends)
    return with_pool(desired, pool, backends=backends)


def with_tls(desired: Desired, tls: DesiredTls, **changes: Any) -> Desired:
    return with_service(desired, tls=tls, **changes)


def add_pool(desired: Desired, pool: DesiredPool, *, path: str | None = None, websocket: bool = False) -> Desired:
    """`desired` with one pool more, and a route to it when `path` is given."""
    desired = replace(desired, pools=(*desired.pools, pool))
    if path is None:
        return desired
    first = desired.services[0]
    assert isinstance(first, HttpService)
    return with_service(desired, routes=(*first.routes, DesiredRoute(path=path, pool=pool.name, websocket=websocket)))


def add_tcp(desired: Desired, pool: DesiredPool, port: int) -> Desired:
    desired = add_pool(desired, pool)
    return replace(desired, services=(*desired.services, TcpService(name=pool.name, port=port, pool=pool.name)))


def make_pool(name: str, *backends: Backend, **changes: Any) -> DesiredPool:
    pool = DesiredPool(
        name=name,
        protocol=Protocol.HTTP,
        balance=Balance.ROUND_ROBIN,
        backends=backends,
        check=None,
        slow_start_s=0.0,
        connect_timeout_s=1.0,
        response_timeout_s=10.0,
    )
    return replace(pool, **changes)


def make_desired(kind: EngineKind, http_port: int, https_port: int, backends: list[WebBackend]) -> Desired:
    """One service, plain HTTP, one route, one pool over `backends`."""
    service = HttpService(
        name="app",
        hostnames=(HOST,),
        http_port=http_port,
        https_port=https_port,
        tls=None,
        redirect_http=True,
        header_limit_kb=16,
        body_limit_mb=8,
        routes=(DesiredRoute(path="/", pool="web", websocket=False),),
    )
    pool = make_pool("web", *(Backend(name=one.name, address=ADDRESS, port=one.port) for one in backends))
    return revised(
        Desired(
            estate="conformance",
            lb=LB,
            engine=kind,
            listen=(ADDRESS,),
            services=(service,),
            pools=(pool,),
            revision="",
        )
    )
