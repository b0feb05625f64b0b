"""A load balancer on loopback for the agent's tests: the real agent and engine, and web servers of the test's own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from backstay.agent.client import AgentClient, AgentError
from backstay.agent.lean import ENVIRONMENT
from backstay.agent.paths import StateFiles
from backstay.agent.start import make_engine
from backstay.balance.engines.binary import candidates, find
from backstay.change import ChangeRequest, UndoRequest, parse_request
from backstay.estate.model import EngineKind
from backstay.journal import Event, event_from_json, new_id

PATIENCE_S = 30.0
HOST = "app.example.com"


async def until(
    condition: Callable[[], Awaitable[Any]],
    what: str,
    patience_s: float = PATIENCE_S,
    explain: Callable[[], str] = lambda: "",
) -> Any:
    """Poll until `condition` gives something true, and return it; an agent that does not answer yet counts as false.

    `explain` is asked when that never came.
    """
    end = time.monotonic() + patience_s
    last = ""
    while True:
        try:
            if found := await condition():
                return found
        except (AgentError, aiohttp.ClientError, OSError) as error:
            last = repr(error)
        assert time.monotonic() < end, f"not within {patience_s:g} s: {what}; {last}\n{explain()}"
        await asyncio.sleep(0.05)


def free_port(address: str) -> int:
    with socket.create_server((address, 0)) as listener:
        return int(listener.getsockname()[1])


class Web:
    """One web server with a health port of its own. What it answers is set from the test."""

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address
        self.healthy = True  # what its health port says
        self.words = b"ok"  # in the body of the health page
        self.status = 200  # of what it serves
        self.delay_s = 0.0
        self.served = 0
        self._servers: list[asyncio.Server] = []

    async def start(self, port: int, health_port: int) -> None:
        self._servers = [
            await asyncio.start_server(self._serve, self.address, port),
            await asyncio.start_server(self._health, self.address, health_port),
        ]

    async def stop(self) -> None:
        for server in self._servers:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            while await reader.readuntil(b"\r\n\r\n"):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                self.served += 1
                body = self.name.encode()
                head = f"HTTP/1.1 {self.status} X\r\nContent-Length: {len(body)}\r\nX-Web: {self.name}\r\n\r\n"
                writer.write(head.encode() + body)
        writer.close()

    async def _health(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            while await reader.readuntil(b"\r\n\r\n"):
                status = "200 OK" if self.healthy else "503 Sick"
                head = f"HTTP/1.1 {status}\r\nContent-Length: {len(self.words)}\r\n\r\n"
                writer.write(head.encode() + self.words)
        writer.close()


class Rig:
    """Agents of one tier over three web servers, in a folder of their own."""

    def __init__(self, kind: EngineKind, lbs: tuple[str, ...] = ("lb1",)) -> None:
        self.kind = kind
        self.lbs = lbs
        self.folder = Path(tempfile.mkdtemp(prefix="bs-"))  # short: a socket's path has 107 bytes
        self.folder.chmod(0o711)
        self.run = self.folder / "run"
        self.estate_file = self.folder / "backstay.yaml"
        net = f"127.{random.randint(1, 250)}.{random.randint(1, 250)}"  # parallel runs keep apart
        self.addresses = {lb: f"{net}.{number}" for number, lb in enumerate(lbs, start=1)}
        self.webs = {name: Web(name, f"{net}.{10 + number}") for number, name in enumerate(("web1", "web2", "web3"))}
        self.http_port = free_port(f"{net}.1")
        self.port, self.health_port = free_port(f"{net}.10"), free_port(f"{net}.11")
        self.estate = self._estate()
        self.agents: dict[str, asyncio.subprocess.Process] = {}
        self.binary = find(kind, "newest").binary

    def _estate(self) -> dict[str, Any]:
        nodes = {lb: {"zone": "z", "address": address} for lb, address in self.addresses.items()}
        nodes |= {web.name: {"zone": "z", "address": web.address} for web in self.webs.values()}
        check = {"path": "/healthz", "port": self.health_port, "interval_s": 0.3, "rise": 1, "fall": 2, "timeout_s": 2}
        return {
            "estate": "rig",
            "regions": {"r": {"zones": {"z": {}}}},
            "nodes": nodes,
            "clusters": {"web": {"members": list(self.webs), "spare": 1}},
            "tiers": {"t": {"engine": self.kind.value, "members": list(self.lbs), "listen": "node"}},
            "services": {
                "app": {"hostnames": [HOST], "http_port": self.http_port, "routes": [{"path": "/", "pool": "web"}]}
            },
            "pools": {
                "web": {
                    "cluster": "web",
                    "port": self.port,
                    "check": check,
                    "slow_start_s": 0,
                    "rescale": {"every_s": 1},
                }
            },
        }

    def write(self) -> None:
        with self.estate_file.open("w", encoding="utf-8") as file:
            yaml.safe_dump(self.estate, file)

    @property
    def text(self) -> str:
        return self.estate_file.read_text(encoding="utf-8")

    def state(self, lb: str = "lb1") -> StateFiles:
        return StateFiles(self.folder / lb)

    # --- life ------------------------------------------------------------------------------------------------------

    async def start_webs(self) -> None:
        for web in self.webs.values():
            await web.start(self.port, self.health_port)

    async def start(self, lb: str = "lb1", *, wait: bool = True, **environment: str) -> None:
        """Start the agent as `backstay agent run` does; until what runs is what is desired."""
        argv = ["--estate", str(self.estate_file), "--as", lb, "--state-dir", str(self.state(lb).root)]
        argv += ["--run-dir", str(self.run), "--engine-binary", self.binary]
        with (self.folder / f"{lb}.log").open("ab") as log:
            self.agents[lb] = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "backstay.agent", *argv, stderr=log, env=os.environ | ENVIRONMENT | environment
            )
        if wait:
            await self.settled(lb)

    async def settled(self, lb: str = "lb1") -> None:
        async def ready() -> bool:
            status = await self.status(lb)
            return status["in_sync"] and status["engine"]["client_connections"] is not None

        await until(ready, f"{lb} runs what is desired", explain=lambda: self.log(lb)[-4_000:])

    async def kill(self, lb: str = "lb1") -> None:
        """kill -9."""
        self.agents[lb].kill()
        await self.agents[lb].wait()

    async def end(self, lb: str = "lb1") -> int:
        self.agents[lb].terminate()
        return await self.agents[lb].wait()

    def hang_up(self, lb: str = "lb1") -> None:
        self.agents[lb].send_signal(signal.SIGHUP)

    async def close(self) -> None:
        for process in self.agents.values():
            if process.returncode is None:
                process.kill()
                await process.wait()
        for lb in self.lbs:
            if self.state(lb).engine.exists():
                await make_engine(self.kind, self.state(lb), Path(self.binary)).stop(grace_s=0.2)
        os.environ.pop(f"BACKSTAY_{self.kind.name}", None)
        for web in self.webs.values():
            await web.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def engine_pid(self, lb: str = "lb1") -> int:
        return int((self.state(lb).engine / "run" / "engine.stat").read_text(encoding="ascii").split()[0])

    # --- asking ----------------------------------------------------------------------------------------------------

    def client(self, lb: str = "lb1") -> AgentClient:
        return AgentClient(lb, socket=self.run / f"{lb}.sock")

    async def status(self, lb: str = "lb1") -> Any:
        async with self.client(lb) as agent:
            return await agent.status()

    async def member(self, name: str, lb: str = "lb1") -> Any:
        async with self.client(lb) as agent:
            view = await agent.pool("web")
        return next(member for member in view["members"] if member["backend"] == name)

    async def says(self, name: str, state: str, lb: str = "lb1") -> Any:
        """Until the agent says that `name` is `state`; its view."""

        async def agreed() -> Any:
            member = await self.member(name, lb)
            return member if member["state"] == state else None

        return await until(agreed, f"{lb} says {name} is {state}", explain=lambda: self.log(lb)[-4_000:])

    async def events(self, lb: str = "lb1") -> list[Event]:
        async with self.client(lb) as agent:
            return [event_from_json(plain) for plain in await agent.events()]

    async def told(self, kind: str, lb: str = "lb1") -> Event:
        """Until an event of that kind is in the journal; the last one."""

        async def there() -> Event | None:
            found = [event for event in await self.events(lb) if event.kind == kind]
            return found[-1] if found else None

        return await until(there, f"an event {kind} of {lb}", explain=lambda: self.log(lb)[-4_000:])

    def log(self, lb: str = "lb1") -> str:
        return (self.folder / f"{lb}.log").read_text(encoding="utf-8", errors="replace")

    # --- users -----------------------------------------------------------------------------------------------------

    async def get(self, path: str = "/", lb: str = "lb1") -> tuple[int, str]:
        """One request on a connection of its own: status and the name of the web server that answered."""
        url = f"http://{self.addresses[lb]}:{self.http_port}{path}"
        async with (
            aiohttp.ClientSession() as session,
            session.get(url, headers={"Host": HOST}, timeout=aiohttp.ClientTimeout(total=10)) as response,
        ):
            return response.status, (await response.text()).strip()

    async def who_answers(self, count: int = 30, lb: str = "lb1") -> Counter[str]:
        return Counter([name for _, name in [await self.get(lb=lb) for _ in range(count)]])


def rig_of(kind: EngineKind, lbs: tuple[str, ...] = ("lb1",)) -> Rig:
    """Skips with the reason where there is no such engine."""
    if not candidates(kind):
        pytest.skip(f"no {kind} on this machine")
    return Rig(kind, lbs)


def change(kind: str, node: str, **more: Any) -> ChangeRequest:
    """A change as a command would ask for it."""
    body = {"id": new_id(), "kind": kind, "node": node, "actor": "alice", "reason": "kernel"}
    return parse_request(body | {"created_at": "2026-11-23T00:00:00Z"} | more)


UNDO = UndoRequest(actor="alice", reason="done")


class Users:
    """Clients that keep asking, over kept connections that nobody retries; `failed` must stay empty."""

    def __init__(self, rig: Rig, count: int = 8, lb: str = "lb1") -> None:
        self._rig, self._count, self._lb = rig, count, lb
        self._tasks: list[asyncio.Task[None]] = []
        self.answers: Counter[str] = Counter()
        self.failed: list[str] = []

    async def __aenter__(self) -> Users:
        self._tasks = [asyncio.create_task(self._ask()) for _ in range(self._count)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _ask(self) -> None:
        url = f"http://{self._rig.addresses[self._lb]}:{self._rig.http_port}/"
        timeout = aiohttp.ClientTimeout(total=20)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                try:
                    async with session.post(url, headers={"Host": HOST}, data=b"") as response:
                        name = await response.text()
                        self.answers[name if response.status == 200 else str(response.status)] += 1
                        if response.status != 200:
                            self.failed.append(f"status {response.status}")
                except (aiohttp.ClientError, OSError) as error:
                    self.failed.append(repr(error))
                await asyncio.sleep(0.005)
