"""Run now, over a real OpenSSH server: real Puppet, host keys, timeouts, long output, and a server that died."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from access_rig import Browser, Rig, an_app
from backstay.server.model import Role
from backstay.server.runs.judge import DEAD_AFTER
from backstay.server.runs.shell import Runs
from backstay.server.settings import RunSettings
from real_puppet import Puppet, needs_puppet
from real_sshd import Sshd, needs_sshd, new_host_key

pytestmark = needs_sshd

ESTATE = """
estate: runs
regions: {here: {zones: {z: {}}}}
nodes:
  web1: {zone: z, address: 127.0.0.21}
  web2: {zone: z, address: 127.0.0.22}
  gone: {zone: z, address: 127.0.0.23}   # nobody listens there
  other: {zone: z, address: 127.0.0.24}  # not the machine that we know by this name
"""
DEADLINE_S = 60.0


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    with Sshd(tmp_path / "sshd", ["127.0.0.21", "127.0.0.22", "127.0.0.24"]) as sshd:
        yield sshd


@asynccontextmanager
async def an_app_that_runs(
    tmp_path: Path, sshd: Sshd, *command: str, **more: Any
) -> AsyncIterator[tuple[Rig, Browser]]:
    known = [f"[{name}]:{sshd.port} {sshd.host_key}" for name in ("web1", "web2")]
    known.append(f"[other]:{sshd.port} {new_host_key(tmp_path / 'nobodys')}")
    (tmp_path / "known_hosts").write_text("\n".join(known) + "\n")
    runs = RunSettings(
        key=sshd.key, known_hosts=Path("known_hosts"), user=sshd.user, port=sshd.port, command=command, **more
    )
    async with an_app(tmp_path, estate_text=ESTATE, runs=runs) as rig:
        try:
            yield rig, await rig.user("otto", Role.OPERATOR)
        finally:
            await of(rig).close()


def of(rig: Rig) -> Runs:
    runs = rig.app.state.runs
    assert isinstance(runs, Runs)
    return runs


async def begin(browser: Browser, selector: str, **headers: str) -> dict[str, Any]:
    answer = await browser.post("/api/v1/runs", json={"selector": selector, "reason": "a test"}, headers=headers)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def until_over(browser: Browser, run: dict[str, Any]) -> dict[str, Any]:
    """Node -> how it ended."""
    end = time.monotonic() + DEADLINE_S
    while True:
        found = (await browser.get(f"/api/v1/runs/{run['id']}")).json()
        if found["ended_at"] is not None:
            return {node["node"]: node for node in found["nodes"]}
        assert time.monotonic() < end, found
        await asyncio.sleep(0.05)


async def printed(browser: Browser, run: dict[str, Any], node: str) -> dict[str, Any]:
    return dict((await browser.get(f"/api/v1/runs/{run['id']}/nodes/{node}/output")).json())


@needs_puppet
async def test_puppet_runs_on_the_chosen_nodes_and_only_where_the_host_key_is_known(tmp_path: Path, sshd: Sshd) -> None:
    puppet = Puppet(tmp_path)
    puppet.site.write_text(f"file {{ '{tmp_path}/made': content => 'by puppet' }}\n")
    # The "nodes" are one machine here, so they take turns: the first finds work to do, the second none.
    async with an_app_that_runs(tmp_path, sshd, *puppet.argv("node"), at_once=1) as (rig, otto):
        run = await begin(otto, "nodes/*")
        nodes = await until_over(otto, run)
        assert {name: node["state"] for name, node in nodes.items()} == {
            "web1": "changed",
            "web2": "unchanged",
            "gone": "unreachable",
            "other": "unreachable",
        }, nodes
        assert (nodes["web1"]["exit_code"], nodes["web2"]["exit_code"]) == (2, 0)
        assert "its host key is not that of" in nodes["other"]["error"]
        assert (tmp_path / "made").read_text() == "by puppet"
        output = await printed(otto, run, "web1")
        assert "/made" in output["text"] and "Applied catalog" in output["text"]

        started, ended = rig.journaled("run.started"), rig.journaled("run.ended")
        assert [event.actor for event in started] == ["otto"]
        assert ended[0].cause == started[0].id
        assert ended[0].data["states"] == {"changed": 1, "unchanged": 1, "unreachable": 2}
        assert sorted(ended[0].data["not_well"]) == ["gone", "other"]
        told = {event.subject: event.data["state"] for event in rig.journaled("run.node_ended")}
        assert told["node/web1"] == "changed"


async def test_output_is_shown_while_it_grows_and_a_command_that_lasts_too_long_is_ended(
    tmp_path: Path, sshd: Sshd
) -> None:
    command = ("sh", "-c", f"echo begun; echo $$ > {tmp_path}/pid; exec sleep 600")
    async with an_app_that_runs(tmp_path, sshd, *command, timeout_s=3.0) as (_, otto):
        run = await begin(otto, "node/web1")
        end = time.monotonic() + DEADLINE_S
        while (await printed(otto, run, "web1"))["text"] != "begun\n":
            assert time.monotonic() < end
            await asyncio.sleep(0.05)
        seen = (await otto.get(f"/api/v1/runs/{run['id']}")).json()
        assert seen["nodes"][0]["state"] == "running"
        nodes = await until_over(otto, run)
        assert nodes["web1"]["state"] == "timeout"
        assert "timeout_s" in nodes["web1"]["error"]
        pid = int((tmp_path / "pid").read_text())
        while Path(f"/proc/{pid}").exists():
            assert time.monotonic() < end, "it was not told to end"
            await asyncio.sleep(0.05)


async def test_long_output_keeps_its_beginning_and_its_end(tmp_path: Path, sshd: Sshd) -> None:
    many = "i=0; while [ $i -lt 40000 ]; do echo line $i of many; i=$((i+1)); done"
    script = f"echo first; {many}; printf '\\033[1mlast\\033[0m\\n'; exit 6"
    async with an_app_that_runs(tmp_path, sshd, "sh", "-c", script) as (_, otto):
        run = await begin(otto, "node/web1")
        nodes = await until_over(otto, run)
        assert (nodes["web1"]["state"], nodes["web1"]["exit_code"]) == ("failed", 6)
        output = await printed(otto, run, "web1")
        assert output["text"].startswith("first\n") and output["text"].endswith("last\n")
        assert output["left_out"] > 0 and "characters left out" in output["text"]


async def test_a_repetition_runs_nothing_again_and_what_was_asked_wrongly_runs_nothing(
    tmp_path: Path, sshd: Sshd
) -> None:
    async with an_app_that_runs(tmp_path, sshd, "sh", "-c", f"echo once >> {tmp_path}/ran") as (rig, otto):
        key = {"Idempotency-Key": "the-same-again"}
        run = await begin(otto, "node/web1", **key)
        await until_over(otto, run)
        assert (await begin(otto, "node/web1", **key))["id"] == run["id"]
        assert of(rig).under_way == 0
        assert (tmp_path / "ran").read_text() == "once\n"
        wrong = await otto.post("/api/v1/runs", json={"selector": "node/none", "reason": "a test"})
        assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid")
        listed = (await otto.get("/api/v1/runs")).json()["items"]
        assert [one["id"] for one in listed] == [run["id"]]


async def test_a_run_whose_server_died_is_ended_by_another_one(tmp_path: Path, sshd: Sshd) -> None:
    async with an_app_that_runs(tmp_path, sshd, "sleep", "600") as (rig, otto):
        run = await begin(otto, "node/web1")
        other = Runs(rig.server, rig.settings)
        await other.tidy()
        assert (await otto.get(f"/api/v1/runs/{run['id']}")).json()["ended_at"] is None
        rig.clock.move((DEAD_AFTER + timedelta(seconds=1)).total_seconds())
        await other.tidy()
        nodes = await until_over(otto, run)
        assert nodes["web1"]["state"] == "lost"


async def test_a_server_without_the_setting_runs_nothing_and_says_so(tmp_path: Path) -> None:
    async with an_app(tmp_path, estate_text=ESTATE) as rig:
        otto = await rig.user("otto", Role.OPERATOR)
        answer = await otto.post("/api/v1/runs", json={"selector": "node/web1", "reason": "a test"})
        assert (answer.status_code, answer.json()["code"]) == (409, "runs_off")
        page = await otto.get("/runs")
        assert page.status_code == 200 and "runs nothing on nodes" in page.text


async def test_the_pages_show_the_plan_the_run_and_what_was_printed(tmp_path: Path, sshd: Sshd) -> None:
    async with an_app_that_runs(tmp_path, sshd, "echo", "<b>hello</b>") as (rig, otto):
        plan = await otto.get("/runs/new?selector=node/web1")
        assert "echo" in plan.text and "web1" in plan.text
        form = {"selector": "node/web1", "reason": "a test", "ask": "ask-0001", "csrf": otto.csrf}
        begun = await otto.post("/runs", data=form)
        assert begun.status_code == 303, begun.text
        where = begun.headers["location"]
        await until_over(otto, {"id": where.rsplit("/", 1)[1]})
        assert "nothing to do" in (await otto.get(where)).text
        assert "&lt;b&gt;hello&lt;/b&gt;" in (await otto.get(f"{where}/web1")).text
        vera = await rig.user("vera", Role.VIEWER)
        assert (await vera.get(where)).status_code == 200
        assert (await vera.get(f"{where}/web1")).status_code == 403
