"""Fixtures for everybody. `postgres_url`: a real PostgreSQL, started once a session, with a fresh database a test.

With BACKSTAY_TEST_ALL=1 (CI) a skipped test fails: a machine that has everything leaves nothing out in silence.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from real_postgres import RealPostgres, running_postgres

_numbers = itertools.count(1)

# An example is slow on a machine that runs whole estates beside it; pytest-timeout ends what hangs.
settings.register_profile("backstay", deadline=None)
settings.load_profile("backstay")


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in the same hook
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the cases of a suite that one adapter has no such thing for: they are no skips, they do not exist.

    What looks at the whole machine before and after runs in one worker, one after the other; failover's lab, which
    waits most of its time, in another.
    """
    for item in items:
        if item.path.parent.name == "lab" or item.path.name == "test_probes_in_a_namespace.py":
            group = "failover" if item.path.name == "test_failover.py" else "lab"
            item.add_marker(pytest.mark.xdist_group(group))
    gone = [item for item in items if any(_is_not_for(item, mark.args[0]) for mark in item.iter_markers("not_for"))]
    left_out = set(gone)
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=gone)


def _is_not_for(item: pytest.Item, adapter: str) -> bool:
    """`adapter`: words of the case's id, all of them ("command-writes")."""
    words = set(item.callspec.id.lower().split("-")) if isinstance(item, pytest.Function) else set()
    return set(adapter.split("-")) <= words


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and os.environ.get("BACKSTAY_TEST_ALL") == "1" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, and BACKSTAY_TEST_ALL=1 allows no skips: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[RealPostgres]:
    """The server. Skips with the reason where none can run."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: RealPostgres) -> str:
    """The URL of an empty database of its own."""
    return postgres_server.create_database(f"test_{next(_numbers)}")


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'journal.db'}"
