"""Several servers on one PostgreSQL, and PostgreSQL going away and coming back."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from backstay.journal.store import Database, Filter, JournalStore
from backstay.server.access.registry import Registry
from real_postgres import RealPostgres, running_postgres
from server_process import ServerProcess, headers, operator_token, until
from server_rig import EXAMPLES

pytestmark = pytest.mark.timeout(180)
ESTATE = EXAMPLES / "serverdensity.yaml"


@pytest.fixture
def own_postgres() -> Iterator[RealPostgres]:
    """One that a test may stop: nobody else's."""
    with running_postgres() as server:
        yield server


@contextlib.asynccontextmanager
async def serving(*servers: ServerProcess) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
        try:
            for server in servers:
                server.start()
            for server in servers:
                await server.ready(session)
            yield session
        finally:
            for server in servers:
                if server.process is not None and server.process.is_alive():
                    server.kill()


def a_weight(number: int, **more: Any) -> dict[str, Any]:
    body = {"selector": f"node/web{number % 8 + 1}", "kind": "weight", "factor": 0.9, "reason": "test"}
    return body | {"duration_s": 3600} | more


async def post(session: aiohttp.ClientSession, url: str, token: str, key: str, body: dict[str, Any]) -> tuple[int, Any]:
    async with session.post(url, json=body, headers=headers(token, key)) as response:
        return response.status, await response.json()


async def agents_poll(
    session: aiohttp.ClientSession, server: ServerProcess, credential: str, known: dict[str, Any] | None
) -> Any:
    """What lb1 is to do, as soon as it is another than what is known."""
    params: dict[str, Any] = {"wait_s": 30}
    if known is not None:
        params |= {"after": known["revision"], "have": known["estate_sha256"]}
    url = f"{server.url}/api/v1/agents/lb1/desired"
    async with session.get(url, params=params, headers=headers(credential)) as response:
        assert response.status == 200, await response.text()
        return await response.json()


async def enrolled(session: aiohttp.ClientSession, server: ServerProcess) -> str:
    """A credential of lb1's agent."""
    database = Database(server.database_url)
    try:
        _, join = Registry(database).make_join_token("lb1", actor="tests", reason="for a test")
    finally:
        database.close()
    body = {"lb": "lb1", "join_token": join}
    async with session.post(f"{server.url}/api/v1/agents/lb1/enrol", json=body) as response:
        assert response.status == 201, await response.text()
        return str((await response.json())["credential"])


async def test_what_is_asked_of_several_servers_at_once_is_carried_out_once(
    tmp_path: Path, postgres_copy: str
) -> None:  # fmt: skip
    token = operator_token(postgres_copy)
    one = ServerProcess(tmp_path / "one", postgres_copy, estate=ESTATE)
    other = ServerProcess(tmp_path / "other", postgres_copy)
    async with serving(one) as session:
        other.start()
        await other.ready(session)
        try:
            asked = [
                post(session, f"{server.url}/api/v1/changes", token, f"change-{number:04}", a_weight(number))
                for number in range(20)
                for server in (one, other)
            ]
            statuses = Counter(status for status, _ in await asyncio.gather(*asked))
            assert statuses.keys() <= {200, 201} and statuses.total() == 40
        finally:
            other.kill()
    database = Database(postgres_copy)
    put = JournalStore(database).tail(limit=1_000, where=Filter(kind="change.put"))
    database.close()
    assert Counter(link.event.data["change"] for link in put) == Counter(f"change-{n:04}" for n in range(20))


