"""The audit's results in a server's database, of examples/queue brought up to now: what a pass keeps.

    await fill(server, tmp_path)

The pass is the server's own (server/audit/passes.py); a `FileDesk` answers it, where the server's child would.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from backstay.audit.desk import FileDesk, NotSo
from backstay.audit.model import Cluster, FactChange, Grid
from backstay.audit.report.week import of_review
from backstay.audit.review import Watched, Week, review
from backstay.journal import Event
from backstay.server.audit.desk import DeskRefused
from backstay.server.audit.model import Key, Kind, Plain, Result
from backstay.server.audit.passes import Pass
from backstay.server.audit.store import AuditStore
from backstay.server.shell import Server

EXAMPLE = Path(__file__).parents[1] / "examples" / "queue"
AUDIT = "\naudit:\n  every_s: 60\n"
FIX = {
    "id": "queue-load-1",
    "cluster": "queue",
    "indicator": "load",
    "fact": "cpu.version",
    "nodes": ["queue4"],
    "value": None,
    "expected": -0.2,
    "by": "2026-12-01T12:00:00+00:00",
    "reason": "the same board as the others",
    "actor": "alice",
    "registered": "2026-11-20T12:00:00+00:00",
    "outcome": "waiting",
    "verdict": None,
    "confirmed": None,
    "sentence": "Registered; not verified yet.",
}


def now_files(folder: Path, now: datetime) -> tuple[Path, Path]:
    """The example's facts and indicators, moved so that the last sample is a minute old at `now`."""
    rows = list(csv.DictReader((EXAMPLE / "indicators.csv").read_text(encoding="utf-8").splitlines()))
    by = now.replace(second=0, microsecond=0) - timedelta(minutes=1) - max(map(_time, rows))
    indicators, facts = folder / "indicators.csv", folder / "facts.jsonl"
    with indicators.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, "time": (_time(row) + by).isoformat()} for row in rows)
    told = [json.loads(line) for line in (EXAMPLE / "facts.jsonl").read_text(encoding="utf-8").splitlines()]
    lines = [json.dumps({**one, "time": (now - timedelta(days=5)).isoformat()}) for one in told]
    facts.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return facts, indicators


def _time(row: Mapping[str, str]) -> datetime:
    return datetime.fromisoformat(row["time"])


def a_review(now: datetime) -> dict[str, Any]:
    """The review of a cluster over eight weeks: one node's load creeps towards its limit, another's stepped when its
    kernel changed."""
    hours, nodes = 8 * 7 * 24, ("queue1", "queue2", "queue3", "queue4")
    noise = np.random.default_rng(1)
    daily = 3.0 + np.sin(np.arange(hours) * 2.0 * np.pi / 24.0)
    load = np.array([daily * np.exp(noise.normal(0.0, 0.03, hours)) for _ in nodes])
    load[2] *= np.exp(np.linspace(0.0, 0.35, hours))
    load[1, -100:] *= 1.25
    start = now - timedelta(hours=hours)
    grid = Grid(nodes=nodes, indicators=("load",), start=start, step_s=3600.0, values=load[None])
    watched = Watched(cluster=Cluster(name="queue", nodes=nodes), grid=grid, limits={"load": 6.5})
    changed = FactChange(
        node="queue2", fact="kernel.release", before="6.1.0-20", after="6.1.0-25", time=now - timedelta(hours=100)
    )
    return of_review(review([watched], Week.until(now), changes=[changed]))


