"""What Prometheus reads of a real agent and a real server: clean by promtool, and all that dashboard and rules name."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from agent_rig import Rig, rig_of, until

from backstay.agent.link.enrolling import enrol
from backstay.estate.model import EngineKind
from real_server import RealServer

PROMTOOL = shutil.which("promtool")
INTEGRATIONS = Path(__file__).parents[3] / "integrations"
RULES = INTEGRATIONS / "prometheus"
DASHBOARD = INTEGRATIONS / "grafana" / "backstay.json"
NAME = re.compile(r"\bbackstay_[a-z0-9_]+")
HELP = re.compile(r"^# HELP (\S+)", re.MULTILINE)
SUFFIXES = ("_sum", "_count")  # of a summary

needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="no promtool on this machine")
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def texts() -> AsyncIterator[dict[str, str]]:
    """What each program says: an agent that follows a server, and that server."""
    rig = rig_of(EngineKind.HAPROXY)
    rig.write()
    folder = Path(tempfile.mkdtemp(prefix="bs-"))
    server = RealServer(folder / "server")
    try:
        await asyncio.gather(rig.start_webs(), server.start(rig.estate_file))
        await rig.start()
        token = server.join_token("lb1")
        await enrol(
            rig.state(), url=server.url, lb="lb1", join_token=token, ca=None, fingerprint=server.fingerprint
        )  # fmt: skip

        async def reported() -> bool:
            return 'backstay_server_agent_revision{lb="lb1"}' in await server_says(server)

        await until(reported, "the agent's report", explain=lambda: rig.log("lb1")[-3_000:])
        yield {"agent": await agent_says(rig), "server": await server_says(server)}
    finally:
        await server.stop()
        await rig.close()
        shutil.rmtree(folder)


async def agent_says(rig: Rig) -> str:
    connector = aiohttp.UnixConnector(path=str(rig.run / "lb1.sock"))
    async with aiohttp.ClientSession(connector=connector) as session:
        return await (await session.get("http://agent/metrics")).text()


async def server_says(server: RealServer) -> str:
    tls = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=str(server.ca)))
    headers = {"Authorization": f"Bearer {server.token}"}
    async with (
        aiohttp.ClientSession(connector=tls) as session,
        session.get(f"{server.url}/metrics", headers=headers) as response,
    ):
        assert response.status == 200
        return await response.text()


@needs_promtool
@pytest.mark.parametrize("program", ["agent", "server"])
async def test_promtool_finds_nothing_to_say(texts: dict[str, str], program: str) -> None:
    said = _promtool("check", "metrics", given=texts[program])
    assert said == ""


@pytest.mark.parametrize(
    "file", [DASHBOARD, RULES / "alerts.yml", RULES / "alerts_test.yml"], ids=lambda path: path.name
)
async def test_every_metric_that_is_named_exists(texts: dict[str, str], file: Path) -> None:
    known = {name for text in texts.values() for name in HELP.findall(text)}
    known |= {name + suffix for name in known for suffix in SUFFIXES}
    named = set(NAME.findall(file.read_text()))
    assert named, "it names no metric at all"
    assert named - known == set()


async def test_the_dashboards_panels_are_told_apart(texts: dict[str, str]) -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [tuple(panel["gridPos"].values()) for panel in panels]
    assert len(set(places)) == len(places)


@needs_promtool
async def test_the_rules_are_sound_and_do_what_they_say() -> None:
    _promtool("check", "rules", str(RULES / "alerts.yml"))
    _promtool("test", "rules", str(RULES / "alerts_test.yml"))
    _promtool("check", "config", "--syntax-only", str(RULES / "scrape.yml"))


def _promtool(*argv: str, given: str = "") -> str:
    assert PROMTOOL is not None
    done = subprocess.run(
        [PROMTOOL, *argv], input=given, capture_output=True, text=True, timeout=60, check=False, cwd=RULES
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr
