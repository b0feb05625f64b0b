"""What happens, for whoever listens: read four times a second, encoded once, told to all as server-sent events.

    journal and snapshot -> Tick (bytes) -> a ring -> every listener

A listener has no queue: it holds its place in the ring. One that is slower than the ring is long goes on from the
database, by the journal's numbers, as one that comes back with Last-Event-ID does; so a listener costs the same however
slow it is. Other servers' doings are in the same database, so every server tells all. The format is that of the HTML
standard, 9.2.6.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, deque
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backstay.journal import JournalError, event_json

if TYPE_CHECKING:
    from backstay.journal import Link
    from backstay.server.model import Snapshot
    from backstay.server.shell import Server

TICK_S = 0.25
RING = 240  # ticks: a minute
LINKS_LIMIT = 500  # read at once
ALIVE_EVERY_S = 10.0  # the console holds 20 s of silence for the end
LISTENERS_LIMIT = 500  # of this process
PER_PRINCIPAL_LIMIT = 50  # tabs of one person, programs with one token
RETRY_MS = 1_000


@dataclass(frozen=True, slots=True)
class Tick:
    """What was new at one look."""

    number: int  # 1, 2, ... of those that had something
    through: int  # the journal's number up to which all is told
    body: bytes  # events, encoded


class Feed:
    """One a process. It looks while somebody listens, and rests else."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._ring: deque[Tick] = deque(maxlen=RING)
        self._number = 0
        self._through = 0
        self._seen = server.snapshot()
        self._heard: frozenset[str] = frozenset()
        self._listening: Counter[str] = Counter()
        self._starting = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._told = asyncio.Event()

    @property
    def looking(self) -> bool:
        """Is there anybody to look for?"""
        return self._task is not None and not self._task.done()

    @property
    def listeners(self) -> int:
        return self._listening.total()

    def full(self, who: str) -> str:
        """Why `who` may not listen for the moment; "" when they may."""
        if self._listening.total() >= LISTENERS_LIMIT:
            return f"{LISTENERS_LIMIT} listen at this server already. Try again, or ask another server."
        if self._listening[who] >= PER_PRINCIPAL_LIMIT:
            return f"{who} listens {PER_PRINCIPAL_LIMIT} times already. Close some."
        return ""

    async def listen(self, who: str, after: int | None) -> AsyncGenerator[bytes]:
        """Events from now on; with `after`, also all of the journal that came after that number. Raises JournalError.

        Ends when the server does. Ask first whether it is `full`.
        """
        self._listening[who] += 1
        try:
            await self._start()
            async with aclosing(self._listen(after)) as told:
                async for body in told:
                    yield body
        finally:
            self._listening[who] -= 1
            if not self._listening[who]:
                del self._listening[who]

    async def _listen(self, after: int | None) -> AsyncGenerator[bytes]:
        number, through = self._number, self._through
        # One that has heard more than there is has listened to another journal.
        told = through if after is None else min(after, through)
        yield f"retry: {RETRY_MS}\n".encode() + alive(told)
        while True:
            async for body in self._missed(told, through):
                yield body
            missed = False
            while not missed:
                fresh = [tick for tick in self._ring if tick.number > number]
                if fresh:
                    missed = fresh[0].number > number + 1
                    if not missed:
                        number, told = fresh[-1].number, fresh[-1].through
                        yield b"".join(tick.body for tick in fresh)
                elif self._server.ending:
                    return
                elif not await self._wait():
                    yield alive(told)
            number, through = self._number, self._through
            yield revision(self._server.snapshot())  # what the missed ticks told beside the journal

    async def _missed(self, after: int, through: int) -> AsyncGenerator[bytes]:
        """The journal from number `after` on, through `through`; some at a time."""
        while after < through and not self._server.ending:
            links = await self._links(after)
            found = [link for link in links if link.seq <= through]
            if not found:
                return
            yield journal(found)
            after = found[-1].seq

    async def _links(self, after: int) -> list[Link]:
        return await self._server.call(lambda: self._server.journal.tail(limit=LINKS_LIMIT, after=after))

    async def _wait(self) -> bool:
        """Until something is told; False when nothing was for ALIVE_EVERY_S."""
        try:
            async with asyncio.timeout(ALIVE_EVERY_S):
                return await self._told.wait()
        except TimeoutError:
            return False

    # --- looking ----------------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        async with self._starting:
            if self.looking:
                return
            self._through = await self._server.call(self._server.journal.newest)
            self._seen = self._server.snapshot()
            self._heard = self._connected(self._seen)
            self._ring.clear()
            self._number += 1  # nobody's place is in the ring of before
            self._task = asyncio.create_task(self._run(), name="feed")

    async def _run(self) -> None:
        while self._listening and not self._server.ending:
            await asyncio.sleep(TICK_S)
            with suppress(JournalError):  # away: the snapshot's `trouble` tells, and the next look finds it back
                await self._look()
        self._wake()

    async def _look(self) -> None:
        """Make a tick of what is new, when anything is. Raises JournalError."""
        told = b"".join(self._of_snapshot())
        if told:
            self._tell(told)
        links = await self._links(self._through)
        if links:
            self._through = links[-1].seq
            self._tell(journal(links))

    def _of_snapshot(self) -> list[bytes]:
        now, before = self._server.snapshot(), self._seen
        heard = self._connected(now)
        altered = {lb for lb, agent in now.agents.items() if _reported_at(before, lb) != agent.reported_at}
        told = [report(lb) for lb in sorted(altered | (heard ^ self._heard))]
        if (now.revision, now.trouble) != (before.revision, before.trouble):
            told.append(revision(now))
        self._seen, self._heard = now, heard
        return told

    def _connected(self, snapshot: Snapshot) -> frozenset[str]:
        now = self._server.now()
        return frozenset(lb for lb, agent in snapshot.agents.items() if agent.connected(now))

    def _tell(self, body: bytes) -> None:
        self._number += 1
        self._ring.append(Tick(self._number, self._through, body))
        self._wake()

    def _wake(self) -> None:
        told, self._told = self._told, asyncio.Event()
        told.set()


def _reported_at(snapshot: Snapshot, lb: str) -> object:
    agent = snapshot.agents.get(lb)
    return None if agent is None else agent.reported_at


# --- encoded ---------------------------------------------------------------------------------------------------------


def journal(links: Iterable[Link]) -> bytes:
    """An event each; its id is the number in the journal, which Last-Event-ID brings back."""
    return b"".join(_event("journal", event_json(link.event) | {"seq": link.seq}, link.seq) for link in links)


def revision(snapshot: Snapshot) -> bytes:
    """What is desired has altered, or what is wrong with the server."""
    return _event("revision", {"revision": snapshot.revision})


def report(lb: str) -> bytes:
    """There is news of this load balancer's agent: it reported, came or went."""
    return _event("report", {"lb": lb})


def alive(through: int) -> bytes:
    """Nothing is new. It has an id too, so that who heard nothing else resumes from there."""
    return _event("alive", {"through": through}, through)


def _event(kind: str, data: object, number: int | None = None) -> bytes:
    # JSON on one line: dumps writes line breaks of texts as escapes.
    named = "" if number is None else f"id: {number}\n"
    return f"{named}event: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()
