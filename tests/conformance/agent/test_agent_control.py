"""The control API: whatever is sent, the answer is one of problem details, and the agent goes on."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import aiohttp
import pytest
from agent_rig import Rig, change, free_port
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent_certificates import Authority
from backstay.agent.client import AgentClient, AgentFailed, AgentUnreachable, clients_for
from backstay.estate import load_file
from backstay.estate.model import EngineKind, FileSecret

pytestmark = pytest.mark.parametrize("kind", [EngineKind.NGINX], ids=str)

GARBAGE: list[tuple[str, str, bytes | None, int]] = [
    ("GET", "/", None, 404),
    ("GET", "/v1/nonsense", None, 404),
    ("DELETE", "/v1/status", None, 405),
    ("GET", "/v1/apply", None, 405),
    ("GET", "/v1/pools/nope", None, 404),
    ("GET", "/v1/pools/%00%ff/explain", None, 404),
    ("GET", "/v1/changes/nope/proof", None, 404),
    ("GET", "/v1/events?limit=-1", None, 422),
    ("GET", "/v1/events?limit=99999999999999999999", None, 422),
    ("POST", "/v1/changes", None, 422),
    ("POST", "/v1/changes", b"{", 422),
    ("POST", "/v1/changes", b"[" * 100_000, 422),
    ("POST", "/v1/changes", b"\xff\xfe", 422),
    ("POST", "/v1/changes", b"null", 422),
    ("POST", "/v1/changes", b'{"change": {"kind": "drain"}}', 422),
    ("POST", "/v1/changes", b'{"change": {}, "dry_run": 3}', 422),
    ("POST", "/v1/changes/01M82TVY1474J5PK61ARGHNA6C/undo", b'{"actor": "a", "reason": "b"}', 404),
    ("POST", "/v1/changes/nope/undo", b"{}", 422),
    ("POST", "/v1/events/ack", b'{"through": "../../etc/passwd"}', 422),
    ("POST", "/v1/plan", b'{"estate": "a: [", "more": 1}', 422),
    ("POST", "/v1/plan", b'{"estate": "a: ["}', 422),
    ("POST", "/v1/apply", b'{"estate": 3}', 422),
    ("POST", "/v1/apply", b" " * (9 * 2**20), 413),
]


async def _ask(rig: Rig, method: str, path: str, body: bytes | None) -> tuple[int, str, Any]:
    connector = aiohttp.UnixConnector(path=str(rig.run / "lb1.sock"))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.request(method, f"http://agent{path}", data=body) as response,
    ):
        return response.status, response.content_type, json.loads(await response.read())


async def test_garbage_gets_problem_details_and_harms_nothing(rig: Rig) -> None:
    await rig.start()
    for method, path, body, expected in GARBAGE:
        status, kind, answer = await _ask(rig, method, path, body)
        assert (status, kind) == (expected, "application/problem+json"), (method, path, answer)
        assert answer["status"] == expected
        assert answer["detail"]
        assert "Traceback" not in answer["detail"]
    await _raw_garbage(rig)
    await _fuzz(rig)
    assert (await rig.status())["in_sync"]
    assert "Traceback" not in rig.log()


async def _raw_garbage(rig: Rig) -> None:
    """What is no HTTP at all, and connections that just end."""
    chance = random.Random(5)
    for size in (0, 1, 100, 70_000):
        reader, writer = await asyncio.open_unix_connection(str(rig.run / "lb1.sock"))
        writer.write(chance.randbytes(size) + b"\r\n\r\n" if size else b"")
        writer.write_eof()
        async with asyncio.timeout(10):
            await reader.read()
        writer.close()


async def _fuzz(rig: Rig) -> None:
    """Bodies that are almost right."""
    json_values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
        max_leaves=5,
    )
    bodies: list[tuple[str, Any]] = []
    keys = st.sampled_from(["change", "dry_run", "estate", "plan", "actor", "reason", "through", "id", "kind", "node"])
    paths = st.sampled_from(["/v1/changes", "/v1/plan", "/v1/apply", "/v1/events/ack", "/v1/changes/nope/undo"])

    @settings(max_examples=60, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(paths, st.dictionaries(keys, json_values, max_size=4))
    def collect(path: str, body: Any) -> None:
        bodies.append((path, body))

    collect()
    for path, body in bodies:
        status, _, answer = await _ask(rig, "POST", path, json.dumps(body).encode())
        assert 400 <= status < 500, (path, body, answer)


async def test_metrics_are_in_the_text_format_and_tell_what_runs(rig: Rig) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    await rig.start()
    connector = aiohttp.UnixConnector(path=str(rig.run / "lb1.sock"))
    async with aiohttp.ClientSession(connector=connector) as session:
        text = await (await session.get("http://agent/metrics")).text()
        assert (await session.get("http://agent/healthz")).status == 200
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert all(family.documentation for family in families.values())
    assert all(name.startswith("backstay_") for name in families)
    assert families["backstay_engine_up"].samples[0].value == 1
    states = {
        sample.labels["backend"]: sample.labels["state"]
        for sample in families["backstay_backend_state"].samples
        if sample.value
    }
    assert states == {"web1": "active", "web2": "active", "web3": "active"}


async def test_events_are_collected_in_order_and_forgotten_when_acknowledged(rig: Rig) -> None:
    await rig.start()
    async with rig.client() as agent:
        first = await agent.events(limit=2)
        rest = await agent.events(after=first[-1]["id"])
        ids = [event["id"] for event in [*first, *rest]]
        assert ids == sorted(ids)
        await agent.ack_events(ids[-1])
        assert ids[0] not in [event["id"] for event in await agent.events()]


async def test_other_hosts_need_the_token_and_trust_the_authority(rig: Rig) -> None:
    authority = Authority(rig.folder)
    authority.pair(rig.folder / "agents.crt", rig.folder / "agents.key", "lb1")
    (rig.folder / "token").write_text("a-long-random-value\n")
    rig.estate["agents"] = {
        "port": free_port(rig.addresses["lb1"]),
        "token": {"file": "token"},
        "certificate": "agents.crt",
        "key": {"file": "agents.key"},
        "ca": "ca.crt",
    }
    rig.write()
    await rig.start()
    loaded = load_file(rig.estate_file)
    elsewhere = rig.folder / "no-socket-here"
    async with clients_for(loaded.estate, folder=loaded.folder, run=elsewhere)["lb1"] as agent:
        assert (await agent.status())["in_sync"]
        await agent.put_change(change("drain", "web2"))
    (rig.folder / "wrong").write_text("another-value\n")
    url = f"https://{rig.addresses['lb1']}:{rig.estate['agents']['port']}"
    async with AgentClient(
        "lb1", url=url, token=FileSecret(file="wrong"), ca_file=authority.file, folder=rig.folder
    ) as stranger:
        with pytest.raises(AgentFailed) as refused:
            await stranger.status()
        assert refused.value.status == 401
    async with AgentClient("lb1", url=url, token=FileSecret(file="token"), folder=rig.folder) as distrustful:
        with pytest.raises(AgentUnreachable, match="not trusted"):
            await distrustful.status()


async def test_a_client_says_why_nobody_answers_and_what_next(rig: Rig) -> None:
    async with rig.client() as agent:
        with pytest.raises(AgentUnreachable, match=r"Does .backstay agent run. run there") as found:
            await agent.status()
    assert not found.value.refused  # no socket at all: nothing is known of the agent
    loaded = load_file(rig.estate_file)
    async with clients_for(loaded.estate, folder=loaded.folder, run=rig.run)["lb1"] as agent:
        with pytest.raises(AgentUnreachable, match=r"names no agents\.token"):
            await agent.status()
