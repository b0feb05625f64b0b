"""What every journal store must keep: the same cases on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import create_engine, text

from backstay.journal import Broken, Event, EventInvalid, Fault, JournalError, Link, Whole, new_id
from backstay.journal.chain import GENESIS
from backstay.journal.store import Filter, JournalStore
from backstay.journal.store.schema import REVISION

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url"))


@pytest.fixture
def store(url: str) -> Iterator[JournalStore]:
    with JournalStore.open(url) as store:
        yield store


def event(number: int, **fields: object) -> Event:
    base = Event(
        id=f"event{number:08}",
        time=NOW + timedelta(seconds=number),
        kind="drain.started",
        subject=f"node/web{number % 3}",
        actor="alice",
        reason="kernel",
    )
    return replace(base, **fields)


def ids(links: list[Link]) -> list[str]:
    return [link.event.id for link in links]


def numbered(*numbers: int) -> list[str]:
    return [event(number).id for number in numbers]


# -- storing ---------------------------------------------------------------------------------------------------------


def test_an_event_comes_back_as_it_went_in(store: JournalStore) -> None:
    told = event(
        1,
        time=NOW + timedelta(microseconds=123_456),
        reason="zwölf ☃ \n 'quoted' \"twice\" %s :name \\",
        data={"nested": {"list": [1, 2.5, None, True, "\0"]}, "ö": "ü", "big": 2**60, "small": 1e-300},
        cause="event00000000",
    )
    store.append(told)
    found = store.get(told.id)
    assert found is not None
    assert found.event == told
    assert (found.seq, found.previous) == (1, GENESIS)


def test_events_are_stored_once_and_in_order(store: JournalStore) -> None:
    assert store.append_many([event(1), event(2), event(2)]).known == 1
    again = store.append_many([event(2), event(3), event(1)])
    assert (again.new, again.known, again.differing) == (1, 2, ())
    assert ids(store.tail()) == numbered(1, 2, 3)
    assert [link.seq for link in store.tail()] == [1, 2, 3]


def test_the_first_content_of_an_id_is_kept_and_the_difference_is_said(store: JournalStore) -> None:
    store.append(event(1))
    stored = store.append_many([event(1, reason="other"), event(2), event(2, reason="other")])
    assert (stored.new, stored.differing) == (1, (event(1).id, event(2).id))
    found = store.get(event(1).id)
    assert found is not None
    assert found.event.reason == "kernel"


def test_one_wrong_event_stores_none(store: JournalStore) -> None:
    with pytest.raises(EventInvalid):
        store.append_many([event(1), event(2, kind="Drain Started")])
    assert store.tail() == []


def test_nothing_to_store_is_nothing(store: JournalStore) -> None:
    assert store.append_many([]).new == 0
    assert store.tail() == []
    assert store.verify() == Whole(links=0, head=GENESIS)


def test_more_than_one_batch_makes_one_chain(store: JournalStore) -> None:
    store.append_many([event(number) for number in range(1, 1_202)])
    whole = store.verify()
    assert isinstance(whole, Whole)
    assert whole.links == 1_201


def test_a_journal_goes_on_when_it_is_opened_again(url: str) -> None:
    for number in (1, 2, 3):
        with JournalStore.open(url) as store:
            store.append(event(number))
            whole = store.verify()
            assert isinstance(whole, Whole)
            assert whole.links == number


def test_concurrent_writers_make_one_chain(url: str) -> None:
    """Six threads with a store each (as many servers), and first of all they meet at the migration."""
    writers, each = 6, 25
    problems: list[BaseException] = []
    together = threading.Barrier(writers)

    def write(writer: int) -> None:
        try:
            together.wait(timeout=60)
            with JournalStore.open(url) as store:
                for number in range(each):
                    store.append_many([event(writer * 1_000 + number), event(9_999_999)])
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=100)
    assert problems == []
    with JournalStore.open(url) as store:
        whole = store.verify()
        assert isinstance(whole, Whole), whole
        assert whole.links == writers * each + 1
        assert len(set(ids(store.tail(limit=1_000)))) == writers * each + 1


WRITER = """
import sys
from datetime import UTC, datetime
from backstay.journal import Event
from backstay.journal.store import JournalStore
store = JournalStore.open(sys.argv[1])
number = int(sys.argv[2])
while True:
    event = Event(id=f"event{number:08}", time=datetime.now(UTC), kind="a.b", subject="s", actor="a", reason="r")
    store.append(event)
    sys.stdout.write(event.id + "\\n")
    sys.stdout.flush()
    number += 1
