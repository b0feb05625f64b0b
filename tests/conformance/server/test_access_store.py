"""What access keeps, on SQLite and PostgreSQL: atomic where several servers come at once, and bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from backstay.journal.store import Database
from backstay.server.access.model import AccessError, Session, User, Via
from backstay.server.access.registry import Registry
from backstay.server.access.rules import ACCOUNT, ADDRESS
from backstay.server.access.store import gates as gates_module
from backstay.server.access.store.gates import Differs, Fresh, Kept, Passage, UnderWay
from backstay.server.access.store.people import SESSIONS_LIMIT
from backstay.server.access.store.tables import bucket, metadata
from backstay.server.access.tokens import digest
from backstay.server.model import Role

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
WHY = {"actor": "root", "reason": "for a test"}
AT_ONCE = 8


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    made = Database(request.getfixturevalue(f"{request.param}_url"))
    yield made
    made.close()


@pytest.fixture
def registry(database: Database) -> Registry:
    return Registry(database, clock=lambda: NOW)


def at_once(work: Callable[[], Any]) -> list[Any]:
    with ThreadPoolExecutor(AT_ONCE) as threads:
        return [one.result(timeout=60) for one in [threads.submit(work) for _ in range(AT_ONCE)]]


def test_the_tables_are_what_the_code_says(registry: Registry, database: Database) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with database.reading() as connection:
        mine = MigrationContext.configure(
            connection, opts={"include_object": lambda _, name, kind, *rest: kind != "table" or name in metadata.tables}
        )
        assert compare_metadata(mine, metadata) == []


def test_a_burst_of_logins_counts_each_before_any_password_is_looked_at(registry: Registry) -> None:
    waits = at_once(lambda: registry.gates.try_login({"account/alice": ACCOUNT, "address/::1": ADDRESS}, NOW))
    assert sum(wait == 0 for wait in waits) == ACCOUNT.free
    registry.gates.succeeded("account/alice", ["address/::1"])
    assert registry.gates.try_login({"account/alice": ACCOUNT}, NOW) == 0


def test_counters_of_failures_are_bounded_and_the_oldest_go(
    registry: Registry, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gates_module, "BUCKETS_LIMIT", 5)
    for n in range(9):
        registry.gates.try_login({f"account/user{n}": ACCOUNT}, NOW + timedelta(seconds=n))
    with database.reading() as connection:
        names = sorted(connection.execute(select(bucket.c.name)).scalars())
    assert names == [f"account/user{n}" for n in range(4, 9)]
    registry.gates.prune(NOW + timedelta(hours=2))
    with database.reading() as connection:
        assert connection.execute(select(func.count()).select_from(bucket)).scalar() == 0


def test_of_many_who_claim_a_key_at_once_one_carries_it_out(registry: Registry) -> None:
    found = at_once(lambda: registry.gates.claim("carol", "key-0001", "0" * 64, NOW))
    assert sorted(type(one) for one in found if isinstance(one, Fresh)) == [Fresh]
    assert sum(isinstance(one, UnderWay) for one in found) == AT_ONCE - 1
    kept = Kept(status=201, media_type="application/json", body=b'{"a":"\xc3\xa9"}')
    registry.gates.keep("carol", "key-0001", kept)
    assert registry.gates.claim("carol", "key-0001", "0" * 64, NOW) == kept
    assert isinstance(registry.gates.claim("carol", "key-0001", "1" * 64, NOW), Differs)
    assert isinstance(registry.gates.claim("dave", "key-0001", "1" * 64, NOW), Fresh)
    registry.gates.release("carol", "key-0001")  # what was answered stays
    assert registry.gates.claim("carol", "key-0001", "0" * 64, NOW) == kept


def test_a_join_token_is_spent_once_however_many_come(registry: Registry) -> None:
    _, secret = registry.make_join_token("lb1", **WHY)
    found = [one for one in at_once(lambda: registry.spend_join_token("lb1", secret)) if one is not None]
    assert len(found) == 1
    assert registry.agents.credentials() == {digest(found[0]): ("lb1", False)}


def test_a_link_is_used_once_however_many_come(registry: Registry) -> None:
    registry.add_user("dave", Role.VIEWER, **WHY)
    secret, _ = registry.make_link("dave", **WHY)
    numbers = iter(range(AT_ONCE))

    def use() -> bool:
        n = next(numbers)
        session = Session(id=f"s{n}", user="dave", via=Via.LINK, address="::1", created_at=NOW, seen_at=NOW)
        return registry.people.use_link(digest(secret), "hash", session, digest(f"session{n}"), [])

    assert sorted(at_once(use)) == [False] * (AT_ONCE - 1) + [True]
    assert len(registry.people.sessions("dave")) == 1


def test_a_passage_is_taken_once_and_not_too_late(registry: Registry) -> None:
    passage = Passage(nonce="n", verifier="v", back="/")
    registry.gates.put_passage("a" * 64, passage, NOW)
    registry.gates.put_passage("b" * 64, passage, NOW)
    found = at_once(lambda: registry.gates.take_passage("a" * 64, NOW))
    assert [one for one in found if one is not None] == [passage]
    assert registry.gates.take_passage("b" * 64, NOW + timedelta(minutes=10)) is None


def test_a_user_has_so_many_sessions_and_the_oldest_makes_room(registry: Registry) -> None:
    registry.add_user("dave", Role.VIEWER, **WHY)
    for n in range(SESSIONS_LIMIT + 3):
        at = NOW + timedelta(seconds=n)
        session = Session(id=f"s{n:03}", user="dave", via=Via.OIDC, address="::1", created_at=at, seen_at=at)
        registry.people.begin_session(session, digest(str(n)), [])
    sessions = registry.people.sessions("dave")
    assert len(sessions) == SESSIONS_LIMIT
    assert (sessions[0].id, sessions[-1].id) == ("s052", "s003")


def test_a_provider_s_user_keeps_the_name_and_takes_nobody_elses(registry: Registry) -> None:
    registry.add_user("alice", Role.ADMIN, **WHY)
    found = User(name="alice", role=Role.VIEWER, issuer="https://id.example", subject="1", created_at=NOW)
    with pytest.raises(AccessError, match="another user's name"):
        registry.people.of_provider(found, [])
    bob = User(name="bob", role=Role.VIEWER, issuer="https://id.example", subject="2", created_at=NOW)
    assert registry.people.of_provider(bob, []).name == "bob"
    renamed = User(name="robert", role=Role.OPERATOR, issuer="https://id.example", subject="2", created_at=NOW)
    again = registry.people.of_provider(renamed, [])
    assert (again.name, again.role) == ("bob", Role.OPERATOR)
    with pytest.raises(AccessError, match="no password here"):
        registry.set_password("bob", "correct horse battery staple", **WHY)


def test_what_was_refused_left_nothing_behind_not_even_in_the_journal(registry: Registry, database: Database) -> None:
    from backstay.journal.store import JournalStore

    registry.add_user("alice", Role.ADMIN, **WHY)
    for refused in (
        lambda: registry.add_user("alice", Role.VIEWER, **WHY),
        lambda: registry.set_role("alice", Role.VIEWER, **WHY),
        lambda: registry.set_enabled("alice", False, **WHY),
        lambda: registry.make_link("nobody", **WHY),
        lambda: registry.revoke_token("nothing", **WHY),
        lambda: registry.add_user("bob", Role.VIEWER, actor="root", reason="two\nlines"),
    ):
        with pytest.raises(AccessError):
            refused()
    assert [link.event.kind for link in JournalStore(database).tail()] == ["user.added"]
    assert registry.people.users()[0].role is Role.ADMIN
