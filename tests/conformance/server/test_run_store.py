"""Runs in the database, on SQLite and PostgreSQL: each once, ended once, shown newest first."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from backstay.journal import Event, new_id
from backstay.journal.store import Database, JournalStore
from backstay.server.runs.model import NodeRun, NodeRunState, Printed, Run
from backstay.server.runs.store import RunStore
from backstay.server.runs.tables import metadata
from backstay.server.store import DatabaseStore

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.fixture
def runs(database: Database, store: DatabaseStore) -> RunStore:
    return RunStore(database)


def an_event(kind: str = "run.started") -> Event:
    return Event(id=new_id(), time=NOW, kind=kind, subject="run/x", actor="alice", reason="a test", data={}, cause=None)


def a_run(name: str, minutes: int = 0) -> Run:
    at = NOW + timedelta(minutes=minutes)
    nodes = (NodeRun(node="web2"), NodeRun(node="web1"))
    return Run(id=name, selector="cluster/web", command="puppet agent", actor="alice", reason="a test", at=at,
               event="none", alive_at=at, nodes=nodes)  # fmt: skip


def test_the_tables_are_what_the_code_says(database: Database, runs: RunStore) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with database.reading() as connection:
        context = MigrationContext.configure(
            connection, opts={"include_name": lambda name, kind, _: kind != "table" or str(name).startswith("run_")}
        )
        assert compare_metadata(context, metadata) == []


def test_a_run_is_kept_once_with_its_event_and_comes_back_whole(runs: RunStore, database: Database) -> None:
    event = an_event()
    assert runs.put(a_run("first"), event)
    assert not runs.put(a_run("first"), an_event())
    assert runs.find("first") == a_run("first")
    assert [link.event.id for link in JournalStore(database).tail()] == [event.id]
    assert runs.find("none") is None


def test_a_node_is_kept_with_what_it_printed_so_far(runs: RunStore) -> None:
    runs.put(a_run("first"), an_event())
    running = NodeRun(node="web1", state=NodeRunState.RUNNING, started_at=NOW)
    runs.keep("first", running, Printed(text="a"))
    runs.keep("first", running, Printed(text="ab\U0001f600", left_out=3))
    runs.keep("first", replace(running, state=NodeRunState.CHANGED, exit_code=2, ended_at=NOW), None)
    found = runs.find("first")
    assert found is not None
    assert [node.state for node in found.nodes] == [NodeRunState.WAITING, NodeRunState.CHANGED]
    assert runs.printed("first", "web1") == Printed(text="ab\U0001f600", left_out=3)
    assert runs.printed("first", "web2") == Printed(text="")


def test_a_run_ends_once_and_what_is_open_then_is_lost(runs: RunStore) -> None:
    runs.put(a_run("first"), an_event())
    runs.keep("first", NodeRun(node="web1", state=NodeRunState.FAILED, exit_code=1), None)
    assert [run.id for run in runs.under_way()] == ["first"]
    assert runs.end("first", NOW, an_event("run.ended"), error="the server died")
    assert not runs.end("first", NOW, an_event("run.ended"), error="again")
    found = runs.find("first")
    assert found is not None
    states = {node.node: (node.state, node.error) for node in found.nodes}
    assert states == {"web2": (NodeRunState.LOST, "the server died"), "web1": (NodeRunState.FAILED, "")}
    assert runs.under_way() == []


def test_pages_go_back_in_time_and_the_old_are_forgotten(runs: RunStore) -> None:
    for number in range(5):
        runs.put(a_run(f"run-{number}", minutes=number // 2), an_event())
    first = runs.newest(3)
    rest = runs.newest(3, before=first[-1].id)
    assert [run.id for run in [*first, *rest]] == ["run-4", "run-3", "run-2", "run-1", "run-0"]
    runs.end("run-0", NOW, an_event("run.ended"), error="")
    assert runs.forget(NOW + timedelta(days=1)) == 1
    assert runs.find("run-0") is None
    assert len(runs.newest(10)) == 4
