"""Nodes that every kind of source of indicators can read, as that kind finds them; what they count is set by the test.

web1, web2   answer
gone         nobody is there (for a kind that reads one place, there is nothing of it)
stuck        takes the connection, and says nothing (where a kind asks each node)
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from indicators_servers import Server, page

from backstay.audit.ports import IndicatorSource, Surroundings
from backstay.audit.sources import counters, exporter, file, prometheus, tier
from backstay.estate import Estate
from real_prometheus import Prometheus
from real_sshd import Sshd

ALIVE = ("web1", "web2")
STEP_S = 15.0
HISTORY = timedelta(minutes=30)


@dataclass
class World:
    """One source, and what is behind it."""

    source: IndicatorSource
    counter: str  # an indicator that counts, of every node
    end: datetime
    gone: str = "gone"  # who is not there
    stuck: str = ""  # who may say nothing, when `server` hangs; empty: this kind has no such thing
    server: Server | None = None
    patience_s: float = 2.0  # for all nodes, one of which says nothing: time enough for those that do
    memory: bool = False  # it knows what was
    restart: Callable[[], None] | None = None  # counters of web1 begin anew

    @property
    def start(self) -> datetime:
        return self.end - HISTORY

    async def read(self, *nodes: str, timeout_s: float = 30.0, **more: Any) -> Any:
        now = datetime.now(UTC)
        end = self.end if self.memory else now
        span = {"start": end - HISTORY, "end": end, "step_s": STEP_S} | more
        return await self.source.read(nodes, timeout_s=timeout_s, **span)


def around(folder: Path, addresses: Mapping[str, str], **more: Any) -> Surroundings:
    return Surroundings(addresses=addresses, base=folder, clock=lambda: datetime.now(UTC), **more)


class Counted:
    """A counter that grows each time it is looked at."""

    def __init__(self) -> None:
        self.value = 1_000.0

    def __call__(self) -> float:
        self.value += 10.0
        return self.value

    def restart(self) -> None:
        self.value = 0.0


# A history of samples every 15 s: web1's counter begins anew at the 60th, web2 has a gap of ten.


def history(end: datetime) -> dict[str, list[tuple[float, float]]]:
    begin_s = (end - HISTORY).timestamp()
    count = int(HISTORY.total_seconds() / STEP_S)
    web1 = [(begin_s + STEP_S * at, 100.0 * (at if at < 60 else at - 60)) for at in range(count)]
    web2 = [(begin_s + STEP_S * at, 100.0 * at) for at in range(count) if not 40 <= at < 50]
    return {"web1": web1, "web2": web2}


def whole(moment: datetime) -> datetime:
    """On a multiple of the step."""
    return datetime.fromtimestamp(moment.timestamp() // STEP_S * STEP_S, UTC)


@asynccontextmanager
async def file_world(folder: Path) -> AsyncIterator[World]:
    end = whole(datetime.now(UTC))
    lines = ["time,node,indicator,value"]
    for node, samples in history(end).items():
        lines += [f"{time_s},{node},context_switches_total,{value}" for time_s, value in samples]
    (folder / "samples.csv").write_text("\n".join(lines))
    source = file.indicators({"path": "samples.csv"}, around(folder, {}))
    yield World(source, "context_switches_total", end, memory=True)


@asynccontextmanager
async def prometheus_world(folder: Path) -> AsyncIterator[World]:
    """A real Prometheus with a history; what it says is of long ago, so nothing is scraped meanwhile."""
    end = whole(datetime.now(UTC) - timedelta(hours=3))
    lines = ["# TYPE node_load1 gauge"]
    for node, samples in history(end).items():
        lines += [f'node_load1{{instance="{node}:9100",job="node"}} 1 {time_s}' for time_s, _ in samples]
    lines.append("# TYPE node_context_switches counter")
    for node, samples in history(end).items():
        labels = f'instance="{node}:9100",job="node"'
        lines += [f"node_context_switches_total{{{labels}}} {value} {time_s}" for time_s, value in samples]
    with Prometheus(folder / "prometheus", history="\n".join([*lines, "# EOF", ""])) as server:
        nodes = {name: f"10.0.0.{number}" for number, name in enumerate((*ALIVE, "gone"), start=1)}
        source = prometheus.indicators({"url": server.url}, around(folder, nodes))
        yield World(source, "context_switches_total", end, memory=True)


@asynccontextmanager
async def exporter_world(folder: Path) -> AsyncIterator[World]:
    counted = {node: Counted() for node in ALIVE}

    def text(node: str) -> Callable[[], str]:
        ahead_s = time.time() + 86_400.0  # a clock that is a day ahead matters to nobody
        return lambda: (
            f"node_load1 0.5\nnode_context_switches_total {counted[node]()}\nnode_time_seconds {ahead_s}\n"
            'node_network_receive_drop_total{device="eth0"} 3\nnode_network_receive_drop_total{device="veth1"} 4\n'
        )

    async with AsyncExitStack() as stack:
        addresses = {"web1": "127.0.0.41", "web2": "127.0.0.42", "stuck": "127.0.0.43", "gone": "127.0.0.44"}
        first = await Server(page(text("web1"))).start(addresses["web1"])
        servers = [first, Server(page(text("web2"))), Server(page(str))]
        stack.push_async_callback(_stop, servers)
        for server, node in zip(servers[1:], ("web2", "stuck"), strict=True):
            await server.start(addresses[node], first.port)
        source = exporter.indicators({"port": first.port, "timeout_s": 60}, around(folder, addresses))
        yield World(
            source,
            "context_switches_total",
            datetime.now(UTC),
            stuck="stuck",
            restart=counted["web1"].restart,
            server=servers[-1],
        )


@asynccontextmanager
async def ssh_world(folder: Path) -> AsyncIterator[World]:
    """Two addresses of this machine, over a real sshd."""
    addresses = {"web1": "127.0.0.51", "web2": "127.0.0.52", "stuck": "127.0.0.53", "gone": "127.0.0.54"}
    with Sshd(folder / "sshd", [addresses[node] for node in ALIVE]) as sshd:
        (folder / "known_hosts").write_text("".join(f"[{node}]:{sshd.port} {sshd.host_key}\n" for node in addresses))
        stuck = await Server(page(str), until=b"\n").start(addresses["stuck"], sshd.port)
        settings = {"user": sshd.user, "key": {"file": str(sshd.key)}, "known_hosts": "known_hosts", "port": sshd.port}
        source = counters.indicators({**settings, "connect_timeout_s": 60}, around(folder, addresses))
        try:
            yield World(
                source, "context_switches_total", datetime.now(UTC), stuck="stuck", server=stuck, patience_s=5.0
            )
        finally:
            await stuck.stop()


ESTATE: dict[str, Any] = {
    "estate": "small",
    "regions": {"r": {"zones": {"z": {}}}},
    "nodes": {
        name: {"zone": "z", "address": f"127.0.0.{60 + number}"}
        for number, name in enumerate((*ALIVE, "gone", "lb1", "lb2", "lb3", "lb4"))
    },
    "clusters": {"web": {"members": list(ALIVE)}},
    "tiers": {"t": {"engine": "nginx", "members": ["lb1", "lb2", "lb3", "lb4"], "listen": "node"}},
    "services": {"app": {"hostnames": ["a.example.com"], "http_port": 80, "routes": [{"path": "/", "pool": "web"}]}},
    "pools": {"web": {"cluster": "web", "port": 8000}},
}


@asynccontextmanager
async def tier_world(folder: Path) -> AsyncIterator[World]:
    """Agents' pages on sockets: lb1 and lb2 answer, lb3 says nothing, lb4 is not there. Here the nodes are backends."""
    counted = {(lb, node): Counted() for lb in ("lb1", "lb2") for node in ALIVE}
    started = {"lb1": 1_000.0, "lb2": 1_000.0}

    def text(lb: str) -> Callable[[], str]:
        def said() -> str:
            lines = [f"backstay_agent_start_time_seconds {started[lb]}"]
            for node in ALIVE:
                labels = f'pool="web",backend="{node}"'
                lines.append(f"backstay_backend_share{{{labels}}} 1")
                lines.append(f'backstay_backend_requests_total{{{labels},outcome="success"}} {counted[lb, node]()}')
            return "\n".join(lines) + "\n"

        return said

    def restart() -> None:
        started["lb1"] = time.time()
        for node in ALIVE:
            counted["lb1", node].restart()

    sockets = folder / "run"
    sockets.mkdir()
    servers = [Server(page(text("lb1"))), Server(page(text("lb2"))), Server(page(str))]
    try:
        for number, server in enumerate(servers, start=1):
            await server.start_at(sockets / f"lb{number}.sock")
        estate = Estate.model_validate(ESTATE)
        addresses = {name: str(node.address) for name, node in estate.nodes.items()}
        source = tier.indicators(
            {"sockets": "run", "timeout_s": 60}, around(folder, addresses, estate=estate, state=folder)
        )
        yield World(source, tier.WORK, datetime.now(UTC), stuck="lb3", gone="lb4", restart=restart, server=servers[-1])
    finally:
        await _stop(servers)


async def _stop(servers: list[Server]) -> None:
    await asyncio.gather(*(server.stop() for server in servers))
