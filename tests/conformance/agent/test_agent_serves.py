"""What an agent is for: it serves, drains with a proof, weighs, keeps sick backends out, and guards."""

from __future__ import annotations

import os
import signal

import pytest
from agent_rig import UNDO, Rig, Users, change, until

from backstay.agent.client import AgentFailed, AgentRefused


async def test_a_drain_loses_nothing_and_is_proven(rig: Rig) -> None:
    await rig.start()
    for web in rig.webs.values():
        web.delay_s = 0.05  # so that something is in flight when the drain begins
    drain = change("drain", "web2")
    async with Users(rig) as users, rig.client() as agent:
        await until(lambda: _count(users, "web2", 20), "web2 serves")
        answer = await agent.put_change(drain)
        assert answer["verdict"]["allowed"]
        await rig.says("web2", "draining")

        async def proven() -> bool:
            proofs = await agent.proof(drain.id)
            return bool(proofs) and proofs[0]["done"]

        await until(proven, "the drain is proven")
        served = rig.webs["web2"].served
        before = sum(users.answers.values())
        await until(lambda: _count_all(users, before + 60), "traffic goes on")
        assert rig.webs["web2"].served == served
        (proof,) = await agent.proof(drain.id)
        assert proof["lost"] == 0, proof
        assert "web2" in proof["detail"]
        await agent.undo(drain.id, UNDO)
        await rig.says("web2", "active")
        await until(lambda: _more_served(rig, "web2", served), "web2 serves again")
    assert users.failed == []
    kinds = [event.kind for event in await rig.events()]
    for kind in ("drain.started", "engine.applied", "drain.taken", "drain.done", "drain.ended"):
        assert kind in kinds


async def _count(users: Users, name: str, least: int) -> bool:
    return users.answers[name] >= least


async def _count_all(users: Users, least: int) -> bool:
    return sum(users.answers.values()) >= least


async def _more_served(rig: Rig, name: str, than: int) -> bool:
    return rig.webs[name].served > than


async def test_the_guard_refuses_the_second_drain_and_force_overrides(rig: Rig) -> None:
    await rig.start()
    async with rig.client() as agent:
        first = change("drain", "web1")
        await agent.put_change(first)
        assert (await agent.put_change(first))["verdict"]["code"] == "already"
        dry = await agent.put_change(change("drain", "web2"), dry_run=True)
        assert not dry["verdict"]["allowed"]
        with pytest.raises(AgentRefused) as refused:
            await agent.put_change(change("drain", "web2"))
        assert refused.value.code == "spare"
        assert refused.value.figures["needed"] == 2
        assert (await agent.put_change(change("drain", "web2", forced=True)))["verdict"]["overridden"]
        await rig.says("web2", "draining")
        with pytest.raises(AgentFailed) as unknown:
            await agent.put_change(change("drain", "nobody"))
        assert unknown.value.status == 422
        assert (await rig.told("change.refused")).actor == "alice"


async def test_a_weight_moves_the_share_and_expires_by_itself(rig: Rig) -> None:
    await rig.start()
    async with rig.client() as agent:
        await agent.put_change(change("weight", "web3", factor=0.2, duration_s=3))
        await until(lambda: _share_is(rig, "web3", 0.2), "web3 has a fifth")
        await until(lambda: _share_is(rig, "web3", 1.0), "the weight expired")
        await rig.told("weight.ended")
        (ended,) = await agent.changes()
        assert ended["ended"]["by"] == "expired"


async def _share_is(rig: Rig, name: str, share: float) -> bool:
    status = await rig.status()
    return bool((await rig.member(name))["share"] == share and status["in_sync"])


async def test_a_failing_health_port_takes_a_backend_out_although_it_still_serves(rig: Rig) -> None:
    await rig.start()
    assert set(await rig.who_answers()) == {"web1", "web2", "web3"}
    rig.webs["web2"].healthy = False
    down = await rig.says("web2", "down")
    assert down["reason"]
    assert set(await rig.who_answers()) == {"web1", "web3"}
    rig.webs["web2"].healthy = True
    await rig.says("web2", "active")
    await rig.told("backend.up")


async def test_a_backend_asks_for_its_drain_by_its_health_page(rig: Rig) -> None:
    await rig.start()
    rig.webs["web1"].words = b"drain"
    await rig.says("web1", "draining")
    assert set(await rig.who_answers()) == {"web2", "web3"}
    rig.webs["web1"].words = b"ready"
    await rig.says("web1", "active")


async def test_when_every_backend_is_down_the_last_set_is_kept_serving(rig: Rig) -> None:
    await rig.start()
    for web in rig.webs.values():
        web.healthy = False

    async def open_and_said() -> bool:
        (pool,) = (await rig.status())["pools"]
        return bool(pool["fail_open"])

    await until(open_and_said, "the pool fails open")
    assert (await rig.get())[0] == 200


async def test_a_backend_whose_check_lies_is_ejected(rig: Rig) -> None:
    await rig.start()
    rig.webs["web3"].status = 500
    async with Users(rig):
        ejected = await rig.told("backend.ejected")
        assert ejected.subject == "node/web3"
        await rig.says("web3", "down")


async def test_a_dead_engine_comes_back_by_itself(rig: Rig) -> None:
    await rig.start()
    os.kill(rig.engine_pid(), signal.SIGKILL)
    await rig.told("engine.died")

    async def back() -> bool:
        status = await rig.status()
        return bool(status["engine"]["running"] and (await rig.get())[0] == 200)

    await until(back, "the engine is back")
    assert (await rig.status())["revision"]
