"""A fix over the real store: registered, seen in the facts, verified, and counted by `explain`; with a moved clock."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("duckdb", reason="needs duckdb: pip install backstay[audit]")
pytest.importorskip("scipy", reason="needs scipy: pip install backstay[audit]")

from backstay.audit.desk import Desk, NotSo
from backstay.audit.planned import Planned
from backstay.estate import Estate, Overrides, load_text
from backstay.journal import Event
from fix_scenes import DAY, FACT, at, change, fixed, write_files

ESTATE = (
    "estate: example\nregions: {home: {zones: {dc1: {}}}}\nnodes:\n"
    + "".join(f"  web{node}: {{zone: dc1, address: 192.0.2.{node}}}\n" for node in range(1, 5))
    + 'clusters: {queue: {members: "web*"}}\n'
)


class Story:
    """A desk, and a clock that is moved by hand."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now, self.events = folder, at(0.0), list[Event]()
        self.estate: Estate = load_text(ESTATE, "backstay.yaml", folder, Overrides()).estate

    def desk(self) -> Desk:
        return Desk.open(
            self.estate, self.folder, self.folder / "state", clock=lambda: self.now, record=self.events.append
        )

    async def until(self, day: float, values: np.ndarray) -> None:
        """Bring in what was measured and read by then; what is there already adds nothing."""
        self.now = at(day)
        seen = [one for one in [change("web1", 7.0)] if one.time <= self.now]
        desk = self.desk()
        try:
            for path in write_files(self.folder, values[:, : int(day * DAY)], seen):
                await desk.bring_in(path)
        finally:
            await desk.close()


async def register(desk: Desk, by: datetime, fact: str = FACT) -> dict[str, object]:
    return await desk.register(
        Planned(
            cluster="queue",
            indicator="load",
            fact=fact,
            nodes=("web1",),
            expected=-0.3,
            by=by,
            reason="V1 is slow",
            actor="alice",
            value="V2",
        )
    )


async def test_a_fix_from_its_registration_to_the_proof(tmp_path: Path) -> None:
    story, values = Story(tmp_path), fixed(60, days=10.0)
    await story.until(6.0, values)
    desk = story.desk()
    try:
        fix = await register(desk, story.now + timedelta(days=20))
        assert fix["id"] == "queue-load-1"
        assert (await desk.verify("queue-load-1"))["outcome"] == "waiting"
        with pytest.raises(NotSo, match='"queue-load-2" is no fix'):
            await desk.verify("queue-load-2")
        with pytest.raises(NotSo, match=r'has a fact "cpu\.nope"'):
            await register(desk, story.now + timedelta(days=20), "cpu.nope")
    finally:
        await desk.close()
    await story.until(10.0, values)
    desk = story.desk()
    try:
        found = await desk.verify("queue-load-1")
        assert found["outcome"] == "confirmed"
        assert found["finding"]["grade"] in ("confirmed", "nothing")
        assert found["text"].startswith("Confirmed by intervention")
        assert found["verdict"]["nodes"][0]["changed"] == at(7.0).isoformat()
        assert [one["outcome"] for one in await desk.fixes()] == ["confirmed"]
        explained = await desk.explain("queue", "load", timedelta(days=10))
        assert {"intervention"} == {one["kind"] for one in explained["evidence"] if one["fact"] == FACT}
    finally:
        await desk.close()
    kinds = [event.kind for event in story.events if event.kind.startswith("audit.")]
    assert kinds == ["audit.fix_registered", "audit.fix_verified", "audit.fix_verified"]
