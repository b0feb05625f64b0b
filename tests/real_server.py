"""`backstay server run` as a process of its own, for tests that need the real thing: TLS, its own authority, SQLite.

server = RealServer(folder)
await server.start(estate_file)
await server.call("POST", "/changes", {...})
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

from backstay.journal import Event, new_id
from backstay.journal.store import Database, JournalStore
from backstay.journal.store.query import Filter
from backstay.link.fingerprint import fingerprint_of
from backstay.server.access.registry import Registry
from backstay.server.init import Initialised, Wanted, initialise
from backstay.server.model import Principal, PrincipalKind, Role
from backstay.server.shell import Server
from backstay.server.store import DatabaseStore

ADMIN = Principal(name="tests", kind=PrincipalKind.USER, role=Role.ADMIN)
PATIENCE_S = 30.0


class Refused(Exception):
    """The server answered with a problem."""

    def __init__(self, status: int, problem: Any) -> None:
        super().__init__(f"{status}: {problem}")
        self.status, self.problem = status, problem


class RealServer:
    """One server over a database in `folder`; kill it, start it again, copy its database."""

    def __init__(self, folder: Path, *, address: str = "127.0.0.1", port: int | None = None) -> None:
        self.folder = folder
        self.address = address
        if port is None:
            with socket.create_server((address, 0)) as free:
                port = int(free.getsockname()[1])
        self.port = port
        self.url = f"https://{address}:{port}"
        self.process: asyncio.subprocess.Process | None = None
        self.made: Initialised | None = None
        self._token = ""

    @property
    def ca(self) -> Path:
        return self.folder / "tls" / "ca.crt"

    @property
    def database(self) -> Path:
        return self.folder / "server.db"

    @property
    def database_url(self) -> str:
        return f"sqlite:///{self.database}"

    @property
    def token(self) -> str:
        """An admin's."""
        return self._token

    @property
    def fingerprint(self) -> str:
        return fingerprint_of(self.ca.read_text(encoding="ascii"))

    def make(self) -> None:
        """`backstay server init`, and an admin's token."""
        wanted = Wanted(state_dir=self.folder, names=(self.address,), listen=self.address, port=self.port)
        self.made = initialise(wanted, datetime.now(UTC))
        _, self._token = self._registry(
            lambda registry: registry.create_token("tests", Role.ADMIN, actor="tests", reason="for a test")
        )

    def join_token(self, lb: str) -> str:
        secret: str = self._registry(lambda one: one.make_join_token(lb, actor="tests", reason="for a test"))[1]
        return secret

    def _registry(self, work: Any) -> Any:
        database = Database(self.database_url)
        try:
            DatabaseStore(database)
            return work(Registry(database))
        finally:
            database.close()

    # --- life ------------------------------------------------------------------------------------------------------

    async def start(self, estate: Path | None = None) -> None:
        """Until it answers."""
        if self.made is None:
            self.make()
        argv = ["server", "run", "--state-dir", str(self.folder)]
        argv += ["--estate", str(estate)] if estate is not None else []
        with (self.folder / "log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "backstay.cli.main", *argv, stdout=log, stderr=log, env=os.environ
            )
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                await self.call("GET", "/me")
            except (aiohttp.ClientError, OSError) as error:
                said = (self.folder / "log").read_text()[-2_000:]
                assert self.process.returncode is None, said
                assert time.monotonic() < end, f"{error}\n{said}"
                await asyncio.sleep(0.05)
            else:
                return

    async def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        await self.process.wait()

    async def stop(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await self.process.wait()
            except TimeoutError:
                await self.kill()

    # --- by its database, as a second server would -------------------------------------------------------------------

    async def adopt(self, text: str) -> None:
        """Make `text` the estate in force."""

        async def work(server: Server) -> None:
            before = server.snapshot().adopted
            await server.adopt(text, before.sha256 if before else None, ADMIN, "for a test")

        def beside() -> None:
            server = Server.open(self.database_url)
            try:
                asyncio.run(work(server))
            finally:
                server.close()

        await asyncio.to_thread(beside)

    def journal(self, kind: str) -> list[Event]:
        """Events of that kind, oldest first."""
        with JournalStore.open(self.database_url) as journal:
            return [link.event for link in journal.tail(where=Filter(kind=kind))]

    # --- asking ----------------------------------------------------------------------------------------------------

    async def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """A call of the API as an admin's token. Raises Refused."""
        tls = ssl.create_default_context(cafile=str(self.ca))
        headers = {"Authorization": f"Bearer {self._token}", "Idempotency-Key": new_id()}
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as session,
            session.request(method, f"{self.url}/api/v1{path}", json=body, headers=headers) as response,
        ):
            answer = await response.json(content_type=None) if response.status != 204 else None
            if response.status >= 400:
                raise Refused(response.status, answer)
            return answer
