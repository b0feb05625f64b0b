"""The real application over a real server, asked in this process; browsers, tokens and agents that ask it.

async with an_app(tmp_path) as rig:
    alice = await rig.user("alice", Role.OPERATOR)       # a browser that is logged in
    answer = await alice.post("/api/v1/...", json={...}) # sends its CSRF token and a fresh Idempotency-Key
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2
from argon2 import Parameters, Type
from fastapi import FastAPI
from structlog.testing import capture_logs

from backstay.journal.store import Filter
from backstay.server.access.model import Via
from backstay.server.access.passwords import Passwords
from backstay.server.access.shell import Access
from backstay.server.access.tokens import csrf_of
from backstay.server.app import create_app
from backstay.server.model import Role
from backstay.server.settings import Settings
from backstay.server.shell import Server
from server_rig import REASON, SERVERDENSITY, MovedClock, a_server

BASE_URL = "http://localhost:8080"
CHEAPEST = Parameters(Type.ID, 19, 16, 32, time_cost=1, memory_cost=8, parallelism=1)  # of argon2: tests hash a lot
PASSWORD = "correct horse battery staple"
_keys = count(1)
_database: list[bytes] = []


class Browser(httpx2.AsyncClient):
    """A client that carries what a page of this server would give it, and follows no redirect by itself."""

    csrf = ""

    async def request(self, method: str, url: Any, **kwargs: Any) -> httpx2.Response:
        headers = dict(kwargs.pop("headers", None) or {})
        if method.upper() not in ("GET", "HEAD"):
            headers.setdefault("Idempotency-Key", f"key-{next(_keys):08}")
            if self.csrf:
                headers.setdefault("X-CSRF-Token", self.csrf)
        return await super().request(method, url, headers=headers, **kwargs)


@dataclass(slots=True)
class Rig:
    server: Server
    app: FastAPI
    clock: MovedClock
    settings: Settings
    clients: list[httpx2.AsyncClient] = field(default_factory=list)
    logged: list[Any] = field(default_factory=list)

    @property
    def access(self) -> Access:
        access = self.app.state.access
        assert isinstance(access, Access)
        return access

    def browser(self, *, address: str = "192.0.2.7", **headers: str) -> Browser:
        """Nobody that is known."""
        transport = httpx2.ASGITransport(app=self.app, client=(address, 40_000))
        client = Browser(transport=transport, base_url=self.settings.base_url, headers=headers, trust_env=False)
        self.clients.append(client)
        return client

    async def user(self, name: str, role: Role = Role.VIEWER) -> Browser:
        """A browser with a session of that user, who is made when there is none. No password is hashed for it."""
        people = self.access.registry.people
        if people.user(name) is None:
            self.access.registry.add_user(name, role, actor="root", reason=REASON)
        user = people.user(name)
        assert user is not None
        return self.logged_in((await self.access.begin(user, Via.PASSWORD, "192.0.2.7")).secret)

    def logged_in(self, secret: str) -> Browser:
        client = self.browser()
        client.cookies.set("__Host-backstay" if self.settings.secure else "backstay", secret)
        client.csrf = csrf_of(secret)
        return client

    def token(self, name: str, role: Role, rooms: list[str] | None = None, life: timedelta | None = None) -> Browser:
        """A program with a machine's token."""
        _, secret = self.access.registry.create_token(
            name, role, actor="root", reason=REASON, rooms=rooms, life=life
        )  # fmt: skip
        return self.browser(Authorization=f"Bearer {secret}")

    async def agent(self, lb: str) -> Browser:
        """An agent that is enrolled."""
        _, join = self.access.registry.make_join_token(lb, actor="root", reason=REASON)
        credential = await self.access.enrol(lb, join, "192.0.2.9")
        assert credential is not None
        return self.browser(Authorization=f"Bearer {credential}")

    def journaled(self, kind: str) -> list[Any]:
        """Events of a kind, oldest first; `*` stands for any text."""
        return [link.event for link in self.server.journal.tail(where=Filter(kind=kind))]


async def _adopted() -> bytes:
    """A database with the estate adopted: made once, because Alembic takes its time."""
    if not _database:
        with TemporaryDirectory() as folder:
            async with a_server(Path(folder), now=MovedClock()):
                pass
            _database.append((Path(folder) / "server.db").read_bytes())
    return _database[0]


@asynccontextmanager
async def an_app(
    tmp_path: Path, *, estate_text: str | None = SERVERDENSITY, database_url: str | None = None, **settings: Any
) -> AsyncIterator[Rig]:
    clock = MovedClock()
    made = Settings(state_dir=tmp_path, **{"base_url": BASE_URL, **settings})
    if database_url is None and estate_text == SERVERDENSITY:
        (tmp_path / "server.db").write_bytes(await _adopted())
        estate_text = None
    async with a_server(tmp_path, estate_text, now=clock, database_url=database_url) as server:
        rig = Rig(server, create_app(server, made), clock, made)
        rig.access.registry.passwords = Passwords(CHEAPEST)
        try:
            with capture_logs() as rig.logged:  # tracebacks with all their locals take seconds to draw
                yield rig
        finally:
            for client in rig.clients:
                await client.aclose()
