"""Idempotency keys: a repetition gets the first answer; what was refused may be asked again."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fastapi import Response

from access_rig import Rig, an_app
from backstay.server.access.answers import REPLAYED, once_by_key
from backstay.server.access.depends import Operator, Viewer
from backstay.server.model import Role
from backstay.server.problem import Problem

KEY = {"Idempotency-Key": "deploy-2026-11-23"}


class Counting:
    """A mutation that says how often it was carried out."""

    def __init__(self) -> None:
        self.times = 0
        self.goes_on = asyncio.Event()
        self.begun = asyncio.Event()

    def install(self, rig: Rig) -> None:
        @rig.app.post("/api/v1/count", status_code=201)
        async def count(principal: Viewer, body: dict[str, str]) -> dict[str, int]:
            self.times += 1
            if body.get("wait"):
                self.begun.set()
                await self.goes_on.wait()
            if body.get("refuse"):
                raise Problem(409, "n_plus_one", "Too few would be left.")
            if body.get("fail"):
                raise ZeroDivisionError
            return {"times": self.times}

        @rig.app.post("/api/v1/nothing", status_code=204)
        async def nothing(principal: Operator) -> Response:
            self.times += 1
            return Response(status_code=204)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with an_app(tmp_path) as rig:
        yield rig


@pytest.fixture
def counting(rig: Rig) -> Counting:
    made = Counting()
    made.install(rig)
    return made


async def test_a_repetition_gets_the_first_answer_and_nothing_is_done_twice(rig: Rig, counting: Counting) -> None:
    carol = await rig.user("carol", Role.OPERATOR)
    first = await carol.post("/api/v1/count", json={"a": "b"}, headers=KEY)
    again = await carol.post("/api/v1/count", json={"a": "b"}, headers=KEY)
    assert (first.status_code, first.content) == (again.status_code, again.content) == (201, b'{"times":1}')
    assert again.headers["content-type"] == "application/json"
    assert (REPLAYED in first.headers, again.headers[REPLAYED]) == (False, "true")
    assert "content-security-policy" in again.headers
    for _ in range(2):
        assert (await carol.post("/api/v1/nothing", headers={"Idempotency-Key": "another-key"})).status_code == 204
    assert counting.times == 2


async def test_the_same_key_for_something_else_is_refused(rig: Rig, counting: Counting) -> None:
    carol = await rig.user("carol", Role.OPERATOR)
    await carol.post("/api/v1/count", json={"a": "b"}, headers=KEY)
    for path, body in (
        ("/api/v1/count", {"a": "c"}),
        ("/api/v1/count?x=1", {"a": "b"}),
        ("/api/v1/nothing", {"a": "b"}),
    ):
        answer = await carol.post(path, json=body, headers=KEY)
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key")
    assert counting.times == 1


async def test_a_mutation_without_a_key_or_with_a_bad_one_is_refused(rig: Rig, counting: Counting) -> None:
    carol = await rig.user("carol")
    for key in ("", "short", "x" * 65, "not good!"):
        answer = await carol.post("/api/v1/count", json={}, headers={"Idempotency-Key": key})
        assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key")


async def test_what_was_refused_or_failed_may_be_asked_again_with_the_same_key(rig: Rig, counting: Counting) -> None:
    carol = await rig.user("carol")
    for body, status in (({"refuse": "1"}, 409), ({"fail": "1"}, 500), ({}, 201)):
        assert (await carol.post("/api/v1/count", json=body, headers=KEY)).status_code == status
    assert counting.times == 3


async def test_keys_are_each_principals_own(rig: Rig, counting: Counting) -> None:
    for name in ("carol", "dave"):
        answer = await (await rig.user(name)).post("/api/v1/count", json={}, headers=KEY)
        assert answer.status_code == 201
    assert counting.times == 2


async def test_two_at_once_one_is_carried_out(rig: Rig, counting: Counting) -> None:
    carol = await rig.user("carol")
    body = {"wait": "1"}
    first = asyncio.create_task(carol.post("/api/v1/count", json=body, headers=KEY))
    await asyncio.wait_for(counting.begun.wait(), 30)
    second = await carol.post("/api/v1/count", json=body, headers=KEY)
    assert (second.status_code, second.json()["code"]) == (409, "under_way")
    assert second.headers["retry-after"] == "1"
    counting.goes_on.set()
    assert (await asyncio.wait_for(first, 30)).status_code == 201
    assert (await carol.post("/api/v1/count", json=body, headers=KEY)).json() == {"times": 1}


async def test_what_the_store_takes_once_by_its_key_need_not_wait_for_who_died(rig: Rig) -> None:
    @rig.app.post("/api/v1/put")
    @once_by_key
    async def put(principal: Viewer) -> dict[str, str]:
        return {"id": "the same"}

    carol = await rig.user("carol")
    asked = hashlib.sha256(b"POST /api/v1/put?\n").hexdigest()
    rig.access.registry.gates.claim("carol", KEY["Idempotency-Key"], asked, rig.clock())  # by a server that died
    for _ in range(2):
        assert (await carol.post("/api/v1/put", headers=KEY)).json() == {"id": "the same"}


async def test_a_key_is_kept_for_a_day_and_one_whose_server_died_for_minutes(rig: Rig, counting: Counting) -> None:
    carol = await rig.user("carol")
    gates = rig.access.registry.gates
    gates.claim("carol", "dead-server", "0" * 64, rig.clock())
    rig.clock.move(121)
    assert (await carol.post("/api/v1/count", json={}, headers={"Idempotency-Key": "dead-server"})).status_code == 422
    await carol.post("/api/v1/count", json={}, headers=KEY)
    rig.clock.move(86_000)
    carol = await rig.user("carol")
    assert (await carol.post("/api/v1/count", json={}, headers=KEY)).json() == {"times": 1}
    rig.clock.move(500)
    await rig.access.prune()
    assert (await carol.post("/api/v1/count", json={}, headers=KEY)).json() == {"times": 2}


async def test_an_answer_that_tells_a_secret_is_not_kept(rig: Rig, tmp_path: Path) -> None:
    ada = await rig.user("ada", Role.ADMIN)
    body = {"name": "deploy", "role": "operator", "reason": "for a test"}
    secret = (await ada.post("/api/v1/tokens", json=body, headers=KEY)).json()["secret"]
    again = await ada.post("/api/v1/tokens", json=body, headers=KEY)
    assert (again.status_code, again.json()["code"]) == (409, "taken")
    assert secret.encode() not in b"".join(path.read_bytes() for path in tmp_path.glob("server.db*"))
