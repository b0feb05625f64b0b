"""Login, logout, links, the end of sessions; by a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from access_rig import PASSWORD, Rig, an_app
from backstay.server.access.passwords import Passwords
from backstay.server.access.routes.pages import own_path
from backstay.server.access.rules import ACCOUNT
from backstay.server.access.shell import LOGINS_AT_ONCE, NotLoggedIn
from backstay.server.access.tokens import digest
from backstay.server.model import Role
from server_rig import REASON

COOKIE = "__Host-backstay"


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with an_app(
        tmp_path, base_url="https://backstay.example", session_idle_s=600, session_absolute_s=3_600
    ) as rig:
        yield rig


@pytest.fixture
def alice(rig: Rig) -> Rig:
    """With a password, that is."""
    registry = rig.access.registry
    registry.add_user("alice", Role.ADMIN, actor="root", reason=REASON)
    registry.set_password("alice", PASSWORD, actor="root", reason=REASON)
    return rig


def form(name: str = "alice", password: str = PASSWORD, back: str = "/") -> dict[str, str]:
    return {"name": name, "password": password, "next": back}


async def test_a_login_begins_a_session_that_a_script_cannot_read(alice: Rig) -> None:
    browser = alice.browser()
    answer = await browser.post("/login", data=form("Alice ", back="/changes?page=2"))
    assert (answer.status_code, answer.headers["location"]) == (303, "/changes?page=2")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=bss_")
    assert {"HttpOnly", "Secure", "Path=/", "SameSite=lax", "Max-Age=3600"} <= set(cookie.split("; "))
    assert "Domain" not in cookie
    assert (await browser.get("/account")).status_code == 200
    assert [event.subject for event in alice.journaled("user.logged_in")] == ["user/alice"]


async def test_the_database_has_no_secret_that_would_let_anybody_in(alice: Rig, tmp_path: Path) -> None:
    browser = alice.browser()
    await browser.post("/login", data=form())
    secret = browser.cookies[COOKIE]
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("server.db*"))
    assert digest(secret).encode() in kept
    assert b"$argon2id$" in kept
    assert secret.encode() not in kept
    assert PASSWORD.encode() not in kept


@pytest.mark.parametrize(
    "back",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "/x\\..\\evil",
        "evil",
        "/\n/evil",
        "javascript:alert(1)",
        "/" + "x" * 3_000,
        "",
    ],
)
def test_nobody_is_sent_to_another_site_after_the_login(back: str) -> None:
    assert own_path(back) == "/"
    assert own_path("/changes?page=2#x") == "/changes?page=2#x"


async def test_a_wrong_password_and_a_name_that_nobody_has_look_the_same(alice: Rig) -> None:
    wrong = await alice.browser().post("/login", data=form(password="another one entirely"))
    nobody = await alice.browser().post("/login", data=form(name="nobody"))
    assert wrong.status_code == nobody.status_code == 401
    assert wrong.text.replace('value="alice"', "") == nobody.text.replace('value="nobody"', "")
    assert [event.actor for event in alice.journaled("access.refused")] == ["alice", "nobody"]


async def test_what_was_typed_for_a_name_is_not_journaled_it_may_be_a_password(alice: Rig) -> None:
    await alice.browser().post("/login", data=form(name="hunter2-hunter2"))
    assert "hunter2" not in str(alice.journaled("*"))


async def test_failures_are_throttled_across_servers_and_forgotten_after_the_wait(alice: Rig) -> None:
    browser = alice.browser()
    for _ in range(ACCOUNT.free):
        assert (await browser.post("/login", data=form(password="wrong wrong wrong"))).status_code == 401
    throttled = await browser.post("/login", data=form())  # even the right one
    assert throttled.status_code == 429
    assert throttled.headers["retry-after"] == "2"
    alice.clock.move(2)
    assert (await browser.post("/login", data=form())).status_code == 303
    assert (await alice.browser().post("/login", data=form(password="wrong"))).status_code == 401  # anew from zero


async def test_one_address_that_tries_many_names_is_stopped(rig: Rig) -> None:
    found = [await rig.access.login(f"user{n}", "guess", "2001:db8::1") for n in range(25)]
    assert [one == NotLoggedIn() for one in found] == [True] * 20 + [False] * 5
    assert isinstance(found[-1], NotLoggedIn)
    assert found[-1].wait_s > 0
    assert (await rig.access.login("user1", "guess", "2001:db8:0:1::1")) == NotLoggedIn()  # another network


async def test_of_a_flood_of_logins_so_many_are_looked_at_and_the_others_come_again(rig: Rig) -> None:
    found = await asyncio.gather(*(rig.access.login(f"u{n}", "guess", f"198.51.{n}.1") for n in range(100)))
    assert found.count(NotLoggedIn()) == LOGINS_AT_ONCE
    assert found.count(NotLoggedIn(wait_s=1.0)) == 100 - LOGINS_AT_ONCE
    assert await rig.access.login("u99", "guess", "198.51.99.1") == NotLoggedIn()


async def test_passwords_are_hashed_as_rfc_9106_has_it_and_anew_when_that_alters(alice: Rig) -> None:
    people = alice.access.registry.people
    cheap = people.password("alice")
    alice.access.registry.passwords = Passwords()
    assert (await alice.browser().post("/login", data=form())).status_code == 303
    kept = people.password("alice")
    assert cheap is not None
    assert kept is not None
    assert kept.startswith("$argon2id$v=19$m=65536,t=3,p=4$")


async def test_a_session_ends_when_it_rests_and_lives_on_while_it_is_used(rig: Rig) -> None:
    carol = await rig.user("carol")
    for _ in range(5):
        rig.clock.move(500)
        assert (await carol.get("/account")).status_code == 200
    rig.clock.move(601)
    answer = await carol.get("/account")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=%2Faccount")


async def test_a_page_that_refreshes_itself_does_not_keep_its_session_alive(rig: Rig) -> None:
    carol = await rig.user("carol")
    refresh = {"HX-Request": "true", "HX-Source": "div#live"}
    for _ in range(5):
        rig.clock.move(110)
        assert (await carol.get("/account", headers=refresh)).status_code == 200
    rig.clock.move(110)
    answer = await carol.get("/account", headers=refresh)
    assert (answer.status_code, answer.headers["hx-redirect"]) == (401, "/login")


async def test_a_session_ends_an_hour_after_the_login_however_it_is_used(rig: Rig) -> None:
    carol = await rig.user("carol")
    for _ in range(7):
        rig.clock.move(500)
        assert (await carol.get("/account")).status_code == 200
    rig.clock.move(500)
    assert (await carol.get("/account")).status_code == 303
    await rig.access.prune()
    assert rig.access.registry.people.sessions("carol") == []


async def test_a_login_ends_the_session_that_the_browser_had(alice: Rig) -> None:
    browser = alice.browser()
    await browser.post("/login", data=form())
    first = browser.cookies[COOKIE]
    await browser.post("/login", data=form())
    assert browser.cookies[COOKIE] != first
    assert (await alice.logged_in(first).get("/account")).status_code == 303


async def test_a_logout_ends_the_session_on_the_server_not_only_in_the_browser(rig: Rig) -> None:
    carol = await rig.user("carol")
    secret = carol.cookies[COOKIE]
    answer = await carol.post("/logout")
    assert answer.headers["location"] == "/login"
    assert f'{COOKIE}=""' in answer.headers["set-cookie"]
    assert (await rig.logged_in(secret).get("/account")).status_code == 303


async def test_a_new_password_ends_all_sessions_but_the_one_that_set_it(alice: Rig) -> None:
    elsewhere = await alice.user("alice")
    browser = await alice.user("alice")
    new = "a new phrase for a new day"
    wrong = await browser.post("/account/password", data={"old": "wrong", "password": new, "again": new})
    assert wrong.status_code == 422
    assert (await elsewhere.get("/account")).status_code == 200
    answer = await browser.post("/account/password", data={"old": PASSWORD, "password": new, "again": new})
    assert answer.status_code == 303
    assert (await browser.get("/account")).status_code == 200
    assert (await elsewhere.get("/account")).status_code == 303
    assert (await alice.browser().post("/login", data=form(password=PASSWORD))).status_code == 401


async def test_who_is_disabled_is_out_at_once_and_who_loses_a_role_has_lost_it(alice: Rig) -> None:
    registry = alice.access.registry
    carol = await alice.user("carol", Role.ADMIN)
    registry.set_role("carol", Role.VIEWER, actor="root", reason=REASON)
    assert (await carol.get("/admin/users")).status_code == 403
    registry.set_enabled("carol", False, actor="root", reason=REASON)
    assert (await carol.get("/account")).status_code == 303
    registry.set_enabled("carol", True, actor="root", reason=REASON)
    assert (await carol.get("/account")).status_code == 303  # it has ended


async def test_a_link_sets_a_password_once_and_looking_does_not_use_it_up(rig: Rig) -> None:
    registry = rig.access.registry
    registry.add_user("dave", Role.VIEWER, actor="root", reason=REASON)
    secret, _ = registry.make_link("dave", actor="root", reason=REASON)
    browser = rig.browser()
    for _ in range(2):
        assert "Welcome, dave" in (await browser.get(f"/welcome/{secret}")).text
    fields = {"password": PASSWORD, "again": PASSWORD}
    bad = await browser.post(f"/welcome/{secret}", data=fields | {"again": "another one entirely"})
    assert bad.status_code == 422
    assert (await browser.post(f"/welcome/{secret}", data=fields)).status_code == 303
    assert (await browser.get("/account")).status_code == 200
    again = await rig.browser().post(f"/welcome/{secret}", data=fields)
    assert (again.status_code, rig.journaled("access.refused")[-1].data["code"]) == (410, "link")


async def test_a_link_expires_and_a_newer_one_ends_it(rig: Rig) -> None:
    registry = rig.access.registry
    registry.add_user("dave", Role.VIEWER, actor="root", reason=REASON)
    first, _ = registry.make_link("dave", actor="root", reason=REASON)
    second, _ = registry.make_link("dave", actor="root", reason=REASON)
    assert (await rig.browser().get(f"/welcome/{first}")).status_code == 410
    assert (await rig.browser().get(f"/welcome/{second}")).status_code == 200
    rig.clock.move(86_400)
    assert (await rig.browser().get(f"/welcome/{second}")).status_code == 410


async def test_the_last_admin_stays(alice: Rig) -> None:
    ada = await alice.user("alice")
    for body in ({"enabled": False}, {"role": "viewer"}):
        answer = await ada.patch("/api/v1/users/alice", json=body | {"reason": "oops"})
        assert (answer.status_code, answer.json()["code"]) == (409, "last_admin")


async def test_pages_for_admins_add_users_and_show_a_link_once(rig: Rig) -> None:
    ada = await rig.user("ada", Role.ADMIN)
    added = await ada.post("/admin/users", data={"name": "erin", "role": "operator", "reason": "new here"})
    assert added.status_code == 201
    assert "https://backstay.example/welcome/bsl_" in added.text
    assert "/welcome/" not in (await ada.get("/admin/users")).text
    assert (
        await ada.post("/admin/users", data={"name": "erin", "role": "viewer", "reason": "twice"})
    ).status_code == 422
    for path, fields in (
        ("role", {"role": "viewer"}),
        ("enabled", {"enabled": "false"}),
        ("enabled", {"enabled": "true"}),
    ):
        answer = await ada.post(f"/admin/users/erin/{path}", data=fields | {"reason": "as asked"})
        assert answer.headers["location"] == "/admin/users"
    assert "/welcome/bsl_" in (await ada.post("/admin/users/erin/link", data={"reason": "lost"})).text
