"""What `./run bench server` measures: a real server with an estate of any size, its agents' credentials and reports."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
from sqlalchemy import insert, update

from backstay.estate import load_text
from backstay.journal import new_id
from backstay.journal.store import Database
from backstay.journal.wire import format_time
from backstay.server.access.model import Session, Via
from backstay.server.access.registry import Registry
from backstay.server.access.store.tables import credential
from backstay.server.access.tokens import Secret, digest, mint, session_cookie
from backstay.server.init import Initialised, Wanted, initialise
from backstay.server.model import Role
from backstay.server.store import DatabaseStore
from backstay.server.store.schema import agent, state

TESTS = Path(__file__).parents[1] / "tests"
sys.path.append(str(TESTS))  # the tests' PostgreSQL, and their reports of synthetic agents

from real_postgres import NoPostgres, RealPostgres  # noqa: E402
from server_agents import report_for  # noqa: E402

TIER = 4  # load balancers in a tier, and backends in its pool
READY_S = 120.0
TICKS = 100  # of /proc/PID/stat, a second


def estate_of(size: int) -> str:
    """`size` backends in pools of four, and as many load balancers in tiers of four, one tier a pool; 10 zones."""
    zones = [f"z{number}" for number in range(10)]
    regions = {
        f"r{number}": {
            "zones": {zone: {"paths": ["power-a", "power-b"]} for zone in zones[number * 2 : number * 2 + 2]}
        }
        for number in range(5)
    }
    nodes: dict[str, Any] = {}
    for number in range(size):
        place = {"zone": zones[number % 10], "paths": [f"power-{'ab'[number // 10 % 2]}"]}
        nodes[f"web{number}"] = place | {"address": f"10.1.{number // 250}.{number % 250 + 1}"}
        nodes[f"lb{number}"] = place | {"address": f"10.2.{number // 250}.{number % 250 + 1}"}
    groups = range(size // TIER)

    def names(word: str, group: int) -> list[str]:
        return [f"{word}{number}" for number in range(group * TIER, group * TIER + TIER)]

    with_ip = [group for group in groups if group % 25 == 0]
    estate = {
        "estate": "bench",
        "providers": {"by-hand": {"kind": "command", "owner": ["true"], "assign": ["true"]}},
        "global_ips": {
            f"ip{group}": {
                "address": f"203.0.113.{group // 25 + 1}",
                "provider": "by-hand",
                "candidates": names("lb", group),
            }
            for group in with_ip
        },
        "regions": regions,
        "nodes": nodes,
        "clusters": {f"web-{group}": {"members": names("web", group), "spare": 2} for group in groups},
        "tiers": {f"t{group}": {"engine": "nginx", "members": names("lb", group)} for group in groups},
        "services": {
            f"s{group}": {
                "tiers": [f"t{group}"],
                "hostnames": [f"s{group}.example.com"],
                "routes": [{"path": "/", "pool": f"p{group}"}],
            }
            for group in groups
        },
        "pools": {f"p{group}": {"cluster": f"web-{group}", "port": 8000} for group in groups},
    }
    return json.dumps(estate)  # JSON is YAML


@contextlib.contextmanager
def database_of(kind: str, folder: Path) -> Iterator[str]:
    """The URL of an empty database. Raises NoPostgres."""
    if kind == "SQLite":
        yield f"sqlite:///{folder / 'server.db'}"
        return
    postgres = RealPostgres(durable=True)
    try:
        postgres.start()
        yield postgres.create_database("bench")
    finally:
        postgres.stop()


@dataclass(slots=True)
class World:
    """A server that runs, and a client that may do everything."""

    made: Initialised
    process: subprocess.Popen[bytes]
    session: aiohttp.ClientSession
    url: str
    port: int
    token: str
    cookie: dict[str, str]

    def cpu_s(self) -> float:
        """What the server has used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def resident_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024

    async def put(self, node: str) -> tuple[int, float, float]:
        """A change of that node: its revision, when it was asked for, and how long the answer took."""
        body = {"selector": f"node/{node}", "kind": "weight", "factor": 0.5, "reason": "bench", "duration_s": 3600}
        headers = {"Authorization": f"Bearer {self.token}", "Idempotency-Key": new_id()}
        began = time.monotonic()
        async with self.session.post(f"{self.url}/api/v1/changes", json=body, headers=headers) as response:
            plan = await response.json()
            assert response.status == 201, plan
        return plan["revision"], began, time.monotonic() - began

    async def page(self, path: str) -> tuple[int, int, float]:
        """Status, bytes of HTML, and how long it took, asked by a browser that is logged in."""
        began = time.monotonic()
        async with self.session.get(self.url + path, cookies=self.cookie, allow_redirects=False) as response:
            body = await response.read()
        return response.status, len(body), time.monotonic() - began