async def test_a_click_on_one_server_reaches_an_agent_that_waits_at_the_other(
    tmp_path: Path, postgres_copy: str
) -> None:  # fmt: skip
    token = operator_token(postgres_copy)
    one = ServerProcess(tmp_path / "one", postgres_copy, estate=ESTATE)
    other = ServerProcess(tmp_path / "other", postgres_copy)
    async with serving(one, other) as session:
        credential = await enrolled(session, other)
        desired = await agents_poll(session, other, credential, None)
        waiting = asyncio.create_task(agents_poll(session, other, credential, desired))
        await until(session, other, "/api/v1/agents/lb1", lambda answer: answer.get("connected"), token)
        status, plan = await post(session, f"{one.url}/api/v1/changes", token, "change-0001", a_weight(0))
        assert status == 201
        told = await waiting
        assert told["revision"] == plan["revision"]
        assert [change["id"] for change in told["changes"]] == ["change-0001"]


async def test_one_of_several_servers_ends_what_is_over(tmp_path: Path, postgres_copy: str) -> None:
    token = operator_token(postgres_copy)
    servers = [
        ServerProcess(tmp_path / "one", postgres_copy, estate=ESTATE),
        ServerProcess(tmp_path / "other", postgres_copy),
    ]
    async with serving(*servers) as session:
        for number in range(8):
            body = a_weight(number, duration_s=1)
            status, answer = await post(
                session, f"{servers[0].url}/api/v1/changes", token, f"change-{number:04}", body
            )  # fmt: skip
            assert status == 201, answer
        for server in servers:
            await until(session, server, "/api/v1/changes", lambda answer: answer["items"] == [], token)
    database = Database(postgres_copy)
    expired = JournalStore(database).tail(limit=1_000, where=Filter(kind="change.expired"))
    database.close()
    assert Counter(link.event.data["change"] for link in expired) == Counter(f"change-{n:04}" for n in range(8))


async def test_with_postgres_away_it_shows_what_it_knows_refuses_to_change_it_and_recovers_by_itself(
    tmp_path: Path, own_postgres: RealPostgres
) -> None:
    url = own_postgres.create_database("server")
    token = operator_token(url)
    server = ServerProcess(tmp_path / "server", url, estate=ESTATE)
    changes = f"{server.url}/api/v1/changes"
    async with serving(server) as session:
        credential = await enrolled(session, server)
        desired = await agents_poll(session, server, credential, None)
        waiting = asyncio.create_task(agents_poll(session, server, credential, desired))
        assert (await post(session, changes, token, "change-0001", a_weight(1)))[0] == 201
        told = await waiting

        own_postgres.pause()
        await until(session, server, "/healthz", lambda answer: answer["status"] == "degraded", token)
        status, problem = await post(session, changes, token, "change-0002", a_weight(2))
        assert (status, problem["status"]) == (503, 503), problem
        async with session.get(changes, headers=headers(token)) as response:
            assert [change["id"] for change in (await response.json())["items"]] == ["change-0001"]
        still = asyncio.create_task(agents_poll(session, server, credential, told))  # nobody is cut off

        own_postgres.resume()
        await until(session, server, "/healthz", lambda answer: answer["status"] == "ok", token)
        status, plan = await post(session, changes, token, "change-0002", a_weight(2))
        assert status == 201, plan
        async with asyncio.timeout(30):
            assert {change["id"] for change in (await still)["changes"]} == {"change-0001", "change-0002"}


async def test_it_ends_quickly_when_asked_to_while_agents_wait(tmp_path: Path, sqlite_copy: str) -> None:
    server = ServerProcess(tmp_path / "server", sqlite_copy, estate=ESTATE)
    async with serving(server) as session:
        credential = await enrolled(session, server)
        desired = await agents_poll(session, server, credential, None)
        url = f"{server.url}/api/v1/agents/lb1/desired"
        params = {"after": desired["revision"], "wait_s": 30, "have": desired["estate_sha256"]}
        waiting = asyncio.create_task(session.get(url, params=params, headers=headers(credential)))
        token = operator_token(sqlite_copy)
        await until(session, server, "/api/v1/agents/lb1", lambda answer: answer.get("connected"), token)
        assert server.process is not None
        began = time.monotonic()
        await asyncio.to_thread(server.stop)
        assert time.monotonic() - began < 10
        assert server.process.exitcode == 0, server.log()
        assert (await waiting).status == 204
