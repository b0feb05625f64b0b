"""One suite, both databases: `database_url` is SQLite's, then PostgreSQL's. Each test has a copy of a made one."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from backstay.journal.store import Database
from backstay.server.store import DatabaseStore
from real_postgres import RealPostgres

_numbers = itertools.count(1)


def _make(url: str) -> str:
    database = Database(url)
    DatabaseStore(database)
    database.close()
    return url


@pytest.fixture(scope="session")
def sqlite_made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "server.db"
    _make(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_made(postgres_server: RealPostgres) -> str:
    _make(postgres_server.create_database("server_made"))
    return "server_made"


@pytest.fixture
def sqlite_copy(sqlite_made: Path, tmp_path: Path) -> str:
    return f"sqlite:///{shutil.copy(sqlite_made, tmp_path / 'server.db')}"


@pytest.fixture
def postgres_copy(postgres_server: RealPostgres, postgres_made: str) -> str:
    return postgres_server.create_database(f"server_{next(_numbers)}", template=postgres_made)


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    url = request.getfixturevalue(f"{request.param}_copy")
    assert isinstance(url, str)
    return url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    found = Database(database_url)
    yield found
    found.close()


@pytest.fixture
def store(database: Database) -> DatabaseStore:
    return DatabaseStore(database)
