"""Agents' secrets: join tokens are spent once, credentials renewed and revoked."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from access_rig import Browser, Rig, an_app
from backstay.server.model import Role
from server_rig import REASON, SERVERDENSITY, adopt


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with an_app(tmp_path) as rig:
        yield rig


def agent(rig: Rig, credential: str | None) -> Browser:
    assert credential is not None
    return rig.browser(Authorization=f"Bearer {credential}")


async def known(client: Browser, lb: str = "lb1") -> bool:
    """Is it let in as that load balancer's agent? An empty delivery alters nothing."""
    answer = await client.post(f"/api/v1/agents/{lb}/events", json={"events": []})
    assert answer.status_code in (200, 401, 403), answer.text
    return answer.status_code == 200


async def test_a_join_token_is_spent_once_and_for_its_own_load_balancer(rig: Rig) -> None:
    _, join = rig.access.registry.make_join_token("lb1", actor="root", reason=REASON)
    assert await rig.access.enrol("lb2", join, "192.0.2.9") is None
    credential = await rig.access.enrol("lb1", join, "192.0.2.9")
    assert await rig.access.enrol("lb1", join, "192.0.2.9") is None
    lb1 = agent(rig, credential)
    assert await known(lb1)
    assert not await known(lb1, "lb2")
    (event,) = rig.journaled("agent.enrolled")
    assert (event.subject, event.actor, event.data["from"]) == ("lb/lb1", "agent/lb1", "192.0.2.9")
    assert "lb1" in rig.server.snapshot().agents


async def test_a_join_token_expires_and_a_newer_one_ends_it(rig: Rig) -> None:
    registry = rig.access.registry
    _, first = registry.make_join_token("lb1", actor="root", reason=REASON)
    _, second = registry.make_join_token("lb1", actor="root", reason=REASON)
    assert await rig.access.enrol("lb1", first, "::1") is None
    rig.clock.move(86_400)
    assert await rig.access.enrol("lb1", second, "::1") is None


async def test_a_credential_is_renewed_and_the_old_one_good_until_the_new_one_is_used(rig: Rig) -> None:
    old = await rig.agent("lb1")
    assert await known(old)
    lost = await rig.access.rotate("lb1")  # its answer never came
    assert await known(old)
    new = agent(rig, await rig.access.rotate("lb1"))
    assert not await known(agent(rig, lost))
    assert await known(old)
    assert await known(new)
    assert not await known(old)
    assert await known(new)


async def test_an_agent_that_enrols_anew_has_one_credential(rig: Rig) -> None:
    before = await rig.agent("lb1")
    after = await rig.agent("lb1")
    assert not await known(before)
    assert await known(after)


async def test_a_revoked_agent_is_out_at_once_and_back_with_a_new_join_token(rig: Rig) -> None:
    ada = await rig.user("ada", Role.ADMIN)
    lb1 = await rig.agent("lb1")
    rig.access.registry.make_join_token("lb1", actor="root", reason=REASON)
    assert await known(lb1)
    wrong = await ada.post("/admin/agents/lb1/revoke", data={"reason": "stolen", "typed": "lb2"})
    assert wrong.status_code == 422
    assert await known(lb1)
    done = await ada.post("/admin/agents/lb1/revoke", data={"reason": "stolen", "typed": "lb1"})
    assert done.headers["location"] == "/admin/agents"
    assert not await known(lb1)
    assert rig.access.registry.agents.joins(rig.clock()) == []
    assert [event.reason for event in rig.journaled("agent.revoked")] == ["stolen"]
    assert (await ada.post("/admin/agents/lb9/revoke", data={"reason": "x", "typed": "lb9"})).status_code == 404
    assert await known(await rig.agent("lb1"))


async def test_a_poll_that_was_held_when_its_agent_was_revoked_tells_nothing_more(rig: Rig) -> None:
    lb1 = await rig.agent("lb1")
    revision = rig.server.snapshot().revision
    sha256 = hashlib.sha256(SERVERDENSITY.encode()).hexdigest()
    asked = {"after": revision, "have": sha256, "wait_s": 20}
    held = asyncio.create_task(lb1.get("/api/v1/agents/lb1/desired", params=asked))
    async with asyncio.timeout(30):
        while not rig.server.polling["lb1"]:
            await asyncio.sleep(0.01)
    ada = await rig.user("ada", Role.ADMIN)
    await ada.post("/api/v1/agents/lb1/revoke", json={"reason": "stolen"})
    await adopt(rig.server, SERVERDENSITY + "\n# altered\n")
    answer = await asyncio.wait_for(held, 30)
    assert (answer.status_code, answer.json()["code"]) == (401, "token")


async def test_another_server_heeds_a_revocation_within_two_seconds(rig: Rig) -> None:
    lb1 = await rig.agent("lb1")
    assert await known(lb1)
    rig.access.registry.agents.revoke("lb1")  # as another server on the same database does it
    rig.clock.move(2)
    assert not await known(lb1)


async def test_the_page_makes_a_join_token_and_shows_it_once(rig: Rig) -> None:
    ada = await rig.user("ada", Role.ADMIN)
    made = await ada.post("/admin/agents", data={"lb": "lb1", "reason": "a new machine"})
    assert made.status_code == 201
    assert "bsj_" in made.text
    page = (await ada.get("/admin/agents")).text
    assert "bsj_" not in page
    assert "Join tokens that wait" in page


async def test_the_page_lists_a_hundred_agents_and_leads_to_the_others(rig: Rig) -> None:
    ada = await rig.user("ada", Role.ADMIN)
    before = len(rig.server.snapshot().agents)
    now = rig.server.now()
    for number in range(101 - before):
        rig.server.store.enrol(f"many{number:03}", now, [])
    await rig.server.refresh()
    first, last = (await ada.get("/admin/agents")).text, (await ada.get("/admin/agents?page=2")).text
    assert (first.count("<summary>Revoke"), last.count("<summary>Revoke")) == (100, 1)
    assert 'href="/admin/agents?page=2"' in first
    assert 'href="/admin/agents?page=1"' in last
