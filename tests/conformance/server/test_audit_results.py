"""The audit's results, lease and asks, on SQLite and PostgreSQL: one server collects, nothing is done twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from backstay.journal import Event, new_id
from backstay.journal.store import Database, JournalStore
from backstay.server.audit.model import Ask, AskKind, Key, Kind, Result
from backstay.server.audit.store import AuditStore, LeaseLost
from backstay.server.audit.tables import metadata
from backstay.server.store import DatabaseStore

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SOON = NOW + timedelta(seconds=45)
KEY = Key(kind=Kind.FINDING, cluster="queue", indicator="load", span="1d")


@pytest.fixture
def audit(database: Database, store: DatabaseStore) -> AuditStore:
    return AuditStore(database)


def an_event() -> Event:
    return Event(id=new_id(), time=NOW, kind="audit.found", subject="audit/queue/load", actor="server", reason="x",
                 data={}, cause=None)  # fmt: skip


def an_ask(name: str, kind: AskKind = AskKind.VERIFY) -> Ask:
    return Ask(id=name, kind=kind, body={"fix": "queue-load-1"}, actor="alice", reason="a test", at=NOW)


def test_the_tables_are_what_the_code_says(database: Database, audit: AuditStore) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with database.reading() as connection:
        ours = {table.name for table in metadata.sorted_tables}
        options = {"include_name": lambda name, kind, _: kind != "table" or name in ours}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []


def test_one_server_has_the_lease_and_another_when_it_ran_out(audit: AuditStore) -> None:
    assert audit.hold("one", NOW, SOON)
    assert not audit.hold("two", NOW, SOON)
    assert audit.hold("one", NOW, SOON)
    assert audit.hold("two", SOON, SOON + timedelta(seconds=45))
    audit.release("one")  # not its own any more
    lease = audit.holder()
    assert lease is not None and lease.holder == "two"
    audit.release("two")
    assert audit.holder() is None


def test_who_lost_the_lease_keeps_and_journals_nothing(audit: AuditStore, database: Database) -> None:
    audit.hold("one", NOW, SOON)
    audit.keep("one", [Result(key=KEY, at=NOW, head={"grade": "differs"}, body={"whole": True})], events=[an_event()])
    audit.hold("two", SOON, SOON + timedelta(seconds=45))
    with pytest.raises(LeaseLost):
        audit.keep("one", [Result(key=KEY, at=SOON, head={"grade": "nothing"})], events=[an_event()])
    found = audit.find(KEY)
    assert found is not None and (found.head, found.body) == ({"grade": "differs"}, {"whole": True})
    assert len(JournalStore(database).tail()) == 1


def test_heads_are_listed_without_bodies_and_what_is_gone_is_gone(audit: AuditStore) -> None:
    audit.hold("one", NOW, SOON)
    keys = [KEY, Key(kind=Kind.FINDING, cluster="web", indicator="errors/5xx", span="1w")]
    audit.keep("one", [Result(key=key, at=NOW, head={"grade": "differs"}, body={"whole": True}) for key in keys])
    assert [(one.key, one.body) for one in audit.heads(Kind.FINDING)] == [(key, {}) for key in keys]
    assert [one.key for one in audit.heads(Kind.FINDING, cluster="web")] == keys[1:]
    assert [one.key for one in audit.heads(Kind.FINDING, span="1d")] == keys[:1]
    audit.keep("one", [], gone=[KEY])
    assert audit.find(KEY) is None


def test_an_ask_is_taken_once_and_answered_once(audit: AuditStore, database: Database) -> None:
    assert audit.ask(an_ask("ask-1"))
    assert not audit.ask(an_ask("ask-1"))
    assert audit.waiting()
    assert audit.take("one", [AskKind.COLLECT], NOW) is None
    taken = audit.take("one", [AskKind.VERIFY], NOW)
    assert taken is not None and (taken.id, taken.body) == ("ask-1", {"fix": "queue-load-1"})
    assert audit.take("one", list(AskKind), NOW) is None
    assert (audit.waiting(), audit.unanswered()) == (False, 1)
    audit.answer("ask-1", {"done": True}, [an_event()])
    audit.answer("ask-1", {"done": False}, [an_event()])
    found = audit.asked("ask-1")
    assert found is not None and found.answer == {"done": True}
    assert len(JournalStore(database).tail()) == 1


def test_what_a_dead_server_had_taken_is_known(audit: AuditStore) -> None:
    audit.ask(an_ask("ask-1"))
    audit.take("one", list(AskKind), NOW)
    assert [one.id for one in audit.orphaned("two")] == ["ask-1"]
    assert audit.orphaned("one") == []
    audit.forget(NOW + timedelta(seconds=1))
    assert audit.asked("ask-1") is None
