"""Requests lost while backends are drained and weights change, under clients that retry nothing.

./run bench drain [--short]

100 keep-alive clients send POSTs with idle gaps of 0 to 20 ms; meanwhile a backend is drained and brought back 20
times, and weights change 20 times. A request is unanswered when its connection ends without an answer, cannot be made,
or is silent for 5 s; it is wrong when the answer is another's, or an error.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from typing import Protocol as Interface

from backstay.balance.desired import revision_of
from backstay.balance.engines.binary import candidates, load_engine
from backstay.balance.model import (
    Backend,
    BackendState,
    Desired,
    DesiredPool,
    DesiredRoute,
    EngineVersion,
    HttpService,
)
from backstay.balance.ports import Engine
from backstay.estate.model import Balance, Check, EngineKind, Protocol
from benches.harness import Bench
from benches.plain_engines import PlainEngine

CASE = "drain"
OURS = "Backstay"
CLIENTS = 100
THINK_MS = 20
ADDRESS = f"127.{os.getpid() % 250 + 2}.{os.getpid() // 250 % 250 + 1}.1"  # ours: benches side by side do not collide
BACKENDS = ("web1", "web2", "web3", "web4")
BACKEND_PROCESSES = 2
TIMEOUT_S = 5.0  # an answer that takes longer is none

Shares = Mapping[str, float]  # of each backend; 0.0: drained


class Subject(Interface):
    async def start(self, shares: Shares, ports: Mapping[str, int]) -> None: ...
    async def change(self, shares: Shares, ports: Mapping[str, int]) -> None: ...
    async def stop(self) -> None: ...


class Backstay:
    """A real engine behind Backstay's own adapter."""

    def __init__(self, version: EngineVersion, folder: Path, port: int) -> None:
        self._engine: Engine = load_engine(version.kind)(folder / "engine", version)
        self._kind, self._port = version.kind, port

    async def start(self, shares: Shares, ports: Mapping[str, int]) -> None:
        await self._engine.apply(self._desired(shares, ports))

    async def change(self, shares: Shares, ports: Mapping[str, int]) -> None:
        await self._engine.apply(self._desired(shares, ports))

    async def stop(self) -> None:
        await self._engine.stop(grace_s=1.0)

    def _desired(self, shares: Shares, ports: Mapping[str, int]) -> Desired:
        pool = DesiredPool(
            name="web",
            protocol=Protocol.HTTP,
            balance=Balance.LEAST_CONNECTIONS,
            backends=tuple(
                Backend(
                    name=name,
                    address=ADDRESS,
                    port=ports[name],
                    state=BackendState.ACTIVE if share else BackendState.DRAINING,
                    share=share or 1.0,
                )
                for name, share in shares.items()
            ),
            check=Check(path="/healthz", interval_s=1.0),
            slow_start_s=1.0,
            connect_timeout_s=2.0,
            response_timeout_s=60.0,
        )
        service = HttpService(
            name="app",
            hostnames=("app.example.com",),
            http_port=self._port,
            https_port=443,
            tls=None,
            redirect_http=False,
            header_limit_kb=16,
            body_limit_mb=1,
            routes=(DesiredRoute(path="/", pool="web", websocket=False),),
        )
        desired = Desired(
            estate="bench",
            lb="lb1",
            engine=self._kind,
            listen=(ADDRESS,),
            services=(service,),
            pools=(pool,),
            revision="",
        )
        return replace(desired, revision=revision_of(desired))


def changes(rounds: int) -> list[dict[str, float]]:
    """Per round: one backend is drained, brought back, and another's weight changes."""
    shares = dict.fromkeys(BACKENDS, 1.0)
    found = []
    for number in range(rounds):
        drained, heavier = BACKENDS[number % len(BACKENDS)], BACKENDS[(number + 1) % len(BACKENDS)]
        found.append({**shares, drained: 0.0})
        found.append(dict(shares))
        shares[heavier] = 0.5 if shares[heavier] == 1.0 else 1.0
        found.append(dict(shares))
    return found


