"""What an agent costs, and what it does when the disk is full; two agents of one tier."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio
import yaml
from agent_rig import HOST, Rig, Users, change, rig_of, until
from aiohttp import web

from backstay.agent.client import AgentFailed
from backstay.agent.link.enrolling import enrol
from backstay.estate.model import EngineKind
from backstay.lab.hosts.pager import Pager
from backstay.notify import Outbox, Page
from real_server import RealServer

MEMORY_LIMIT_BYTES = 60_000_000
EXAMPLE = Path(__file__).parents[3] / "examples" / "serverdensity.yaml"


@pytest_asyncio.fixture
async def pager() -> AsyncIterator[tuple[Pager, str]]:
    """PagerDuty's Events API v2 on loopback, and its URL."""
    served = Pager()
    runner = web.AppRunner(served.app(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield served, f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[RealServer]:
    """Not started yet."""
    made = RealServer(tmp_path / "server")
    yield made
    await made.stop()


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


@pytest.mark.parametrize("kind", list(EngineKind), ids=str)
async def test_the_agent_stays_below_60_megabytes_with_the_demo_estate_a_server_and_load_and_after_a_page(
    rig: Rig, pager: tuple[Pager, str], server: RealServer
) -> None:
    demo = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    net = rig.addresses["lb1"].rsplit(".", 1)[0]
    for number, name in enumerate(demo["nodes"], start=100):
        demo["nodes"][name]["address"] = f"{net}.{number}"
    for name, web_server in rig.webs.items():
        demo["nodes"][name]["address"] = web_server.address
    demo["nodes"]["lb1"]["address"] = rig.addresses["lb1"]
    demo["tiers"]["wdc01"] |= {"engine": rig.kind.value, "listen": "node"}
    app = demo["services"]["app"]
    del app["tls"]
    app |= {"http_port": rig.http_port, "hostnames": [HOST]}
    demo["pools"]["web"] |= {"port": rig.port, "rescale": {"every_s": 1}}
    demo["pools"]["web"]["check"]["port"] = rig.health_port
    (rig.folder / "key").write_text("0123456789abcdef0123456789abcdef")
    demo["notify"] = {"pagerduty": {"routing_key": {"file": "key"}, "endpoint_url": pager[1]}}
    rig.estate = demo
    rig.write()
    page = Page(key="01KTAKEOVER", at=datetime.now(UTC), summary="lb2 took www over", source="lb1", subject="ip/www")
    Outbox(rig.state("lb1").root / "outbox").put(page, ["pagerduty"])
    await rig.start()
    await rig.told("page.delivered")
    assert list(pager[0].incidents) == [page.key]
    await server.start(rig.estate_file)
    token = server.join_token("lb1")
    await enrol(rig.state(), url=server.url, lb="lb1", join_token=token, ca=None, fingerprint=server.fingerprint)
    await until(lambda: _connected(rig), "the agent follows its server")
    pid = rig.agents["lb1"].pid
    async with Users(rig, count=16) as users, rig.client() as agent:
        plan = await agent.plan(rig.text)
        assert plan["digest"]
        await agent.put_change(change("drain", "web2", forced=True))
        await until(lambda: _asked(users, 1_500), "1,500 requests were answered")
        for _ in range(50):
            await agent.pools()
        await until(lambda: _stepped(rig), "the rescaler took a step")
    resident = resident_bytes(pid)
    assert resident < MEMORY_LIMIT_BYTES, f"{resident / 1e6:.1f} MB"


async def _connected(rig: Rig) -> bool:
    server = (await rig.status())["server"]
    return server is not None and bool(server["connected"])


async def _asked(users: Users, count: int) -> bool:
    return sum(users.answers.values()) >= count


async def _stepped(rig: Rig) -> bool:
    async with rig.client() as agent:
        return (await agent.explain("web"))["at"] is not None


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB. Ask for it before the rig: its engine must end before the disk. Skips where none can be had."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m,mode=0711", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("kind", [EngineKind.NGINX], ids=str)
async def test_a_full_disk_stops_neither_traffic_nor_health_checks_and_is_said(small_disk: Path, rig: Rig) -> None:
    rig.state("lb1").root.symlink_to(small_disk)
    await rig.start()
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    async with rig.client() as agent:
        with pytest.raises(AgentFailed) as refused:
            await agent.put_change(change("drain", "web2"))
        assert refused.value.status == 503
        assert "not in force" in refused.value.detail
    assert (await rig.member("web2"))["state"] == "active"
    assert (await rig.get())[0] == 200

    async def said() -> bool:
        return bool((await rig.status())["warnings"])

    await until(said, "the full disk is said")
    filler.unlink()
    again = change("drain", "web2")
    async with rig.client() as agent:
        await agent.put_change(again)
    await rig.says("web2", "draining")
    await rig.told("drain.failed")  # held in memory while the disk was full

    async def calm() -> bool:
        return (await rig.status())["warnings"] == []

    await until(calm, "nothing is left to say")


@pytest.mark.parametrize("engine", [EngineKind.HAPROXY], ids=str)
async def test_two_agents_of_a_tier_tell_each_other_their_signals(engine: EngineKind) -> None:
    rig = rig_of(engine, ("lb1", "lb2"))
    rig.write()
    try:
        await rig.start_webs()
        await asyncio.gather(rig.start("lb1"), rig.start("lb2"))
        rig.webs["web3"].delay_s = 0.05
        async with Users(rig, lb="lb1"), Users(rig, lb="lb2"):
            log = rig.state("lb1").rescale_log

            async def both() -> bool:
                lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
                return any('"lb":"lb1"' in line and '"lb":"lb2"' in line for line in lines)

            await until(both, "a step of lb1 counted the window of lb2")
            await rig.kill("lb2")

            async def alone() -> bool:
                """Half of the tier is a quorum (balance/rescale.py): the survivor goes on by what it sees itself."""
                last = log.read_text(encoding="utf-8").splitlines()[-1]
                return '"lb":"lb2"' not in last and '"frozen":null' in last and '"lb2":3' in last

            await until(alone, "lb1 goes on without lb2")
    finally:
        await rig.close()
