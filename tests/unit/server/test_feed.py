"""What listeners hear: every event of the journal once, in its order, whoever wrote it and however slow they are."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from access_rig import Rig, an_app
from backstay.server.api import feed as feeding
from backstay.server.api import stream as streaming
from backstay.server.api.feed import Feed
from backstay.server.model import Role
from backstay.server.shell import Server
from server_agents import report_for
from server_rig import ALICE, REASON, enrol

PATIENCE_S = 20.0
Told = tuple[str, dict[str, Any], str]  # kind, data, id


@pytest.fixture
async def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    monkeypatch.setattr(feeding, "TICK_S", 0.01)
    async with an_app(tmp_path) as rig:
        yield rig
        rig.server.end()


class Ear:
    """Listens to a feed, event by event."""

    def __init__(self, feed: Feed, after: int | None = None, who: str = "alice") -> None:
        self.bodies = feed.listen(who, after)
        self._waiting: list[Told] = []

    async def next(self, *kinds: str) -> Told:
        """The next event that is of one of `kinds`."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                while self._waiting:
                    told = self._waiting.pop(0)
                    if told[0] in kinds:
                        return told
                self._waiting += parsed(await anext(self.bodies))


def parsed(body: bytes) -> list[Told]:
    """The events of a part of a stream (HTML standard, 9.2.6)."""
    found = []
    for block in body.decode().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if line)
        if "event" in lines:
            found.append((lines["event"], json.loads(lines["data"]), lines.get("id", "")))
    return found


async def happens(server: Server, text: str) -> int:
    """Something is journaled; its number."""
    await server.record("test.happened", "node/web1", text)
    return server.journal.newest()


async def test_what_is_journaled_is_told_with_its_number_as_id(rig: Rig) -> None:
    ear = Ear(rig.app.state.feed)
    await ear.next("alive")  # it listens from now on
    number = await happens(rig.server, "line\none")
    kind, data, told = await ear.next("journal")
    assert (kind, data["kind"], data["reason"], data["seq"], told) == (
        "journal",
        "test.happened",
        "line\none",
        number,
        str(number),
    )


async def test_who_comes_back_with_the_last_id_has_missed_nothing(rig: Rig) -> None:
    before = rig.server.journal.newest()
    numbers = [await happens(rig.server, f"while away {number}") for number in range(5)]
    ear = Ear(rig.app.state.feed, after=before)
    assert [(await ear.next("journal"))[1]["seq"] for _ in numbers] == numbers
    after = await happens(rig.server, "now")
    assert (await ear.next("journal"))[1]["seq"] == after


async def test_a_number_of_another_journal_is_no_reason_to_wait_for_it(rig: Rig) -> None:
    ear = Ear(rig.app.state.feed, after=10**12)
    assert (await ear.next("alive"))[2] == str(rig.server.journal.newest())
    number = await happens(rig.server, "now")
    assert (await ear.next("journal"))[1]["seq"] == number


async def test_one_that_is_slower_than_the_ring_goes_on_from_the_database(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeding, "RING", 2)
    feed = Feed(rig.server)
    slow, quick = Ear(feed, who="slow"), Ear(feed, who="quick")
    await slow.next("alive")
    await quick.next("alive")
    numbers = []
    for number in range(6):  # a tick each
        numbers.append(await happens(rig.server, f"tick {number}"))
        assert (await quick.next("journal"))[1]["seq"] == numbers[-1]
    assert (await slow.next("revision"))[1] == {"revision": rig.server.snapshot().revision}
    assert [(await slow.next("journal"))[1]["seq"] for _ in numbers] == numbers


async def test_reports_and_revisions_are_told_without_an_id_of_their_own(rig: Rig) -> None:
    await enrol(rig.server, "lb1")
    ear = Ear(rig.app.state.feed)
    await ear.next("alive")
    estate = rig.server.snapshot().estate
    assert estate is not None
    await rig.server.report("lb1", report_for(estate, "lb1", at=rig.clock()))
    assert await ear.next("report") == ("report", {"lb": "lb1"}, "")
    adopted = rig.server.snapshot().adopted
    assert adopted is not None
    await rig.server.adopt(adopted.text + "\n# another\n", adopted.sha256, ALICE, REASON)
    assert await ear.next("revision") == ("revision", {"revision": rig.server.snapshot().revision}, "")


async def test_an_agent_that_falls_silent_is_news_too(rig: Rig) -> None:
    await enrol(rig.server, "lb1")
    estate = rig.server.snapshot().estate
    assert estate is not None
    await rig.server.report("lb1", report_for(estate, "lb1", at=rig.clock()))
    ear = Ear(rig.app.state.feed)
    await ear.next("alive")
    rig.clock.move(3_600)
    assert (await ear.next("report"))[1] == {"lb": "lb1"}


async def test_another_server_on_the_same_database_is_heard(rig: Rig) -> None:
    ear = Ear(rig.app.state.feed)
    await ear.next("alive")
    other = await asyncio.to_thread(Server.open, f"sqlite:///{rig.settings.state_dir / 'server.db'}")
    try:
        await happens(other, "there")
        assert (await ear.next("journal"))[1]["reason"] == "there"
    finally:
        other.close()


async def test_silence_is_said_to_be_life(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "ALIVE_EVERY_S", 0.02)
    ear = Ear(rig.app.state.feed)
    assert await ear.next("alive") == await ear.next("alive")


async def test_a_stream_ends_with_its_server(rig: Rig) -> None:
    ear = Ear(rig.app.state.feed)
    await ear.next("alive")
    rig.server.end()
    with pytest.raises(StopAsyncIteration):
        await ear.next("never")


async def test_the_feed_rests_when_nobody_listens(rig: Rig) -> None:
    feed: Feed = rig.app.state.feed
    ear = Ear(feed)
    await ear.next("alive")
    await ear.bodies.aclose()
    async with asyncio.timeout(PATIENCE_S):
        while feed.looking:
            await asyncio.sleep(0.01)
    number = await happens(rig.server, "unheard")
    again = Ear(feed)
    assert (await again.next("alive"))[2] == str(number)


async def test_listeners_are_bounded_in_number_and_for_each(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "PER_PRINCIPAL_LIMIT", 1)
    feed: Feed = rig.app.state.feed
    ear = Ear(feed, who="token/t")
    await ear.next("alive")
    answer = await rig.token("t", Role.VIEWER).get("/api/v1/stream")
    assert (answer.status_code, answer.json()["code"]) == (503, "too_many")
    assert answer.headers["Retry-After"]
    assert not feed.full("token/u")
    monkeypatch.setattr(feeding, "LISTENERS_LIMIT", 1)
    assert feed.full("token/u")


async def test_the_stream_of_a_token_that_was_revoked_ends(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "ALIVE_EVERY_S", 0.02)
    monkeypatch.setattr(streaming, "CHECK_EVERY_S", 0.02)
    client = rig.token("t", Role.VIEWER)
    asked = asyncio.create_task(client.get("/api/v1/stream"))  # in this process, an answer is given when it is whole
    feed: Feed = rig.app.state.feed
    async with asyncio.timeout(PATIENCE_S):
        while not feed.looking:
            await asyncio.sleep(0.01)
        token = rig.access.registry.tokens.tokens()[0]
        rig.access.registry.revoke_token(token.id, actor="root", reason=REASON)
        answer = await asked
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["Cache-Control"] == "no-store"
    assert parsed(answer.content)[0][0] == "alive"
