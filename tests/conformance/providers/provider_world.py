"""Where the addresses really are, and the rig of one vendor: a server that speaks its protocol, and our adapter."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from aiohttp import web

from backstay.estate.model import EnvSecret, Provider, Secret
from backstay.failover.ports import IpProvider
from backstay.failover.providers import load_provider
from backstay.failover.providers.apart import Apart, secret_key
from backstay.lab.provider import Faults

ADDRESS = "203.0.113.10"
NODES = {"lb1": "10.1.1.1", "lb2": "10.1.1.2", "lb3": "10.1.4.1"}
FOREIGN = "10.9.9.9"  # a machine of the account that is no node of the estate
SECRETS = {"USER": "alice", "KEY": "sesame"}


@dataclass(slots=True)
class World:
    """The truth. Routing takes `on_route` with it, so that a test can act right after the vendor took the request."""

    owners: dict[str, str | None] = field(default_factory=lambda: {ADDRESS: NODES["lb1"]})
    on_route: Callable[[], None] = lambda: None
    routed: int = 0

    def owner(self, address: str) -> str | None:
        return self.owners[address]

    async def route(self, address: str, target: str | None) -> None:
        self.owners[address] = target
        self.routed += 1
        self.on_route()


class Api(Protocol):
    """A vendor's server."""

    faults: Faults

    def app(self) -> web.Application: ...
    def asked(self) -> int: ...  # requests that came
    def writes(self) -> int: ...  # requests to route that came
    def unassigns(self) -> int: ...


@dataclass(slots=True, kw_only=True)
class Rig:
    """One vendor, set up. `declared`: the estate's provider, with the right secrets or the wrong ones."""

    name: str
    world: World
    api: Api
    declared: Callable[[str], Provider]  # base URL of the server -> provider
    shows_moving: bool = True  # the vendor says that a route is under way
    apart: bool = False  # in a process of its own, as the agent has it
    foreign: str = FOREIGN  # how the vendor names a machine that is no node
    url: str = ""
    _open: list[IpProvider] = field(default_factory=list)

    @property
    def faults(self) -> Faults:
        return self.api.faults

    def provider(self, secrets: dict[str, str] | None = None) -> IpProvider:
        known = SECRETS if secrets is None else secrets

        def find(secret: Secret) -> str:
            assert isinstance(secret, EnvSecret)
            return known[secret.env]

        declared = self.declared(self.url)
        made: IpProvider = load_provider(declared, NODES, find)
        if self.apart:
            had = {secret_key(EnvSecret(env=name)): secret for name, secret in known.items()}
            made = Apart(declared, NODES, had, {})
        self._open.append(made)
        return made

    async def until(self, holds: Callable[[], bool], limit_s: float = 20.0) -> None:
        async with asyncio.timeout(limit_s):
            while not holds():
                await asyncio.sleep(0.02)

    @asynccontextmanager
    async def up(self) -> AsyncIterator[Rig]:
        """Serve on a free port of loopback. At the end: nobody has unassigned anything."""
        runner = web.AppRunner(self.api.app(), access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
            assert self.api.unassigns() == 0
        finally:
            self.faults.heal()
            for made in self._open:
                with contextlib.suppress(Exception):
                    await made.close()
            await runner.cleanup()
