"""What another site makes a browser send is refused, whatever cookie comes along."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from access_rig import Rig, an_app
from backstay.server.model import Role

BODY = {"name": "spare", "role": "viewer", "reason": "for a test"}


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with an_app(tmp_path) as rig:
        yield rig


async def test_a_mutation_with_a_session_needs_its_token(rig: Rig) -> None:
    carol, other = await rig.user("carol"), await rig.user("dave")
    for token in ("", "wrong", other.csrf, "é"):
        answer = await carol.post("/api/v1/tokens", json=BODY, headers={"X-CSRF-Token": token.encode()})
        assert (answer.status_code, answer.json()["code"]) == (403, "csrf")
    assert (await carol.post("/api/v1/tokens", json=BODY)).status_code == 201
    codes = {event.data["code"] for event in rig.journaled("access.refused")}
    assert codes == {"csrf"}


async def test_a_plain_form_carries_it_in_a_hidden_field(rig: Rig) -> None:
    carol = await rig.user("carol")
    csrf, carol.csrf = carol.csrf, ""
    assert f'name="csrf" value="{csrf}"' in (await carol.get("/account")).text
    assert (await carol.post("/account/logout", data={"csrf": "wrong"})).status_code == 403
    answer = await carol.post("/account/logout", data={"csrf": csrf})
    assert answer.headers["location"] == "/login"


async def test_a_token_ends_with_its_session(rig: Rig) -> None:
    carol = await rig.user("carol")
    again = await rig.user("carol")
    assert carol.csrf != again.csrf
    again.csrf = carol.csrf
    assert (await again.post("/api/v1/tokens", json=BODY)).status_code == 403


ORIGINS: list[tuple[dict[str, str], bool]] = [
    ({}, True),  # a program
    ({"Sec-Fetch-Site": "same-origin"}, True),
    ({"Sec-Fetch-Site": "none"}, True),
    ({"Sec-Fetch-Site": "cross-site"}, False),
    ({"Sec-Fetch-Site": "same-site"}, False),  # a neighbour below the same domain is another site, too
    ({"Origin": "http://localhost:8080"}, True),
    ({"Origin": "http://localhost:8081"}, False),
    ({"Origin": "https://evil.example"}, False),
    ({"Origin": "null"}, False),
    ({"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost:8080"}, False),
]


async def test_where_a_request_comes_from_is_looked_at(rig: Rig) -> None:
    for headers, let_in in ORIGINS:
        carol = await rig.user("carol")
        assert ((await carol.post("/logout", headers=headers)).status_code == 303) is let_in, headers


async def test_another_site_cannot_even_log_a_browser_in(rig: Rig) -> None:
    evil = {"Origin": "https://evil.example"}
    answer = await rig.browser().post("/login", data={"name": "carol", "password": "no"}, headers=evil)
    assert answer.status_code == 403
    assert rig.journaled("access.refused")[-1].data["code"] == "origin"


async def test_the_journal_names_the_route_not_what_somebody_put_into_the_path(rig: Rig) -> None:
    vera = await rig.user("vera", Role.VIEWER)
    await vera.patch("/api/v1/users/s3cr3t-in-a-path", json={"reason": "for a test"})
    event = rig.journaled("access.refused")[-1]
    assert event.data["what"] == "PATCH /api/v1/users/{name}"
    assert "s3cr3t" not in str(event)
