"""The audit's desk in a process of its own, for the server: `python -m backstay.audit.child` (apart.py).

    question   {"do": "compare", "cluster": "queue", "since_s": 86400.0}
    answer     {"answer": what the desk says} or {"error": what, where, what next; "kind": word}; with either,
               "events": what the journal should have of it

numpy, DuckDB and the audit's store live here alone, so that the server's own process stays small. The store has one
writer: the child opens it when it is asked something and closes it at "rest", so that `backstay audit` on the same
machine has its turn between two passes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from backstay.apart import Answer, serve
from backstay.audit.desk import Desk, NotSo
from backstay.audit.planned import Planned
from backstay.audit.ports import SourceError
from backstay.audit.store import StoreBusy, StoreError
from backstay.estate import EstateFaults, load_text
from backstay.journal import Event, event_from_json, event_json, parse_time

LOCK_TIMEOUT_S = 10.0  # a command on this machine is done by then, or the next pass finds the store free

# How a fault is called, for who decides what to do about it.
FAULTS: tuple[tuple[type[Exception], str], ...] = (
    (NotSo, "not_so"),  # what was asked for cannot be: nothing is broken
    (StoreBusy, "busy"),
    (StoreError, "store"),
    (SourceError, "source"),
    (EstateFaults, "estate"),
)


class Bench:
    """One desk, opened when it is needed; questions take turns."""

    def __init__(self, first: Mapping[str, Any]) -> None:
        """`first`: {"estate": text, "name", "base": folder of relative paths, "state": folder of the store}."""
        self._first = first
        self._desk: Desk | None = None
        self._events: list[Event] = []
        self._turn = asyncio.Lock()

    async def answer(self, question: Mapping[str, Any]) -> dict[str, Any]:
        async with self._turn:
            self._events.clear()
            told = await self._told(question)
            return {**told, "events": [event_json(event) for event in self._events]}

    async def _told(self, question: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return {"answer": await ASKED[str(question["do"])](self, question)}
        except tuple(kind for kind, _ in FAULTS) as error:
            word = next(word for kind, word in FAULTS if isinstance(error, kind))
            return {"error": str(error), "kind": word}
        except Exception as error:  # a fault of ours: said, and not the end of the child
            return {"error": f"{type(error).__name__}: {error}", "kind": "fault"}

    def desk(self) -> Desk:
        """Raises StoreBusy, StoreError, SourceError, EstateFaults."""
        if self._desk is None:
            base = Path(self._first["base"])
            estate = load_text(self._first["estate"], self._first["name"], base).estate
            self._desk = Desk.open(
                estate,
                base,
                Path(self._first["state"]),
                clock=lambda: datetime.now(UTC),
                lock_timeout_s=LOCK_TIMEOUT_S,
                record=self._events.append,
            )
        return self._desk

    async def collect(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        return await self.desk().collect(asked["facts"], asked["indicators"], timeout_s=asked["each_s"])

    async def clusters(self, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
        return await self.desk().clusters(timedelta(seconds=asked["since_s"]))

    async def facts_diff(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        return await self.desk().facts_diff(asked["cluster"])

    async def compare(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        return await self.desk().compare(asked["cluster"], timedelta(seconds=asked["since_s"]))

    async def explain(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        since = timedelta(seconds=asked["since_s"])
        return await self.desk().explain(asked["cluster"], asked["indicator"], since)

    async def review(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """`end`, `clusters`: absent: up to now, all. `events`: of the journal, to be named beside what moved."""
        end = asked.get("end")
        events = [event_from_json(event) for event in asked["events"]]
        return await self.desk().review(parse_time(end) if end else None, asked.get("clusters", ()), events=events)

    async def register(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        words = {one.name: asked[one.name] for one in fields(Planned)}
        return await self.desk().register(
            Planned(**{**words, "nodes": tuple(asked["nodes"]), "by": parse_time(asked["by"])})
        )

    async def verify(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        return await self.desk().verify(asked["fix"], actor=asked["actor"])

    async def fixes(self, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
        return await self.desk().fixes()

    async def rest(self, asked: Mapping[str, Any]) -> None:
        """Give the store free for others."""
        desk, self._desk = self._desk, None
        if desk is not None:
            await desk.close()


ASKED: Mapping[str, Callable[[Bench, Mapping[str, Any]], Awaitable[Any]]] = {
    "collect": Bench.collect,
    "clusters": Bench.clusters,
    "facts_diff": Bench.facts_diff,
    "compare": Bench.compare,
    "explain": Bench.explain,
    "review": Bench.review,
    "register": Bench.register,
    "verify": Bench.verify,
    "fixes": Bench.fixes,
    "rest": Bench.rest,
}


def _begun(first: dict[str, Any]) -> Answer:
    return Bench(first).answer


if __name__ == "__main__":
    asyncio.run(serve(_begun))
