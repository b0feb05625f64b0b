"""API tokens: their roles, rooms, owners and ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from access_rig import Browser, Rig, an_app
from backstay.server.model import Role
from server_rig import REASON


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with an_app(tmp_path) as rig:
        yield rig


async def own_token(rig: Rig, user: Browser, role: str = "viewer", **more: object) -> Browser:
    answer = await user.post("/api/v1/tokens", json={"name": "mine", "role": role, "reason": REASON} | more)
    assert answer.status_code == 201, answer.text
    return rig.browser(Authorization=f"Bearer {answer.json()['secret']}")


async def status(client: Browser, path: str = "/api/v1/me") -> tuple[int, str | None]:
    answer = await client.get(path)
    return answer.status_code, answer.json().get("code")


async def test_a_token_may_what_its_role_may_and_says_who_it_is(rig: Rig) -> None:
    deploy = rig.token("deploy", Role.ADMIN)
    assert (await deploy.get("/api/v1/me")).json() == {
        "name": "token/deploy", "kind": "token", "role": "admin", "rooms": None
    }  # fmt: skip
    assert await status(deploy, "/api/v1/users") == (200, None)
    assert await status(rig.token("watch", Role.VIEWER), "/api/v1/users") == (403, "role")


async def test_a_token_is_good_for_its_rooms_alone(rig: Rig) -> None:
    deploy = rig.token("deploy", Role.ADMIN, rooms=["users"])
    assert await status(deploy, "/api/v1/users") == (200, None)
    assert await status(deploy, "/api/v1/tokens") == (403, "room")
    assert await status(deploy) == (403, "room")


async def test_a_token_opens_no_page(rig: Rig) -> None:
    answer = await rig.token("deploy", Role.ADMIN).get("/admin/users")
    assert answer.status_code == 403


async def test_a_token_ends_by_its_time_and_by_being_revoked(rig: Rig) -> None:
    lasting, short = rig.token("lasting", Role.VIEWER), rig.token("short", Role.VIEWER, life=timedelta(hours=1))
    assert await status(short) == (200, None)
    rig.clock.move(3_600)
    assert await status(short) == (401, "token")
    assert await status(lasting) == (200, None)
    ada = await rig.user("ada", Role.ADMIN)
    tokens = {one["name"]: one for one in (await ada.get("/api/v1/tokens")).json()["items"]}
    assert tokens["short"]["last_used"] == "2026-11-23T12:00:00.000000Z"
    path = f"/api/v1/tokens/{tokens['lasting']['id']}"
    assert (await ada.delete(path, params={"reason": "leaked"})).status_code == 204
    assert await status(lasting) == (401, "token")
    assert (await ada.delete(path, params={"reason": "leaked"})).status_code == 404


async def test_a_users_token_never_does_more_than_its_owner_may_now(rig: Rig) -> None:
    registry = rig.access.registry
    otto = await rig.user("otto", Role.OPERATOR)
    token = await own_token(rig, otto, "operator")
    assert (await token.get("/api/v1/me")).json()["role"] == "operator"
    registry.set_role("otto", Role.VIEWER, actor="root", reason=REASON)
    assert (await token.get("/api/v1/me")).json()["role"] == "viewer"
    registry.set_enabled("otto", False, actor="root", reason=REASON)
    assert await status(token) == (401, "token")


async def test_nobody_makes_a_token_above_their_role_and_a_token_makes_none(rig: Rig) -> None:
    vera = await rig.user("vera")
    for more in ({"role": "operator"}, {"role": "viewer", "machine": True}):
        answer = await vera.post("/api/v1/tokens", json={"name": "more", "reason": REASON} | more)
        assert (answer.status_code, answer.json()["code"]) == (403, "role")
    page = await vera.post("/tokens", data={"name": "more", "role": "admin", "reason": REASON})
    assert page.status_code == 403
    deploy = rig.token("deploy", Role.ADMIN)
    answer = await deploy.post("/api/v1/tokens", json={"name": "child", "reason": REASON})
    assert (answer.status_code, answer.json()["code"]) == (403, "token")
    assert {event.data["what"] for event in rig.journaled("access.refused")} == {"POST /api/v1/tokens", "POST /tokens"}


async def test_one_sees_and_ends_ones_own_tokens_alone(rig: Rig) -> None:
    vera, otto = await rig.user("vera"), await rig.user("otto", Role.OPERATOR)
    await own_token(rig, vera)
    (mine,) = (await vera.get("/api/v1/tokens")).json()["items"]
    assert (await otto.get("/api/v1/tokens")).json()["items"] == []
    path = f"/api/v1/tokens/{mine['id']}"
    assert (await otto.delete(path, params={"reason": "not mine"})).status_code == 404
    assert (await otto.post(f"/tokens/{mine['id']}/revoke", data={"reason": "not mine"})).status_code == 404
    assert (await vera.post(f"/tokens/{mine['id']}/revoke", data={"reason": "done"})).headers["location"] == "/tokens"


async def test_a_page_shows_a_new_token_once(rig: Rig) -> None:
    vera = await rig.user("vera")
    fields = {"name": "notebook", "role": "viewer", "days": "7", "rooms": "changes, journal", "reason": REASON}
    made = await vera.post("/tokens", data=fields)
    assert made.status_code == 201
    assert "bst_" in made.text
    assert "changes, journal" in made.text
    assert "bst_" not in (await vera.get("/tokens")).text
    assert (await vera.post("/tokens", data=fields)).status_code == 422  # the name is taken
    assert [event.subject for event in rig.journaled("token.created")] == ["token/notebook"]


async def test_lists_page(rig: Rig) -> None:
    ada = await rig.user("ada", Role.ADMIN)
    for n in range(5):
        rig.token(f"t{n}", Role.VIEWER)
    names: list[str] = []
    after: str | None = None
    while True:
        page = (await ada.get("/api/v1/tokens", params={"limit": 2} | ({"after": after} if after else {}))).json()
        names += [one["name"] for one in page["items"]]
        after = page["next"]
        if after is None:
            break
    assert names == ["t4", "t3", "t2", "t1", "t0"]


@pytest.mark.parametrize("shown", ["bst_unknown", "bss_a-session", "nonsense", "bst_" + "x" * 500, "é"])
async def test_what_is_no_token_is_nobody(rig: Rig, shown: str) -> None:
    client = rig.browser()
    answer = await client.get("/api/v1/me", headers={"Authorization": f"Bearer {shown}".encode()})
    assert (answer.status_code, answer.json()["code"]) == (401, "token")
    assert "invalid_token" in answer.headers["www-authenticate"]
