"""Simulated agents for `./run bench server`: a process of its own, one event loop, raw HTTP/1.1 over TLS.

Each holds a long poll on a connection of its own, kept alive, as a real agent does, and reports every `report_every_s`
on a new connection (a real one's is closed when it was idle for 15 s). Reads its task from stdin, one JSON line;
writes one line when all wait, and one for each revision that the last of them was told.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
from collections.abc import Callable
from typing import Any, cast

import uvloop

CONNECT_AT_ONCE = 20
WAIT_S = 30


class Exchange(asyncio.Protocol):
    """One connection: a request after the other, each with one answer."""

    def __init__(self, answered: Callable[[int, bytes, float], None]) -> None:
        self._answered = answered
        self._buffer = b""
        self._began_at = 0.0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are no subclasses

    def ask(self, request: bytes) -> None:
        assert self.transport is not None
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        if not self._buffer:
            self._began_at = time.monotonic()
        self._buffer += data
        head, blank, body = self._buffer.partition(b"\r\n\r\n")
        if not blank:
            return
        status = int(head[9:12])
        length = 0 if status == 204 else _length(head)
        if len(body) >= length:
            self._buffer = body[length:]
            self._answered(status, body[:length], self._began_at)


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise AssertionError(f"an answer without a length: {head!r}")


class Agents:
    """All of them, and what they were told when."""

    def __init__(self, task: dict[str, Any]) -> None:
        self.task = task
        self.tls = ssl.create_default_context(cafile=task["ca"])
        self.told: dict[int, list[float]] = {}
        self.known: dict[str, tuple[int, str]] = {}
        self.faults = 0
        self.report_every_s = 5.0
        self.all_wait = asyncio.Event()

    async def run(self) -> None:
        gate = asyncio.Semaphore(CONNECT_AT_ONCE)
        await asyncio.gather(*(self._begin(agent, gate) for agent in self.task["agents"]))
        await self.all_wait.wait()
        say({"waiting": len(self.known), "faults": self.faults})
        await asyncio.gather(*(self._report(number, agent) for number, agent in enumerate(self.task["agents"])))

    async def _connect(self, answered: Callable[[int, bytes, float], None]) -> Exchange:
        made = await asyncio.get_running_loop().create_connection(
            lambda: Exchange(answered), "127.0.0.1", self.task["port"], ssl=self.tls, server_hostname="127.0.0.1"
        )
        return made[1]

    async def _begin(self, agent: dict[str, str], gate: asyncio.Semaphore) -> None:
        lb = agent["lb"]

        def answered(status: int, body: bytes, at: float) -> None:
            self._answered(lb, status, body, at)
            exchange.ask(self._poll(agent))

        async with gate:
            exchange = await self._connect(answered)
        exchange.ask(self._poll(agent))

    def _answered(self, lb: str, status: int, body: bytes, at: float) -> None:
        if status == 204:
            return
        if status != 200:
            self.faults += 1
            return
        desired = json.loads(body)
        revision = desired["revision"]
        self.report_every_s = desired["report_every_s"]
        self.known[lb] = (revision, desired["estate_sha256"])
        times = self.told.setdefault(revision, [])
        times.append(at)
        if len(self.known) == len(self.task["agents"]):
            self.all_wait.set()
        if len(times) == len(self.task["agents"]):
            say({"revision": revision, "times": times, "faults": self.faults})

    def _poll(self, agent: dict[str, str]) -> bytes:
        revision, sha256 = self.known.get(agent["lb"], (-1, ""))
        have = f"&have={sha256}" if sha256 else ""
        path = f"/api/v1/agents/{agent['lb']}/desired?after={revision}&wait_s={WAIT_S}{have}"
        return self._head("GET", path, agent) + b"\r\n"

    def _head(self, method: str, path: str, agent: dict[str, str]) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{self.task['port']}"]
        return "".join(f"{line}\r\n" for line in [*lines, f"Authorization: Bearer {agent['credential']}"]).encode()

    async def _report(self, number: int, agent: dict[str, str]) -> None:
        """One report at once, spread over the time that all of them take; then again and again."""
        await asyncio.sleep(self.report_every_s * number / len(self.task["agents"]))
        while True:
            began = time.monotonic()
            done = asyncio.Event()
            status = 0

            def answered(found: int, _: bytes, __: float, done: asyncio.Event = done) -> None:
                nonlocal status
                status = found
                done.set()

            body = agent["report"].replace('"revision":0', f'"revision":{self.known[agent["lb"]][0]}').encode()
            head = self._head("POST", f"/api/v1/agents/{agent['lb']}/report", agent)
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            exchange = await self._connect(answered)
            exchange.ask(head + body)
            await done.wait()
            self.faults += status != 200
            assert exchange.transport is not None
            exchange.transport.close()
            await asyncio.sleep(max(0.0, self.report_every_s - (time.monotonic() - began)))


def say(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    uvloop.run(Agents(json.loads(sys.stdin.readline())).run())
