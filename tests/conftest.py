"""Fixtures for everybody. `postgres_url`: a real PostgreSQL, started once a session, with a fresh database a test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from real_postgres import NoPostgres, RealPostgres

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[RealPostgres]:
    """The server. Skips with the reason where none can run."""
    server = RealPostgres()
    try:
        server.start()
    except NoPostgres as reason:
        server.stop()
        pytest.skip(f"no PostgreSQL: {reason}")
    yield server
    server.stop()


@pytest.fixture
def postgres_url(postgres_server: RealPostgres) -> str:
    """The URL of an empty database of its own."""
    return postgres_server.create_database(f"test_{next(_numbers)}")


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'journal.db'}"