"""


def test_a_writer_that_is_killed_loses_no_stored_event_and_breaks_no_chain(url: str) -> None:
    stored: list[str] = []
    with JournalStore.open(url) as store:
        for round_ in range(5):
            process = subprocess.Popen(
                [sys.executable, "-c", WRITER, url, str(round_ * 1_000)], stdout=subprocess.PIPE, text=True
            )
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(1 + round_ * 3)]
            process.kill()
            lines += process.stdout.readlines()
            process.wait(timeout=30)
            process.stdout.close()
            stored += [line.strip() for line in lines if line.endswith("\n")]
            assert isinstance(store.verify(), Whole)
        assert set(stored) <= set(ids(store.tail(limit=10_000)))


# -- questions -------------------------------------------------------------------------------------------------------


def test_tail_is_in_the_order_of_time_also_when_one_agent_was_collected_after_another(store: JournalStore) -> None:
    assert store.newest() == 0
    store.append_many([event(1), event(3), event(5)])
    store.append_many([event(2), event(4)])
    assert ids(store.tail(limit=4)) == numbered(2, 3, 4, 5)
    assert ids(store.tail(after=2)) == numbered(5, 2, 4), "and what came in after a link in the order of the chain"
    assert store.newest() == 5


def test_tail_gives_the_newest_and_goes_on_after_a_link(store: JournalStore) -> None:
    store.append_many([event(number) for number in range(1, 21)])
    assert ids(store.tail(limit=3)) == numbered(18, 19, 20)
    assert ids(store.tail(limit=3, after=0)) == numbered(1, 2, 3)
    assert ids(store.tail(after=18)) == numbered(19, 20)
    assert store.tail(after=20) == []
    assert store.tail(limit=0) == []


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (Filter(), (1, 2, 3, 4)),
        (Filter(kind="drain.started"), (1, 2)),
        (Filter(kind="drain.*"), (1, 2, 3)),
        (Filter(subject="node/web1"), (1, 4)),
        (Filter(subject="node/*"), (1, 2, 4)),
        (Filter(actor="agent/lb_1"), (3,)),
        (Filter(actor="agent/*"), (3, 4)),
        (Filter(text="KERNEL"), (1, 2)),
        (Filter(text="100%"), (3,)),
        (Filter(text="lb_1"), (3,)),
        (Filter(text="größe"), (4,)),
        (Filter(text="!'\";--"), ()),
        (Filter(since=NOW + timedelta(seconds=2), until=NOW + timedelta(seconds=4)), (2, 3)),
        (Filter(kind="drain.*", subject="node/web1", actor="alice"), (1,)),
    ],
)
def test_tail_filters(store: JournalStore, where: Filter, expected: tuple[int, ...]) -> None:
    store.append_many(
        [
            event(1),
            event(2),
            event(3, kind="drain.proven", subject="pool/web", actor="agent/lb_1", reason="100% finished"),
            event(4, kind="backend.ejected", actor="agent/lbx1", reason="", data={"größe": 1}),
        ]
    )
    assert ids(store.tail(where=where)) == numbered(*expected)


def test_an_event_tells_its_causes_and_effects(store: JournalStore) -> None:
    store.append_many(
        [
            event(1),
            event(2, cause=event(1).id),
            event(3, cause=event(2).id),
            event(4, cause=event(3).id),
            event(5, cause=event(3).id),
            event(6, cause=event(4).id),
            event(7),
            event(8, cause=event(1).id),
        ]
    )
    story = store.causes(event(3).id)
    assert story is not None
    assert [one.id for one in story.causes] == numbered(1, 2)
    assert [one.id for one in story.effects] == numbered(4, 5, 6)
    assert not story.cut


def test_a_cause_that_is_unknown_or_a_circle_ends_the_story(store: JournalStore) -> None:
    store.append_many([event(1, cause=event(2).id), event(2, cause=event(1).id), event(3, cause="unknown-cause")])
    story = store.causes(event(1).id)
    assert story is not None
    assert ([one.id for one in story.causes], [one.id for one in story.effects]) == (numbered(2), numbered(2))
    lonely = store.causes(event(3).id)
    assert lonely is not None
    assert lonely.causes == ()
    assert store.causes("unknown-id") is None
    assert store.get("unknown-id") is None


# -- verification ----------------------------------------------------------------------------------------------------


def tamper(url: str, *statements: str) -> None:
    """What somebody with the database's password could do, past the triggers."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("ALTER TABLE journal_link DISABLE TRIGGER ALL"))
        else:
            connection.execute(text("DROP TRIGGER journal_link_no_update"))
            connection.execute(text("DROP TRIGGER journal_link_no_delete"))
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


