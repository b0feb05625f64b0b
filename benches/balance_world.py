"""The world of the balance bench: simulated backends and an open-loop client, each a process of its own.

    python -m benches.balance_world backends    stdin: a Stage as JSON, then a Weather a line; stdout: "ready"
    python -m benches.balance_world client      stdin: a Traffic as JSON; stdout: "ready", then the results as JSON

Backends sleep rather than compute: a request carries its work in seconds, a backend serves `slots` at a time, each
for work / speed, and the rest wait in order. So the CPU is no bottleneck, and every policy gets the same work.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from benches.harness import quantile

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
FAILED = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\nno"
REQUEST = b"POST / HTTP/1.1\r\nHost: app.example.com\r\nX-Work: %.6f\r\nContent-Length: 2\r\n\r\nhi"
CONNECTIONS_LIMIT = 2_000  # of a client to one load balancer; beyond, a request counts as failed
PATIENCE_S = 20.0  # after the last arrival


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Backends to simulate. The same number for each group; a group is what one policy balances."""

    groups: Sequence[Sequence[str]]  # addresses
    port: int
    slots: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """How the backends of every group do from now on."""

    speeds: Sequence[float]  # 1.0: a request takes its work
    failing: Sequence[float]  # share of requests that fail at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Poisson arrivals, the same to every target, with log-normal work."""

    targets: dict[str, int]  # policy -> port on 127.0.0.1
    rate_per_s: float
    work_mean_s: float
    work_cv: float  # standard deviation over mean
    seconds: float
    seed: int


Result = tuple[float, float, int]  # arrival since the start, time until the whole answer, status (0: none)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    results: dict[str, list[Result]]  # by policy
    late_p99_s: float  # how late requests left: large when the processor was short


class Backend:
    """A server with `slots` workers and a queue."""

    def __init__(self, slots: int, seed: int) -> None:
        self.slots, self.speed, self.failing = slots, 1.0, 0.0
        self.busy = 0
        self.waiting: deque[tuple[BackendConnection, float]] = deque()
        self.chance = random.Random(seed)

    def take(self, connection: BackendConnection, work_s: float) -> None:
        if self.failing and self.chance.random() < self.failing:
            connection.answer(FAILED)
        elif self.busy < self.slots:
            self._serve(connection, work_s)
        else:
            self.waiting.append((connection, work_s))

    def _serve(self, connection: BackendConnection, work_s: float) -> None:
        self.busy += 1
        asyncio.get_running_loop().call_later(work_s / self.speed, self._done, connection)

    def _done(self, connection: BackendConnection) -> None:
        self.busy -= 1
        if self.waiting:
            self._serve(*self.waiting.popleft())
        connection.answer(OK)


class BackendConnection(asyncio.Protocol):
    def __init__(self, backend: Backend) -> None:
        self.backend, self.data, self.closes = backend, b"", False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.data += data
        head, end, body = self.data.partition(b"\r\n\r\n")
        if not end or len(body) < 2:
            return
        self.data = b""
        lines = head.lower().split(b"\r\n")
        self.closes = b"connection: close" in lines
        work = next(line for line in lines if line.startswith(b"x-work:"))
        self.backend.take(self, float(work[7:]))

    def answer(self, response: bytes) -> None:
        if self.transport.is_closing():
            return
        self.transport.write(response)
        if self.closes:
            self.transport.close()


