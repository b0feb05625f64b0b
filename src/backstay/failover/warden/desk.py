"""What all parts of a warden share: who I am, what I was given, what I know, what I remember, and the journal."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import structlog

from backstay.failover import standpoint
from backstay.failover.known import Declared, Hands, Known
from backstay.failover.memory import Memory
from backstay.failover.model import Evidence, Normal
from backstay.failover.pages import Pages

BOOT_S = 180.0
SAVE_EVERY_S = 60.0  # what is learnt of others; whatever decides is saved at once
SAVE_AGAIN_S = 1.0  # a disk that took nothing

log = structlog.get_logger()


class Desk:
    """One address on one candidate."""

    def __init__(self, me: str, declared: Declared, hands: Hands) -> None:
        self.me = me
        self.declared = declared
        self.hands = hands
        self.known = Known()
        self.pages = Pages(ip=declared.name, me=me)
        self.work: asyncio.Task[object] | None = None  # a takeover or a planned move
        self.peers_due_s = 0.0
        self._aside: set[asyncio.Task[object]] = set()  # reads, verifications, peers
        self.memory, fault = hands.keep.load(self.now_s())
        if fault:
            self.pen("ip.memory_damaged", fault)
        # After a boot of this machine the others may be booting too; after a mere restart of the agent they are not.
        booted = self.now_s() < BOOT_S
        self.known_before = frozenset(n for n, normal in self.memory.normal.items() if normal.watched_s and not booted)
        self._normal_to_watcher()
        self._saved_s = self.now_s()
        self._unsaved = False

    # --- time ----------------------------------------------------------------------------------------------------

    def now_s(self) -> float:
        """Of the clock that is never stepped."""
        return self.hands.clock().boottime_s

    def wall(self) -> datetime:
        """UTC, for people."""
        return self.hands.clock().wall

    # --- what is known ---------------------------------------------------------------------------------------------

    @property
    def holder(self) -> str | None:
        """By the provider's last word; None: nobody, or not known."""
        return self.known.owner.holder if self.known.owner else None

    @property
    def busy(self) -> bool:
        return self.work is not None and not self.work.done()

    def evidence_of(self, name: str) -> Evidence | None:
        """None while it answers."""
        return standpoint.evidence_of(self, name)

    def soon(self, now_s: float) -> None:
        """Read the owner and ask the others now, not when their turn comes."""
        self.known.owner_due_s = min(self.known.owner_due_s, now_s)
        self.peers_due_s = now_s

    # --- the journal -----------------------------------------------------------------------------------------------

    def pen(
        self,
        kind: str,
        reason: str,
        *,
        data: Mapping[str, Any] | None = None,
        actor: str | None = None,
        cause: str | None = None,
    ) -> str:
        """Write an event of this address; its id."""
        return self.hands.pen(kind, f"ip/{self.declared.name}", reason, data=data, actor=actor, cause=cause)

    # --- memory ----------------------------------------------------------------------------------------------------

    def keep(self, memory: Memory) -> None:
        """This decides something: on disk before anything follows from it, unless the disk takes nothing."""
        self.memory = memory
        self.save()

    def save(self) -> None:
        self.memory = replace(self.memory, normal=self._normal_from_watcher())
        fault = self.hands.keep.fault
        self._unsaved = not self.hands.keep.save(self.memory, self.now_s())
        self._saved_s = self.now_s()
        if self._unsaved and not fault:
            log.error("a candidate's memory is not on disk", ip=self.declared.name, fault=self.hands.keep.fault)

    def save_when_due(self, now_s: float) -> None:
        if now_s - self._saved_s >= (SAVE_AGAIN_S if self._unsaved else SAVE_EVERY_S):
            self.save()

    def _normal_from_watcher(self) -> dict[str, Normal]:
        watched = self.hands.watcher.suspicions
        return {name: watched[name].normal for name in self.declared.candidates if name != self.me and name in watched}

    def _normal_to_watcher(self) -> None:
        watcher = self.hands.watcher
        for name, normal in self.memory.normal.items():
            known = watcher.suspicions.get(name)
            if known is not None and known.normal.updated_at_s is None:
                watcher.suspicions[name] = replace(known, normal=normal)

    # --- tasks -----------------------------------------------------------------------------------------------------

    def spawn(self, work: Awaitable[object]) -> None:
        """Do `work` aside."""

        async def guarded() -> None:
            try:
                await work
            except Exception:  # a fault of ours in one question must not end the watch
                log.exception("a failover task failed", ip=self.declared.name)

        task = asyncio.create_task(guarded())
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)

    async def close(self) -> None:
        """End: what was begun at the provider is told by its own word at the next start."""
        tasks = [*self._aside, *([self.work] if self.work else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.save()
