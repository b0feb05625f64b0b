"""An agent and its server, one of each, both real: enrolment, who is let in, what is refused, what is kept."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from agent_rig import Rig, rig_of, until

from backstay.agent.link.client import Misunderstood, NotLetIn, Untrusted, checked_url
from backstay.agent.link.enrolling import enrol
from backstay.agent.link.enrolment import Enrolment
from backstay.estate.model import EngineKind
from backstay.link.views import ServerView, StatusView
from real_server import RealServer

TOKEN_THAT_IS_NONE = "bsj_" + "0" * 43


class Pair:
    """An agent with its server."""

    def __init__(self, rig: Rig, server: RealServer) -> None:
        self.rig = rig
        self.server = server

    async def enrol(self, server: RealServer | None = None) -> Enrolment:
        """With `server`, by its fingerprint; the agent takes it up by itself."""
        of = server or self.server
        return await enrol(
            self.rig.state(),
            url=of.url,
            lb="lb1",
            join_token=of.join_token("lb1"),
            ca=None,
            fingerprint=of.fingerprint,
        )

    def alter(self, **keys: Any) -> dict[str, Any]:
        """Write other values into STATE/link.json, as an attacker, a clock or a mistake might; what was there."""
        file = self.rig.state().link
        before: dict[str, Any] = json.loads(file.read_text())
        fresh = file.with_suffix(".fresh")
        fresh.write_text(json.dumps(before | keys))
        fresh.rename(file)
        return before

    async def view(self) -> ServerView:
        status: StatusView = await self.rig.status()
        assert status["server"] is not None
        return status["server"]

    async def connects(self) -> None:
        async def connected() -> bool:
            status = await self.rig.status()
            return status["server"] is not None and status["server"]["connected"]

        await until(connected, "the agent follows its server", explain=lambda: self.rig.log("lb1")[-3_000:])

    async def told(self, kind: str) -> None:
        """Until the server has an event of that kind from this agent."""

        async def there() -> bool:
            return any(event.actor == "agent/lb1" for event in self.server.journal(kind))

        await until(there, f"{kind} in the server's journal", explain=lambda: self.rig.log("lb1")[-3_000:])

    async def says(self, words: str) -> None:
        """Until its status has `words` as what is wrong, and is not connected."""

        async def said() -> bool:
            view = (await self.rig.status())["server"]
            return view is not None and not view["connected"] and words in (view["error"] or "")

        await until(said, f"{words!r} in the status", explain=lambda: self.rig.log("lb1")[-3_000:])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair() -> AsyncIterator[Pair]:
    """Enrolled and connected; each test leaves it so."""
    rig = rig_of(EngineKind.HAPROXY)
    rig.write()
    folder = Path(tempfile.mkdtemp(prefix="bs-"))
    pair = Pair(rig, RealServer(folder / "server"))
    try:
        await asyncio.gather(rig.start_webs(), pair.server.start(rig.estate_file))
        await rig.start()
        await pair.enrol()
        await pair.connects()
        yield pair
    finally:
        await pair.server.stop()
        await rig.close()
        shutil.rmtree(folder)


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_an_agent_that_runs_takes_its_enrolment_up_by_itself_and_keeps_it_private(pair: Pair) -> None:
    status = await pair.rig.status()
    assert status["server"] is not None
    assert status["server"]["url"] == pair.server.url
    assert status["server"]["revision"] == 1
    assert status["estate_source"] == "file"  # the server's says the same: nothing was to be done
    for file in (pair.rig.state().link, pair.rig.state().followed):
        assert file.stat().st_mode & 0o777 == 0o600
    await pair.told("link.connected")


async def test_the_command_enrols_and_a_token_is_good_once_and_for_one_load_balancer(pair: Pair) -> None:
    token_file = pair.server.folder / "join"
    token_file.write_text(pair.server.join_token("lb1") + "\n")

    async def command() -> tuple[int, str]:
        argv = ["agent", "enrol", "--server", pair.server.url, "--as", "lb1", "--ca", str(pair.server.ca)]
        argv += ["--join-token-file", str(token_file), "--state-dir", str(pair.rig.state().root)]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "backstay.cli.main", *argv), stderr=asyncio.subprocess.PIPE, env=os.environ
        )
        _, said = await process.communicate()
        assert process.returncode is not None
        return process.returncode, said.decode()

    assert (await command())[0] == 0
    status, said = await command()
    assert status == 5, said
    assert "not good for lb1" in said
    await pair.connects()
    assert (await pair.view())["error"] is None  # the first enrolment is whole


@pytest.mark.parametrize(
    ("more", "error", "words"),
    [
        ({"join_token": TOKEN_THAT_IS_NONE}, NotLetIn, "not good for lb1"),
        ({"lb": "lb9"}, Misunderstood, "no load balancer"),
        ({"fingerprint": "sha256:" + "0" * 64}, Untrusted, "somebody stands between"),
        ({"url": "http://127.0.0.1:1"}, Misunderstood, "never goes unencrypted"),
    ],
    ids=["token", "load balancer", "fingerprint", "no TLS"],
)
async def test_an_enrolment_is_refused_by(
    pair: Pair, tmp_path: Path, more: dict[str, str], error: type[Exception], words: str
) -> None:
    asked = {"url": pair.server.url, "lb": "lb1", "join_token": TOKEN_THAT_IS_NONE}
    asked |= {"fingerprint": pair.server.fingerprint} | more
    state = type(pair.rig.state())(tmp_path)
    with pytest.raises(error, match=words):
        await enrol(state, ca=None, **asked)
    assert not state.link.exists()


async def test_a_certificate_that_another_authority_vouches_for_is_refused(pair: Pair, tmp_path: Path) -> None:
    other = RealServer(tmp_path / "other", port=1)
    other.make()
    before = pair.alter(ca=other.ca.read_text())
    await pair.says("does not vouch for")
    pair.alter(ca=before["ca"])
    await pair.connects()


async def test_another_server_is_refused_and_hears_nothing(pair: Pair) -> None:
    before = pair.alter(server="another-server")
    await pair.says("another server answers")
    reported = (await pair.server.call("GET", "/agents/lb1"))["report"]["at"]

    async def warned() -> bool:
        return any("another server" in warning for warning in (await pair.rig.status())["warnings"])

    await until(warned, "the warning")
    assert (await pair.server.call("GET", "/agents/lb1"))["report"]["at"] == reported
    pair.alter(server=before["server"])
    await pair.connects()


async def test_a_server_of_another_estate_is_refused(pair: Pair) -> None:
    pair.alter(estate="large")
    await pair.says("a load balancer of rig (enrolled for large)")
    pair.alter(estate="rig")
    await pair.connects()


async def test_a_damaged_enrolment_is_said_and_the_agent_goes_on_alone(pair: Pair) -> None:
    kept = pair.rig.state().link.read_text()
    pair.rig.state().link.write_text(kept[: len(kept) // 2])

    async def alone() -> bool:
        status = await pair.rig.status()
        return status["server"] is None and any("damaged" in warning for warning in status["warnings"])

    await until(alone, "the agent goes on alone")
    assert (await pair.rig.get())[0] == 200
    pair.rig.state().link.write_text(kept)
    await pair.connects()


async def test_a_credential_of_a_month_is_renewed_and_the_old_one_ends(pair: Pair) -> None:
    before = pair.alter(issued_at="2026-01-01T00:00:00Z")

    async def renewed() -> bool:
        return bool(json.loads(pair.rig.state().link.read_text())["credential"] != before["credential"])

    await until(renewed, "another credential")
    await pair.told("link.renewed")
    kept = pair.alter(credential=before["credential"])
    await pair.says("does not let this load balancer in")
    pair.alter(credential=kept["credential"])
    await pair.connects()


async def test_an_agent_that_was_revoked_says_so_goes_on_alone_and_may_be_enrolled_anew(pair: Pair) -> None:
    await pair.server.call("POST", "/agents/lb1/revoke", {"reason": "lost"})
    await pair.says("does not let this load balancer in")
    assert (await pair.rig.get())[0] == 200
    assert (await pair.server.call("GET", "/agents/lb1"))["revoked_at"] is not None
    await pair.enrol()
    await pair.connects()
    assert (await pair.server.call("GET", "/agents/lb1"))["revoked_at"] is None


async def test_an_estate_that_the_engine_refuses_is_told_and_changes_are_followed_all_the_same(pair: Pair) -> None:
    """The server takes any estate that holds; this load balancer runs another engine than it says."""
    rig = pair.rig
    wrong = rig.text.replace("engine: haproxy", "engine: nginx")
    sha256 = (await rig.status())["estate_sha256"]
    await pair.server.adopt(wrong)

    async def refused() -> bool:
        report = (await pair.server.call("GET", "/agents/lb1"))["report"]
        return "is a new start" in report["error"]

    await until(refused, "the refusal in the report", explain=lambda: rig.log("lb1")[-3_000:])
    assert (await rig.status())["estate_sha256"] == sha256
    body = {"selector": "node/web2", "kind": "drain", "reason": "kernel", "duration_s": 60}
    change = (await pair.server.call("POST", "/changes", body))["changes"][0]["id"]
    await rig.says("web2", "draining")
    await pair.server.call("POST", f"/changes/{change}/undo", {"reason": "done"})
    await rig.says("web2", "active")
    await pair.server.adopt(rig.text)

    async def calm() -> bool:
        view = await pair.view()
        return view["error"] is None and view["connected"]

    await until(calm, "the right estate", explain=lambda: rig.log("lb1")[-3_000:])


async def test_an_agent_without_an_estate_file_starts_from_the_servers(pair: Pair) -> None:
    rig = pair.rig
    await rig.end()
    rig.state().estate.unlink()
    file = rig.estate_file.rename(rig.estate_file.with_suffix(".away"))
    await rig.start()
    assert (await rig.status())["estate_source"] == "server"
    assert (await rig.status())["warnings"] == []
    await pair.connects()
    await rig.kill()
    await rig.start()  # now from what it has kept, whatever becomes of the server
    assert (await rig.status())["estate_source"] == "server"
    file.rename(rig.estate_file)
    await pair.connects()


async def test_a_url_is_https_and_a_host() -> None:
    assert checked_url("https://backstay.example.com:8443/") == "https://backstay.example.com:8443"
    for url in ("http://host", "https://", "https://host/path", "host:8443", "https://host?x=1"):
        with pytest.raises(Misunderstood):
            checked_url(url)
