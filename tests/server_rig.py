"""A real Server over a real database, for tests of every room of it. Nothing is faked but time.

server = make_server(tmp_path, SERVERDENSITY)         # SQLite, the estate adopted
await enrol(server, "lb1", "lb2")                     # agents that may report
...
server.close()                                        # or: `async with a_server(tmp_path, text) as server`
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from backstay.server.model import Principal, PrincipalKind, Role
from backstay.server.shell import Server, utc_now

EXAMPLES = Path(__file__).parents[1] / "examples"
SERVERDENSITY = (EXAMPLES / "serverdensity.yaml").read_text(encoding="utf-8")
ALICE = Principal(name="alice", kind=PrincipalKind.USER, role=Role.ADMIN)
REASON = "for a test"


class MovedClock:
    """The server's clock, moved by hand."""

    def __init__(self, at: datetime = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at

    def move(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


def make_server(
    tmp_path: Path,
    estate_text: str | None = SERVERDENSITY,
    *,
    now: Callable[[], datetime] = utc_now,
    database_url: str | None = None,
) -> Server:
    """A server with that estate adopted (None: none yet). Its tasks do not run: it sees what it does itself.

    Not from within a running event loop: `a_server` is for there.
    """
    server = Server.open(database_url or f"sqlite:///{tmp_path / 'server.db'}", now=now)
    if estate_text is not None:
        asyncio.run(adopt(server, estate_text))
    return server


@asynccontextmanager
async def a_server(
    tmp_path: Path,
    estate_text: str | None = SERVERDENSITY,
    *,
    now: Callable[[], datetime] = utc_now,
    database_url: str | None = None,
) -> AsyncIterator[Server]:
    """As `make_server`, in an event loop; closed at the end."""
    server = Server.open(database_url or f"sqlite:///{tmp_path / 'server.db'}", now=now)
    try:
        if estate_text is not None:
            await adopt(server, estate_text)
        yield server
    finally:
        server.close()


async def adopt(server: Server, estate_text: str) -> None:
    adopted = server.snapshot().adopted
    await server.adopt(estate_text, adopted.sha256 if adopted else None, ALICE, REASON)


async def enrol(server: Server, *lbs: str) -> None:
    """Agents of these load balancers may report. No credentials are made: those are access/'s."""
    for lb in lbs:
        await server.enrolled(lb, ALICE, REASON)