TAMPERED = {
    "a reason is altered": (["UPDATE journal_link SET reason='disk' WHERE seq=7"], 7, Fault.ALTERED),
    "a time is altered": (["UPDATE journal_link SET time='2026-11-22T12:00:08.000000Z' WHERE seq=7"], 7, Fault.ALTERED),
    "a time is no time": (["UPDATE journal_link SET time='yesterday' WHERE seq=7"], 7, Fault.ALTERED),
    "data is altered": (["UPDATE journal_link SET data='{\"x\":1}' WHERE seq=7"], 7, Fault.ALTERED),
    "data is no JSON": (["UPDATE journal_link SET data='{' WHERE seq=7"], 7, Fault.ALTERED),
    "a hash is altered": (["UPDATE journal_link SET hash='00' WHERE seq=7"], 7, Fault.ALTERED),
    "one is removed": (["DELETE FROM journal_link WHERE seq=7"], 8, Fault.MISSING),
    "the first is removed": (["DELETE FROM journal_link WHERE seq=1"], 2, Fault.MISSING),
    "some are removed": (["DELETE FROM journal_link WHERE seq IN (7, 8)"], 9, Fault.MISSING),
    "the newest are removed": (["DELETE FROM journal_link WHERE seq>7"], 8, Fault.MISSING),
    "all are removed": (["DELETE FROM journal_link"], 1, Fault.MISSING),
    "one is removed and the rest renumbered": (
        [
            "DELETE FROM journal_link WHERE seq=7",
            "UPDATE journal_link SET seq=-seq WHERE seq>7",
            "UPDATE journal_link SET seq=-seq-1 WHERE seq<0",
        ],
        7,
        Fault.MISSING,
    ),
    "two change places": (
        [
            "UPDATE journal_link SET seq=-7 WHERE seq=7",
            "UPDATE journal_link SET seq=7 WHERE seq=9",
            "UPDATE journal_link SET seq=9 WHERE seq=-7",
        ],
        7,
        Fault.REORDERED,
    ),
    "the head is set back": (["UPDATE journal_head SET seq=5"], 10, Fault.ALTERED),
    "the head is removed": (["DELETE FROM journal_head"], 10, Fault.ALTERED),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_verify_names_the_first_broken_link(store: JournalStore, url: str, case: str) -> None:
    statements, seq, fault = TAMPERED[case]
    store.append_many([event(number) for number in range(1, 11)])
    assert isinstance(store.verify(), Whole)
    tamper(url, *statements)
    broken = store.verify()
    assert isinstance(broken, Broken)
    assert (broken.seq, broken.fault) == (seq, fault), broken.sentence


def test_a_journal_written_anew_is_found_by_a_head_that_was_noted(store: JournalStore, url: str) -> None:
    store.append_many([event(1), event(2)])
    noted = store.verify()
    assert isinstance(noted, Whole)
    store.append(event(3))
    assert isinstance(store.verify(expect=noted.head), Whole)
    tamper(url, "DELETE FROM journal_link", f"UPDATE journal_head SET seq=0, hash='{GENESIS}'")
    store.append_many([event(1), event(2, reason="other"), event(3)])
    assert isinstance(store.verify(), Whole)
    assert isinstance(store.verify(expect=noted.head), Broken)


@pytest.mark.parametrize("statement", ["UPDATE journal_link SET reason='x'", "DELETE FROM journal_link"])
def test_the_database_itself_refuses_to_alter_or_remove_an_event(store: JournalStore, url: str, statement: str) -> None:
    store.append(event(1))
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with pytest.raises(Exception, match="append-only"), engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


# -- errors ----------------------------------------------------------------------------------------------------------


def test_a_journal_of_a_newer_version_is_left_alone(store: JournalStore, url: str) -> None:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(text("UPDATE journal_version SET version_num='9999'"))
    engine.dispose()
    with pytest.raises(JournalError, match=f"schema 9999, this one knows {REVISION}"):
        JournalStore.open(url)


def test_a_row_that_a_hand_has_spoilt_is_told_by_every_question(store: JournalStore, url: str) -> None:
    store.append_many([event(1), event(2)])
    tamper(url, "UPDATE journal_link SET time='yesterday' WHERE seq=1")
    for ask in (store.tail, lambda: store.get(event(1).id), lambda: store.causes(event(1).id)):
        with pytest.raises(JournalError, match="link 1 of the journal is no event any more"):
            ask()
    assert store.append_many([event(1)]).differing == (event(1).id,)


def test_a_writer_that_gets_no_turn_is_an_error_and_not_a_hang(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backstay.journal.store.database.LOCK_TIMEOUT_S", 1)
    with JournalStore.open(url) as first, JournalStore.open(url) as second:
        with first._database.writing(), pytest.raises(JournalError, match=r"could not be written: .*lock"):
            second.append(event(1))
        second.append(event(1))


def test_a_database_that_is_not_there_is_an_error_that_says_where() -> None:
    with pytest.raises(JournalError, match=r"127\.0\.0\.1:1/x: could not be read") as raised:
        JournalStore.open("postgresql://alice:secret@127.0.0.1:1/x")
    assert "secret" not in str(raised.value)


def test_a_database_that_fails_is_an_error_that_says_where(store: JournalStore, url: str) -> None:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE journal_link"))
    engine.dispose()
    with pytest.raises(JournalError, match=r"could not be written.*journal_link") as raised:
        store.append(event(1, id=new_id()))
    assert "Is the database up" in str(raised.value)
