"""`backstay.server.run` in a process that a test kills and starts again: forked from one that has imported it.

So what a start costs is what it does, not what Python reads. Plain HTTP on loopback; an operator's token.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

import aiohttp

from backstay.journal.store import Database
from backstay.server.access.registry import Registry
from backstay.server.model import Role

PATIENCE_S = 60.0


def _serve(state_dir: str, port: int, database_url: str, estate: str | None) -> None:
    from backstay import logs
    from backstay.server.run import run
    from backstay.server.settings import load

    with (Path(state_dir) / "log").open("ab", buffering=0) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    logs.configure()
    base_url = f"http://127.0.0.1:{port}"
    settings = load(Path(state_dir), port=port, base_url=base_url, database_url=database_url)
    run(settings, estate=Path(estate) if estate else None)


def context() -> ForkServerContext:
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["backstay.server.run"])
    return found


class ServerProcess:
    """One server on a database that others may share."""

    def __init__(self, folder: Path, database_url: str, *, estate: Path | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.database_url = database_url
        self.estate = estate
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: ForkServerProcess | None = None

    def start(self) -> None:
        estate = str(self.estate) if self.estate else None
        self.process = context().Process(
            target=_serve, args=(str(self.folder), self.port, self.database_url, estate), daemon=True
        )
        self.process.start()

    def kill(self) -> None:
        """kill -9, and gone when this returns."""
        self._end(signal.SIGKILL)

    def stop(self) -> float:
        """SIGTERM; how long it took to end, in seconds."""
        began = time.monotonic()
        self._end(signal.SIGTERM)
        return time.monotonic() - began

    def _end(self, number: signal.Signals) -> None:
        assert self.process is not None and self.process.pid is not None
        os.kill(self.process.pid, number)
        self.process.join(PATIENCE_S)
        assert self.process.exitcode is not None, self.log()

    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text(errors="replace")[-3_000:] if path.exists() else ""

    async def ready(self, session: aiohttp.ClientSession) -> None:
        """Until it answers."""
        end = time.monotonic() + PATIENCE_S
        while True:
            with contextlib.suppress(aiohttp.ClientError, OSError):
                async with session.get(f"{self.url}/healthz"):
                    return
            assert self.process is not None and self.process.is_alive(), self.log()
            assert time.monotonic() < end, self.log()
            await asyncio.sleep(0.02)


def operator_token(database_url: str, role: Role = Role.OPERATOR) -> str:
    """Of an API token that was made over the database, as `backstay token create` does."""
    database = Database(database_url)
    try:
        _, secret = Registry(database).create_token("tests", role, actor="tests", reason="for a test")
    finally:
        database.close()
    return secret


def headers(token: str, key: str | None = None) -> dict[str, str]:
    found = {"Authorization": f"Bearer {token}"}
    return found if key is None else found | {"Idempotency-Key": key}


async def until(
    session: aiohttp.ClientSession, server: ServerProcess, path: str, found: Callable[[Any], bool], token: str
) -> Any:
    """The first answer of GET `path` for which `found(answer)` holds."""
    end = time.monotonic() + PATIENCE_S
    while True:
        async with session.get(server.url + path, headers=headers(token)) as response:
            answer = await response.json(content_type=None)
            if found(answer):
                return answer
        assert time.monotonic() < end, f"{answer}\n{server.log()}"
        await asyncio.sleep(0.02)
