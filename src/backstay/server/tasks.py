"""What a server does by itself: looks for what others did, ends what is over, keeps what agents said, forgets the old.

Each task takes its turns alone; one that fails says so in the snapshot's `trouble` and is tried again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

from structlog import get_logger

from backstay.journal import JournalError
from backstay.server.ports import StoreError
from backstay.server.shell import Server

MARKS_EVERY_S = 0.25  # half of what another server's click may take to reach an agent here
REPORTS_EVERY_S = 0.5
EXPIRY_EVERY_S = 0.5
SEEN_EVERY_S = 5.0
FORGET_EVERY_S = 3_600.0
FORGET_AFTER = timedelta(days=30)  # changes and orders; the journal remembers them
END_S = 5.0  # for the last reports

log = get_logger()


class Tasks:
    """`async with Tasks(server).running(): ...`"""

    def __init__(self, server: Server) -> None:
        self._server = server

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        turns: dict[str, tuple[float, Callable[[], Awaitable[object]]]] = {
            "marks": (MARKS_EVERY_S, self.look),
            "reports": (REPORTS_EVERY_S, self.keep_reports),
            "expiry": (EXPIRY_EVERY_S, self.expire),
            "seen": (SEEN_EVERY_S, self.keep_seen),
            "forgetting": (FORGET_EVERY_S, self.forget),
        }
        tasks = [asyncio.create_task(self._repeat(name, *turn), name=name) for name, turn in turns.items()]
        self._server.newest.together = True
        try:
            yield
        finally:
            self._server.newest.together = False
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with suppress(StoreError, TimeoutError):
                await asyncio.wait_for(self.keep_reports(), END_S)

    async def _repeat(self, name: str, every_s: float, turn: Callable[[], Awaitable[object]]) -> None:
        failed = ""
        while True:
            try:
                await turn()
            except (StoreError, JournalError) as error:
                # The database is `look`'s to tell; what another task did not do is done by its next turn.
                log.debug("a task waits for the database", task=name, error=str(error))
            except Exception as error:  # a fault of ours: said, and not the end of the server
                if failed != repr(error):
                    log.exception("a task failed", task=name)
                failed = repr(error)
                self._server.newest.trouble(name, f"The server's {name} does not work: {error!r}. Its log says more.")
            else:
                if failed:
                    failed = ""
                    self._server.newest.trouble(name, None)
            await asyncio.sleep(every_s)

    async def look(self) -> None:
        """Whether the database answers, and what other servers put there."""
        server = self._server
        try:
            await server.refresh()
        except StoreError as error:
            self._give_up(str(error))
            raise
        if server.away is not None:
            server.away = None
            log.info("the database answers again")
            server.newest.trouble("database", None)

    def _give_up(self, why: str) -> None:
        """Until the database answers again, nobody waits for it."""
        server = self._server
        if server.away is None:
            log.error("the database does not answer", error=why)
            server.away = f"The database does not answer since {server.now():%H:%M:%S} UTC, nothing can change. {why}"
            server.newest.trouble("database", server.away)

    async def keep_reports(self) -> None:
        """The newest of each agent, many at once: one snapshot and one transaction, whatever their number."""
        server = self._server
        server.newest.publish_reports()
        if not server.unsaved or server.away is not None:
            return
        batch, server.unsaved = server.unsaved, {}
        try:
            await server.call(server.store.report, list(batch.values()))
        except StoreError:
            server.unsaved = batch | server.unsaved
            raise

    async def keep_seen(self) -> None:
        """Who waits here is there; who waits at another server, too."""
        server = self._server
        here = [lb for lb, waiting in server.polling.items() if waiting > 0 and lb in server.snapshot().agents]
        now = server.now()
        server.newest.seen(dict.fromkeys(here, now))
        if here:
            await server.call(server.store.seen, here, now)
        server.newest.seen(await server.call(server.store.seen_at))

    async def expire(self) -> None:
        if self._server.away is None:
            await self._server.expire()

    async def forget(self) -> None:
        gone = await self._server.call(self._server.store.forget, self._server.now() - FORGET_AFTER)
        if gone:
            log.info("forgot what ended long ago", rows=gone)