def a_verified_fix(now: datetime) -> dict[str, Any]:
    """A fix that was confirmed, with its report: queue3's load fell by a fifth when its CPU was changed, a day ago."""
    noise = np.random.default_rng(2)
    times = [(now - timedelta(days=3) + timedelta(minutes=30 * at)) for at in range(144)]
    changed = now - timedelta(days=1)

    def line(node: str, group: int, label: str, fall: float) -> dict[str, Any]:
        beside = [0.2 * (group == 0) + fall * (at > changed) + float(noise.normal(0.0, 0.02)) for at in times]
        return {"node": node, "group": group, "label": label, "beside": beside,
                "absolute": [4.0 * float(np.exp(value)) for value in beside]}  # fmt: skip

    verdict = {
        "outcome": "confirmed", "why": "came", "time": now.isoformat(),
        "effect": {"estimate": -0.22, "low": -0.25, "high": -0.19, "unit": "log ratio"}, "expected": -0.22,
        "p": 0.02, "placebos": 50, "log_odds": 3.9, "own": -0.22, "peers": 0.0, "before_s": 172_800.0,
        "after_s": 86_400.0, "wait_s": None, "together": ["cpu.microcode"], "missing": [], "problems": [],
        "nodes": [{"node": "queue3", "changed": changed.isoformat(), "estimate": -0.22, "gone": False}],
    }  # fmt: skip
    rests = ["48 h before and 24 h after the change.", "0 of 50 placebos show as much."]
    return {
        **FIX, "id": "queue-load-2", "nodes": ["queue3"], "outcome": "confirmed", "verdict": verdict,
        "sentence": "Confirmed by intervention: -20% came with the change, of -20% that was expected.",
        "report": {
            "series": {
                "times_s": [at.timestamp() for at in times],
                "nodes": [line("queue3", 0, "fixed", -0.22), line("queue1", 6, "", 0.0), line("queue2", 6, "", 0.0)],
                "left_out": 0,
            },
            "sections": [{"heading": "What it rests on", "lines": rests, "header": [], "rows": []}],
        },
    }  # fmt: skip


class Answers:
    """Asked as the child is."""

    def __init__(self, desk: FileDesk, fixes: Sequence[Mapping[str, Any]], review: Mapping[str, Any] | None) -> None:
        self._desk, self._fixes, self._review = desk, list(fixes), review

    async def __call__(self, do: str, *, timeout_s: float = 0.0, **asked: Any) -> Any:
        since = timedelta(seconds=asked.get("since_s", 0.0))
        try:
            match do:
                case "collect":
                    problem = "web1: unreachable: no answer within 10 s. Is it up?"
                    return {"facts": {}, "indicators": {}, "problems": [problem]}
                case "facts_diff":
                    return await self._desk.facts_diff(asked["cluster"])
                case "compare":
                    return await self._desk.compare(asked["cluster"], since)
                case "explain":
                    return await self._desk.explain(asked["cluster"], asked["indicator"], since)
                case "fixes":
                    return self._fixes
                case "review" if self._review is not None:
                    return self._review
        except NotSo as error:
            raise DeskRefused(str(error)) from None
        raise DeskRefused(f"{do}: not from files.")


class Kept:
    """The store of one server that holds the lease, as a pass sees it."""

    ME = "rig"

    def __init__(self, server: Server) -> None:
        self._server = server
        self.store = AuditStore(server.database)

    async def hold(self) -> None:
        """Take it over, from the server's own audit if that was quicker: it sees that it has lost it, and waits."""
        now = self._server.now()
        found = await self._server.call(self.store.holder)
        if found is not None:
            await self._server.call(self.store.release, found.holder)
        await self._server.call(self.store.hold, self.ME, now, now + timedelta(days=1))

    async def keep(self, results: Sequence[Result], gone: Iterable[Key] = (), events: Sequence[Event] = ()) -> None:
        await self._server.call(lambda: self.store.keep(self.ME, results, gone=gone, events=events))

    async def find(self, key: Key) -> Result | None:
        return await self._server.call(self.store.find, key)

    async def heads(self, kind: Kind, *, cluster: str | None = None, span: str | None = None) -> list[Result]:
        return await self._server.call(lambda: self.store.heads(kind, cluster=cluster, span=span))


async def fill(
    server: Server,
    folder: Path,
    *,
    fixes: Sequence[Mapping[str, Any]] = (FIX,),
    week: Mapping[str, Any] | None = None,
) -> Plain:
    """One pass over the example; its lease stays, so that the server's own audit leaves the results alone."""
    estate = server.snapshot().estate
    assert estate is not None
    facts, indicators = now_files(folder, datetime.now(UTC))
    desk = FileDesk(now=datetime.now(UTC), facts=facts, indicators=indicators, estate=estate)
    kept = Kept(server)
    await kept.hold()
    one = Pass(
        estate, Answers(desk, fixes, week), kept.keep, kept,
        clock=server.now, between=_nothing, events=_no_events, actor="server test",
    )  # fmt: skip
    told = await one.run(everything=True)
    fix = a_verified_fix(server.now())
    key = Key(kind=Kind.FIX, cluster="queue", indicator=fix["id"])
    await kept.keep([Result(key=key, at=server.now(), head={**fix, "report": {}}, body=fix)])
    return told


async def _no_events() -> list[Plain]:
    return []


async def _nothing() -> None:
    """Nobody asks for anything between two steps."""
