"""An agent's life: kill -9 at any moment, restarts, signals, bad estates, other estates."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys

import pytest
from agent_rig import UNDO, Rig, Users, change, until

from backstay.agent.client import AgentError, AgentFailed, AgentRefused
from backstay.estate.model import EngineKind

pytestmark = pytest.mark.parametrize("kind", [EngineKind.NGINX], ids=str)


async def test_the_engine_serves_on_without_its_agent_and_the_next_one_adopts_it(rig: Rig) -> None:
    await rig.start()
    async with rig.client() as agent:
        await agent.put_change(change("drain", "web2"))
        await agent.put_change(change("weight", "web3", factor=0.5, duration_s=1))
    await rig.says("web2", "draining")
    pid = rig.engine_pid()
    await rig.kill()
    assert set(await rig.who_answers()) == {"web1", "web3"}
    async with Users(rig) as users:
        await rig.start()
        assert (await rig.member("web2"))["state"] == "draining"
        await until(lambda: _full_share(rig), "what became due meanwhile is carried out")
    assert users.failed == []
    assert rig.engine_pid() == pid
    (ended,) = [one for one in await _changes(rig) if one["kind"] == "weight"]
    assert ended["ended"]["by"] == "expired"


async def _full_share(rig: Rig) -> bool:
    return bool((await rig.member("web3"))["share"] == 1.0 and (await rig.told("weight.ended")))


async def _changes(rig: Rig) -> list[dict[str, object]]:
    async with rig.client() as agent:
        return [dict(one) for one in await agent.changes()]


async def test_a_kill_at_any_moment_of_a_drain_loses_no_acknowledged_change(rig: Rig) -> None:
    await rig.start()
    chance = random.Random(11)
    for attempt in range(4):
        drain = change("drain", f"web{attempt % 3 + 1}")
        asked = asyncio.create_task(_acknowledged(rig, drain))
        await asyncio.sleep(chance.uniform(0.0, 0.4))
        await rig.kill()
        acknowledged = await asked
        await rig.start()
        known = [one["id"] for one in await _changes(rig)]
        assert drain.id in known or not acknowledged
        if drain.id in known:
            await rig.says(drain.node, "draining")
            async with rig.client() as agent:
                await agent.undo(drain.id, UNDO)
        await rig.says(drain.node, "active")


async def _acknowledged(rig: Rig, drain: object) -> bool:
    try:
        async with rig.client() as agent:
            await agent.put_change(drain)  # type: ignore[arg-type]
    except AgentError:
        return False
    return True


async def test_sigterm_ends_the_agent_and_leaves_the_engine_serving(rig: Rig) -> None:
    await rig.start()
    pid = rig.engine_pid()
    assert await rig.end() == 0
    assert not (rig.run / "lb1.sock").exists()
    assert (await rig.get())[0] == 200
    assert rig.engine_pid() == pid


async def test_a_bad_estate_is_refused_on_sighup_and_a_good_one_taken(rig: Rig) -> None:
    await rig.start()
    before = await rig.status()
    good = rig.text
    rig.estate_file.write_text(good + "\nnonsense: true\n")
    rig.hang_up()
    refused = await rig.told("estate.refused")
    assert "nonsense" in refused.reason
    status = await rig.status()
    assert status["revision"] == before["revision"]
    assert any("nonsense" in warning for warning in status["warnings"])
    rig.estate["clusters"]["web"]["members"] = ["web1", "web2"]
    rig.write()
    rig.hang_up()
    await until(lambda: _backends(rig, 2), "the new estate is in force")
    assert set(await rig.who_answers()) == {"web1", "web2"}
    assert (await rig.status())["warnings"] == []


async def _backends(rig: Rig, count: int) -> bool:
    status = await rig.status()
    return bool(status["in_sync"] and status["pools"][0]["backends"] == count)


async def test_a_start_with_a_bad_estate_goes_on_with_the_last_good_one(rig: Rig) -> None:
    await rig.start()
    await rig.kill()
    good = rig.text
    rig.estate_file.write_text("estate: [broken")
    await rig.start()
    status = await rig.status()
    assert status["estate_source"] == "last-good"
    assert "refused" in status["warnings"][0]
    assert (await rig.get())[0] == 200
    rig.estate_file.write_text(good)
    rig.hang_up()
    await until(lambda: _source_is(rig, "file"), "the mended file is taken")


async def _source_is(rig: Rig, source: str) -> bool:
    return bool((await rig.status())["estate_source"] == source)


async def test_a_first_start_with_a_bad_estate_ends_with_every_fault(rig: Rig) -> None:
    rig.estate_file.write_text(rig.text + "\nnonsense: true\n")
    await rig.start(wait=False)
    assert await rig.agents["lb1"].wait() == 1
    assert "nonsense" in rig.log()
    assert "no last good estate" in rig.log()
    assert "Traceback" not in rig.log()


async def test_the_command_becomes_the_agent(rig: Rig) -> None:
    rig.estate_file.write_text("estate: [broken")
    argv = [sys.executable, "-m", "backstay.cli.main", "agent", "run", "--estate", str(rig.estate_file), "--as", "lb1"]
    argv += ["--state-dir", str(rig.state().root), "--run-dir", str(rig.run)]
    process = await asyncio.create_subprocess_exec(*argv, stderr=asyncio.subprocess.PIPE)
    _, said = await process.communicate()
    assert process.returncode == 1
    assert "no last good estate" in said.decode()


async def test_a_node_that_is_no_load_balancer_cannot_be_run_as(rig: Rig) -> None:
    rig.estate["tiers"]["t"]["members"] = ["web1"]
    rig.write()
    await rig.start(wait=False)
    assert await rig.agents["lb1"].wait() == 1
    assert "lb1 is in no tier" in rig.log()


async def test_an_applied_estate_is_planned_first_and_outlives_a_restart(rig: Rig) -> None:
    await rig.start()
    file_text = rig.text
    rig.estate["clusters"]["web"]["members"] = ["web1", "web2"]
    rig.write()
    applied, _ = rig.text, rig.estate_file.write_text(file_text)
    async with rig.client() as agent:
        assert (await agent.plan())["in_sync"]
        plan = await agent.plan(applied)
        assert not plan["in_sync"]
        assert plan["words"] == ["pool web: web3 leaves"]
        assert "web3" in plan["diff"]
        with pytest.raises(AgentRefused) as stale:
            await agent.apply(applied, plan="0000000000000000", actor="alice")
        assert stale.value.code == "stale_plan"
        with pytest.raises(AgentFailed) as bad:
            await agent.plan("estate: nonsense!")
        assert bad.value.status == 422
        done = await agent.apply(applied, plan=plan["digest"], actor="alice", reason="web3 is sold")
        assert done["revision"] != plan["digest"]
    await until(lambda: _backends(rig, 2), "web3 left")
    await rig.kill()
    await rig.start()
    assert await _backends(rig, 2)
    assert await _source_is(rig, "applied")
    # The last word wins: the file, once it is altered.
    rig.estate_file.write_text(file_text + "\n# touched\n")
    rig.hang_up()
    await until(lambda: _backends(rig, 3), "the altered file is in force")


async def test_a_second_agent_on_the_same_state_does_not_start(rig: Rig) -> None:
    await rig.start()
    first = rig.agents["lb1"]
    await rig.start(wait=False)
    assert await rig.agents["lb1"].wait() == 1
    assert "another process has this spool" in rig.log()
    rig.agents["lb1"] = first
    assert (await rig.status())["agent"]["pid"] == first.pid


async def test_damaged_state_is_said_and_survived(rig: Rig) -> None:
    await rig.start()
    async with rig.client() as agent:
        await agent.put_change(change("drain", "web2"))
    await rig.says("web2", "draining")
    await rig.kill()
    state = rig.state()
    state.checkpoint.write_text('{"format": 1, "health": [], "ramps": 3, "scales": {"web": 1}, "proofs": [{}]}')
    state.applied.write_text(json.dumps({"lb": 3}))
    state.changes.write_text("{")
    await rig.start()
    assert (await rig.member("web2"))["state"] == "draining"  # from the book's second copy
    await rig.told("changes.damaged")


async def test_a_second_sigterm_ends_it_at_once(rig: Rig) -> None:
    await rig.start()
    agent = rig.agents["lb1"]
    agent.send_signal(signal.SIGTERM)
    agent.send_signal(signal.SIGTERM)
    assert await agent.wait() in (0, 1)
    assert (await rig.get())[0] == 200