async def backends() -> None:
    stage = Stage(**json.loads(sys.stdin.readline()))
    loop = asyncio.get_running_loop()
    groups = []
    for group, addresses in enumerate(stage.groups):
        made = [Backend(stage.slots, 1_000 * group + number) for number in range(len(addresses))]
        for backend, address in zip(made, addresses, strict=True):
            await loop.create_server(partial(BackendConnection, backend), address, stage.port, backlog=512)
        groups.append(made)
    print("ready", flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        weather = Weather(**json.loads(line))
        for made in groups:
            for backend, speed, failing in zip(made, weather.speeds, weather.failing, strict=True):
                backend.speed, backend.failing = speed, failing


class ClientConnection(asyncio.Protocol):
    """A keep-alive connection with one request on it at a time."""

    def __init__(self, client: Client) -> None:
        self.client, self.data, self.waiting = client, b"", False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def ask(self, arrived_s: float, request: bytes) -> None:
        self.arrived_s, self.waiting, self.data = arrived_s, True, b""
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.data += data
        head, end, body = self.data.partition(b"\r\n\r\n")
        if not end:
            return
        length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0")
        if len(body) < int(length.partition(b":")[2]) or not self.waiting:
            return
        self.waiting = False
        self.client.finished(self.arrived_s, int(head[9:12]))
        if b"connection: close" in head.lower():
            self.transport.close()
        else:
            self.client.idle.append(self)

    def connection_lost(self, error: Exception | None) -> None:
        if self.waiting:
            self.waiting = False
            self.client.finished(self.arrived_s, 0)
        elif self in self.client.idle:
            self.client.idle.remove(self)


class Client:
    """All requests to one load balancer."""

    def __init__(self, port: int, start_s: float) -> None:
        self.port, self.start_s = port, start_s
        self.idle: list[ClientConnection] = []
        self.results: list[Result] = []
        self.asked = 0
        self.connecting: set[asyncio.Future[None]] = set()

    def ask(self, arrived_s: float, request: bytes) -> None:
        self.asked += 1
        while self.idle:
            connection = self.idle.pop()
            if not connection.transport.is_closing():
                connection.ask(arrived_s, request)
                return
        task = asyncio.ensure_future(self._ask_anew(arrived_s, request))
        self.connecting.add(task)
        task.add_done_callback(self.connecting.discard)

    async def _ask_anew(self, arrived_s: float, request: bytes) -> None:
        if self.asked - len(self.results) > CONNECTIONS_LIMIT:
            self.finished(arrived_s, 0)
            return
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: ClientConnection(self), "127.0.0.1", self.port
            )
        except OSError:
            self.finished(arrived_s, 0)
            return
        connection.ask(arrived_s, request)

    def finished(self, arrived_s: float, status: int) -> None:
        now_s = asyncio.get_running_loop().time()
        self.results.append((arrived_s - self.start_s, now_s - arrived_s, status))


async def client() -> None:
    traffic = Traffic(**json.loads(sys.stdin.readline()))
    loop = asyncio.get_running_loop()
    chance = random.Random(traffic.seed)
    sigma = math.sqrt(math.log1p(traffic.work_cv**2))
    mu = math.log(traffic.work_mean_s) - sigma * sigma / 2
    start_s = loop.time()
    clients = {name: Client(port, start_s) for name, port in traffic.targets.items()}
    print("ready", flush=True)
    due_s, late_s = start_s, []
    while True:
        due_s += chance.expovariate(traffic.rate_per_s)
        if due_s > start_s + traffic.seconds:
            break
        request = REQUEST % chance.lognormvariate(mu, sigma)
        if due_s > loop.time():
            await asyncio.sleep(due_s - loop.time())
        late_s.append(loop.time() - due_s)
        for one in clients.values():
            one.ask(due_s, request)
    deadline_s = loop.time() + PATIENCE_S
    while loop.time() < deadline_s and any(len(one.results) < one.asked for one in clients.values()):
        await asyncio.sleep(0.05)
    for one in clients.values():
        one.results += [(traffic.seconds, PATIENCE_S, 0)] * (one.asked - len(one.results))
    report = Report(results={name: one.results for name, one in clients.items()}, late_p99_s=quantile(late_s, 0.99))
    print(json.dumps(asdict(report)), flush=True)


class Role:
    """One of the two processes, from the bench's side."""

    def __init__(self, role: str) -> None:
        self.role = role

    async def start(self, given: Stage | Traffic) -> None:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "benches.balance_world",
            self.role,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=2**28,
        )
        self.tell(given)
        await asyncio.wait_for(self._line(), timeout=30)

    def tell(self, given: Stage | Traffic | Weather) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(asdict(given)).encode() + b"\n")

    async def report(self, timeout_s: float) -> Report:
        return Report(**json.loads(await asyncio.wait_for(self._line(), timeout=timeout_s)))

    async def _line(self) -> bytes:
        assert self.process.stdout is not None
        return await self.process.stdout.readline()

    async def stop(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


if __name__ == "__main__":
    asyncio.run({"backends": backends, "client": client}[sys.argv[1]]())