@dataclass(slots=True)
class Clients:
    """The closed loop of `python -m backstay.look.traffic`, followed through its report."""

    process: asyncio.subprocess.Process
    sent: int = 0
    summary: dict[str, Any] = field(default_factory=dict)

    @classmethod
    async def start(cls, port: int) -> Clients:
        options = {
            "--address": ADDRESS,
            "--port": port,
            "--host": "app.example.com",
            "--clients": CLIENTS,
            "--think-ms": THINK_MS,
            "--post-share": 1,
            "--body-bytes": 64,
            "--timeout": TIMEOUT_S,
            "--report-every": 0.1,
        }
        words = [str(word) for option in options.items() for word in option]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "backstay.look.traffic", *words, stdout=asyncio.subprocess.PIPE
        )
        return cls(process)

    async def follow(self) -> None:
        """Read the report to its end."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            entry = json.loads(line)
            if entry["type"] == "progress":
                self.sent = entry["sent_total"]
            elif entry["type"] == "summary":
                self.summary = entry

    async def reached(self, count: float) -> None:
        while self.sent < count and self.process.returncode is None:
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def backends() -> AsyncIterator[dict[str, int]]:
    """Name -> port of the backends, in processes of their own."""
    ports = {name: free_port() for name in BACKENDS}
    listed = list(ports.values())
    processes = []
    try:
        for number in range(BACKEND_PROCESSES):
            words = [str(port) for port in listed[number::BACKEND_PROCESSES]]
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "benches.echo", ADDRESS, *words, stdout=asyncio.subprocess.PIPE
            )
            processes.append(process)
            assert process.stdout is not None
            await asyncio.wait_for(process.stdout.readline(), 10)
        yield ports
    finally:
        for process in processes:
            process.kill()
            await process.wait()


def free_port() -> int:
    with socket.create_server((ADDRESS, 0)) as server:
        port: int = server.getsockname()[1]
        return port


def subjects(bench: Bench) -> dict[str, EngineVersion]:
    """What is measured: a name, and the binary under it. Which binaries are missing here is noted."""
    found: dict[str, EngineVersion] = {}
    for kind in EngineKind:
        usable = candidates(kind)
        if not usable:
            bench.note(f"No {kind} on this machine: its rows are missing.")
            continue
        newest = max(usable, key=lambda version: version.version)
        oldest = min(usable, key=lambda version: version.version)
        found[f"{OURS} on {label(newest)}"] = newest
        found[f"plain reload, {label(newest)}"] = newest
        if kind is EngineKind.NGINX and oldest != newest:
            found[f"plain reload, {label(oldest)}"] = oldest
    return found


def label(version: EngineVersion) -> str:
    major, minor, _ = version.version
    return f"{version.kind} {major}.{minor}"


async def measure(bench: Bench, name: str, version: EngineVersion, requests: int, rounds: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="backstay-bench-"))
    folder.chmod(0o711)  # the engines' unprivileged workers pass through
    port = free_port()
    subject: Subject
    if name.startswith(OURS):
        subject = Backstay(version, folder, port)
    else:
        subject = PlainEngine(version.kind.value, version.binary, folder, ADDRESS, port)
    planned = changes(rounds)
    took_ms = []
    async with backends() as ports:
        try:
            await subject.start(dict.fromkeys(BACKENDS, 1.0), ports)
            clients = await Clients.start(port)
            following = asyncio.create_task(clients.follow())
            await clients.reached(requests / (len(planned) + 1))
            for number, shares in enumerate(planned, start=2):
                began = time.perf_counter()
                await subject.change(shares, ports)
                took_ms.append((time.perf_counter() - began) * 1e3)
                await clients.reached(requests * number / (len(planned) + 1))
            clients.process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(following, TIMEOUT_S * 4)
            await clients.process.wait()
        finally:
            await subject.stop()
            shutil.rmtree(folder, ignore_errors=True)
    keep(bench, name, clients.summary, len(planned), statistics.median(took_ms))


def keep(bench: Bench, name: str, summary: Mapping[str, Any], count: int, took_ms: float) -> None:
    wrong = summary["bad_status"] + summary["wrong"]
    bench.record(
        CASE,
        name,
        requests=summary["sent"],
        changes=count,
        unanswered=summary["unanswered"],
        wrong=wrong,
        lost_per_million=1e6 * (summary["unanswered"] + wrong) / summary["sent"],
        change_ms_p50=took_ms,
        requests_per_s=summary["sent_per_s"],
        latency_ms_p99=summary["latency_ms_p99"],
    )
    if name.startswith(OURS):
        met = summary["unanswered"] == 0 and wrong == 0
        measured = f"{summary['unanswered']} and {wrong} of {summary['sent']:,}"
        bench.check(CASE, f"{name}: 0 unanswered, 0 wrong", met=met, measured=measured)


async def drain(bench: Bench) -> None:
    """100 keep-alive clients, POSTs that nobody retries; drains, undrains and weight changes meanwhile."""
    requests, rounds = (9_000, 4) if bench.short else (150_000, 20)
    found = subjects(bench)
    for name, version in found.items():
        bench.version(f"{version.kind} ({version.origin})", ".".join(str(part) for part in version.version))
        await measure(bench, name, version, requests, rounds)
    for ours, version in found.items():
        for peer in found:
            if ours.startswith(OURS) and not peer.startswith(OURS) and found[peer].kind is version.kind:
                bench.ratio(CASE, "lost_per_million", ours, peer)


if __name__ == "__main__":
    sys.exit(Bench("drain", "requests lost under drains and weight changes", cases={CASE: drain}).run())
