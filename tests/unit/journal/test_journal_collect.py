"""Collecting an agent's events: each once in the store, acknowledged only when stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backstay.journal import Event, JournalError, Spool, event_json
from backstay.journal.collect import collect
from backstay.journal.store import JournalStore

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


class Agent:
    """A spool behind the two calls of an agent's control API."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.junk: list[Mapping[str, object]] = []
        self.acks_fail = 0

    async def events(self, *, after: str | None = None, limit: int = 1_000) -> Sequence[Mapping[str, object]]:
        return [*(event_json(event) for event in self.spool.read(after, limit)), *self.junk]

    async def ack_events(self, through: str) -> None:
        if self.acks_fail:
            self.acks_fail -= 1
            raise ConnectionError("the agent went away")
        self.spool.ack(through)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    with Spool(tmp_path / "spool", actor="agent/lb1") as spool:
        yield Agent(spool)


@pytest.fixture
def store(sqlite_url: str) -> Iterator[JournalStore]:
    with JournalStore.open(sqlite_url) as store:
        yield store


def fill(agent: Agent, first: int, last: int) -> None:
    for number in range(first, last + 1):
        agent.spool.append(
            Event(id=f"event{number:08}", time=NOW, kind="a.b", subject="s", actor="a", reason=str(number))
        )


async def test_everything_is_brought_once_and_the_spool_may_forget_it(agent: Agent, store: JournalStore) -> None:
    fill(agent, 1, 30)
    assert (await collect(agent, store)).new == 30
    assert agent.spool.waiting == 0
    fill(agent, 31, 35)
    collected = await collect(agent, store)
    assert (collected.new, collected.known, collected.faults) == (5, 0, ())
    assert [link.event.reason for link in store.tail()] == [str(number) for number in range(1, 36)]


async def test_an_agent_that_goes_away_before_the_ack_sends_again_and_nothing_is_stored_twice(
    agent: Agent, store: JournalStore
) -> None:
    fill(agent, 1, 3)
    agent.acks_fail = 1
    with pytest.raises(ConnectionError):
        await collect(agent, store)
    assert agent.spool.waiting == 3
    collected = await collect(agent, store)
    assert (collected.new, collected.known) == (0, 3)
    assert len(store.tail()) == 3


async def test_events_that_cannot_be_stored_stay_with_the_agent(agent: Agent, store: JournalStore) -> None:
    fill(agent, 1, 3)
    Path(store.where.removeprefix("sqlite:///")).unlink()
    Path(store.where.removeprefix("sqlite:///") + "-wal").unlink(missing_ok=True)
    store.close()
    with pytest.raises(JournalError):
        await collect(agent, store)
    assert agent.spool.waiting == 3


async def test_one_bad_event_does_not_hold_up_the_rest_and_is_told(agent: Agent, store: JournalStore) -> None:
    fill(agent, 1, 2)
    agent.junk = [{"id": "event-bad-1", "kind": "?"}, {"kind": "no id"}]
    collected = await collect(agent, store)
    assert collected.new == 2
    assert any("event-bad-1" in fault for fault in collected.faults)
    assert any("an event without id" in fault for fault in collected.faults)


async def test_an_id_that_comes_back_with_another_content_is_told(agent: Agent, store: JournalStore) -> None:
    store.append(Event(id="event00000001", time=NOW, kind="a.b", subject="s", actor="eve", reason="other"))
    fill(agent, 1, 1)
    assert (await collect(agent, store)).faults == ("event00000001: stored already with another content",)
