"""Fixtures for everybody. `postgres_url`: a real PostgreSQL, started once a session, with a fresh database a test.

With BACKSTAY_TEST_ALL=1 (CI) a skipped test fails: a machine that has everything leaves nothing out in silence.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from real_postgres import RealPostgres, running_postgres

_numbers = itertools.count(1)

# An example is slow on a machine that runs whole estates beside it; pytest-timeout ends what hangs.
settings.register_profile("backstay", deadline=None)
settings.load_profile("backstay")


# The longest first: whole estates in real time.
GROUPS = {
    "tests/lab/test_failover.py": "failover",
    "tests/conformance/look/test_probes_in_a_namespace.py": "lab",
    "tests/lab/": "lab",
    "tests/browser/": "browser",
}


def group_of(nodeid: str) -> str:
    """Tests of one group share a worker, one after the other: labs look at the whole machine before and after, and a
    browser, a lab or a database is made once a file."""
    file = nodeid.partition("::")[0]
    return next((group for beginning, group in GROUPS.items() if file.startswith(beginning)), file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadScopeScheduling

    class Grouped(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    config.option.loadscopereorder = False  # the order is that of `pytest_collection_modifyitems`
    return Grouped(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the cases of a suite that one adapter has no such thing for: they are no skips, they do not exist.
    The longest groups first, so that the others fill the gaps.
    """
    order = list(dict.fromkeys(GROUPS.values()))
    items.sort(key=lambda item: order.index(group) if (group := group_of(item.nodeid)) in order else len(order))
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