@contextlib.asynccontextmanager
async def world(kind: str, size: int) -> AsyncIterator[World]:
    """A server over that database with an estate of `size` backends and as many load balancers, nobody enrolled."""
    with tempfile.TemporaryDirectory(prefix="backstay-bench-") as name:
        folder = Path(name)
        (folder / "estate.yaml").write_text(estate_of(size))
        with database_of(kind, folder) as url, socket.create_server(("127.0.0.1", 0)) as free:
            port = int(free.getsockname()[1])
            free.close()
            wanted = Wanted(
                state_dir=folder / "state", names=("127.0.0.1",), listen="127.0.0.1", port=port, database_url=url
            )
            made = initialise(wanted, datetime.now(UTC))
            token, cookie = _credentials(made)
            argv = ["server", "run", "--state-dir", str(folder / "state"), "--estate", str(folder / "estate.yaml")]
            with (folder / "log").open("wb") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "backstay.cli.main", *argv], stdout=log, stderr=log
                )  # fmt: skip
            tls = ssl.create_default_context(cafile=str(made.ca))
            connector = aiohttp.TCPConnector(ssl=tls)
            try:
                async with aiohttp.ClientSession(connector=connector) as session:
                    found = World(made, process, session, f"https://127.0.0.1:{port}", port, token, cookie)
                    await _ready(found, folder / "log")
                    yield found
            finally:
                process.terminate()
                process.wait(30)


async def _ready(found: World, log: Path) -> None:
    end = time.monotonic() + READY_S
    while True:
        with contextlib.suppress(aiohttp.ClientError, OSError):
            async with found.session.get(f"{found.url}/healthz"):
                return
        if found.process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"the server did not start: {log.read_text()[-2_000:]}")
        await asyncio.sleep(0.1)


def _credentials(made: Initialised) -> tuple[str, dict[str, str]]:
    """A token, and the cookie of a session, both of an admin."""
    database = Database(made.settings.database)
    try:
        DatabaseStore(database)
        registry = Registry(database)
        _, token = registry.create_token("bench", Role.ADMIN, actor="bench", reason="bench")
        user = registry.add_user("bench", Role.ADMIN, actor="bench", reason="bench")
        now, secret = datetime.now(UTC), mint(Secret.SESSION)
        session = Session(
            id=new_id(), user=user.name, via=Via.PASSWORD, address="127.0.0.1", created_at=now, seen_at=now
        )
        told = registry.event("user.logged_in", "user/bench", "bench", "bench")
        registry.people.begin_session(session, digest(secret), [told])
    finally:
        database.close()
    return token, {session_cookie(made.settings): secret}


def enrol(made: Initialised, lbs: Sequence[str], reports: dict[str, str]) -> list[dict[str, str]]:
    """Agents with credentials of their own, as enrolment leaves them: straight into the tables, to save minutes."""
    now = format_time(datetime.now(UTC))
    agents = [{"lb": lb, "credential": mint(Secret.CREDENTIAL), "report": reports[lb]} for lb in lbs]
    database = Database(made.settings.database)
    try:
        with database.writing() as connection:
            mark = connection.execute(
                update(state).values(agents=state.c.agents + 1).returning(state.c.agents)
            ).scalar_one()  # fmt: skip
            connection.execute(
                insert(credential),
                [
                    {"digest": digest(one["credential"]), "lb": one["lb"], "created_at": now, "used": True}
                    for one in agents
                ],
            )
            connection.execute(insert(agent), [{"lb": lb, "mark": mark, "enrolled_at": now} for lb in lbs])
    finally:
        database.close()
    return agents


def reports_of(size: int) -> dict[str, str]:
    """A report of each load balancer, as the real agent's code makes it; the same for all of one tier but its name."""
    text = estate_of(size)
    estate = load_text(text, "bench", Path()).estate
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    found: dict[str, str] = {}
    for tier in estate.tiers.values():
        made = report_for(estate, tier.members[0], revision=0, at=datetime.now(UTC), estate_sha256=sha256)
        for lb in tier.members:
            found[lb] = made.model_copy(update={"lb": lb, "status": made.status | {"lb": lb}}).model_dump_json()
    return found


@contextlib.asynccontextmanager
async def agents_of(found: World, agents: list[dict[str, str]]) -> AsyncIterator[asyncio.StreamReader]:
    """The agents, all waiting; what they say, line by line."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benches.server_polls",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=16 * 1024 * 1024,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        task = {"agents": agents, "port": found.port, "ca": str(found.made.ca)}
        process.stdin.write(json.dumps(task).encode() + b"\n")
        await process.stdin.drain()
        while "waiting" not in json.loads(await asyncio.wait_for(process.stdout.readline(), READY_S)):
            pass
        yield process.stdout
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


__all__ = ["NoPostgres", "World", "agents_of", "enrol", "estate_of", "reports_of", "world"]
