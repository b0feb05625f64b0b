"""kill -9 of the server during 500 changes, twenty times: no accepted change is lost, none is carried out twice.

Whoever asks knows nothing of what became of a request whose answer did not come: it asks again, with the same key.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from backstay.journal import Whole
from backstay.journal.store import Database, Filter, JournalStore
from backstay.server.store import DatabaseStore
from server_process import ServerProcess, headers, operator_token
from server_rig import EXAMPLES

CHANGES = 500
KILLS = 20
ASKERS = 8
UNDONE_EVERY = 5  # of the changes, each so many-th is undone again

pytestmark = pytest.mark.timeout(300)


class Askers:
    """Ask for every change, in parallel, until each has its answer."""

    def __init__(self, server: ServerProcess, session: aiohttp.ClientSession, token: str) -> None:
        self.server, self.session, self.token = server, session, token
        self.accepted: dict[str, dict[str, object]] = {}
        self.undone: set[str] = set()
        self.lost_answers = 0
        self._left = iter(range(CHANGES))

    async def ask_all(self) -> None:
        for number in self._left:
            key = f"change-{number:04}"
            body = {
                "selector": f"node/web{number % 8 + 1}",
                "kind": "weight",
                "factor": 0.9,
                "reason": f"test {number}",
                "duration_s": 3600,
            }
            plan = await self._until_done("/api/v1/changes", key, body)
            assert plan["id"] == key
            self.accepted[key] = plan
            if number % UNDONE_EVERY == 0:
                await self._until_done(f"/api/v1/changes/{key}/undo", f"undo-{number:04}", {"reason": "enough"})
                self.undone.add(key)

    async def _until_done(self, path: str, key: str, body: dict[str, object]) -> dict[str, object]:
        while True:
            try:
                async with self.session.post(
                    self.server.url + path, json=body, headers=headers(self.token, key)
                ) as response:
                    answer: dict[str, object] = await response.json()
                    if response.status in (200, 201):
                        return answer
                    assert response.status == 503, answer
            except (aiohttp.ClientError, OSError):
                self.lost_answers += 1
            await asyncio.sleep(0.02)


async def test_twenty_kills_during_five_hundred_changes(tmp_path: Path, database_url: str) -> None:
    chance = random.Random(20)
    token = operator_token(database_url)
    server = ServerProcess(tmp_path / "server", database_url, estate=EXAMPLES / "serverdensity.yaml")
    server.start()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
        await server.ready(session)
        askers = Askers(server, session, token)
        asking = [asyncio.create_task(askers.ask_all()) for _ in range(ASKERS)]
        try:
            for kill in range(1, KILLS + 1):
                while len(askers.accepted) < kill * CHANGES // (KILLS + 1) and not any(one.done() for one in asking):
                    await asyncio.sleep(0.002)
                await asyncio.sleep(chance.uniform(0, 0.03))  # anywhere in the midst of what it is doing
                assert not any(one.done() for one in asking)
                server.kill()
                server.start()
            await asyncio.gather(*asking)
        finally:
            for task in asking:
                task.cancel()
            server.kill()
    assert askers.lost_answers >= KILLS
    hold_against_the_database(askers, database_url)


def hold_against_the_database(askers: Askers, database_url: str) -> None:
    database = Database(database_url)
    try:
        kept = DatabaseStore(database).kept(-1, ended_limit=CHANGES, orders_limit=1)
        journal = JournalStore(database)
        assert isinstance(journal.verify(), Whole)
        put = journal.tail(limit=10_000, where=Filter(kind="change.put"))
        undone = journal.tail(limit=10_000, where=Filter(kind="change.undone"))
    finally:
        database.close()
    everything = {f"change-{number:04}" for number in range(CHANGES)}
    assert askers.accepted.keys() == everything
    assert {change.id for change in kept.ended} == askers.undone
    assert {change.id for change in kept.changes} == everything - askers.undone
    assert Counter(link.event.data["change"] for link in put) == Counter(everything)
    assert Counter(link.event.data["change"] for link in undone) == Counter(askers.undone)
    assert kept.revision == 1 + len(everything) + len(askers.undone)
