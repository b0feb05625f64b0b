"""The audit's desk at the lab's time, who collects for it inside the lab, and the truth to hold its claims against."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backstay.estate import load_file
from backstay.lab.demo.scene import Scene
from backstay.lab.demo.verdict import Claim
from backstay.lab.fabric.base import python
from backstay.lab.keeper.client import call
from backstay.lab.machines.parts import Cpu, Machine, Swap, cpu_at
from backstay.lab.model import SERVER, WITNESS, LabError
from backstay.lab.served import ServerApi

if TYPE_CHECKING:
    from backstay.audit.desk import Desk

ROLE = "collector"
POLL_S = 0.2
PROBLEMS_SHOWN = 3
COLLECT_TIMEOUT_S = 300.0
HAND_OVER_TIMEOUT_S = 30.0


class Office:
    """The audit's desk at the lab's time, and who collects for it inside the lab."""

    def __init__(self, scene: Scene, now: datetime) -> None:
        self.scene = scene
        self.folder = scene.lab.folder
        self.state = self.folder.path / "audit"  # ours alone, until the server gets it
        self.estate = load_file(self.folder.estate_file).estate
        self.now = now  # the lab's

    def machines(self, cluster: str) -> list[Machine]:
        return [machine for machine in self.folder.layout.machines if machine.cluster == cluster]

    @asynccontextmanager
    async def desk(self) -> AsyncIterator[Desk]:
        """Open as long as it is needed: the store has one process at a time."""
        from backstay.audit.desk import Desk, NotSo
        from backstay.audit.ports import SourceError
        from backstay.audit.store import StoreBusy, StoreError

        try:
            desk = Desk.open(self.estate, self.folder.path, self.state, clock=lambda: self.now)
            try:
                yield desk
            finally:
                await desk.close()
        except (NotSo, SourceError, StoreBusy, StoreError) as error:
            raise LabError(f"The audit: {error}") from error

    async def days(self, length: timedelta, swaps: Sequence[Swap] = ()) -> None:
        """Let `length` pass, change the CPUs when it is time, and collect all the while. Raises LabError."""
        host = SERVER if self.folder.layout.server is not None else WITNESS
        report = self.folder.log / "days.jsonl"
        report.unlink(missing_ok=True)
        argv = ["-m", "backstay.lab.hosts.collector", str(self.folder.path), "--state", str(self.state)]
        argv += ["--from", self.now.isoformat(), "--until", (self.now + length).isoformat(), "--report", str(report)]
        argv += [f"--swap={swap.machine}={swap.cpu}@{swap.time.isoformat()}" for swap in swaps]
        running = asyncio.create_task(
            call(self.folder, "run", host=host, role=ROLE, argv=python(*argv), timeout_s=COLLECT_TIMEOUT_S)
        )
        said, waiting = 0, list(swaps)
        while not running.done() or said < len(_lines(report)):
            for line in _lines(report)[said:]:
                self._say_day(json.loads(line), waiting)
                said += 1
            await asyncio.wait([running], timeout=POLL_S)
        if await running != 0:
            raise LabError(f"Collecting ended with {running.result()}: see {self.folder.log}/{host}-{ROLE}.log.")
        self.now += length

    def _say_day(self, day: dict[str, Any], waiting: list[Swap]) -> None:
        """What a day brought; first of all the changes of CPUs that were made in it, which leave `waiting`."""
        end = datetime.fromisoformat(day["to"])
        while waiting and waiting[0].time < end:
            swap = waiting.pop(0)
            self.scene.say(f"$ backstay lab cpu {swap.machine} {swap.cpu}")
        self.scene.say(
            f"  until {end:%a %d %b %H:%M}: collected {day['collected']} times, {day['samples']} samples, "
            f"{len(day['changes'])} facts changed"
        )
        for problem in day["problems"][:PROBLEMS_SHOWN]:
            self.scene.say(f"    {problem}")

    async def hand_over(self) -> None:
        """Give the store to the lab's server, which goes on from there: its console has the story. Raises LabError."""
        if self.folder.audit == self.state:
            return
        from backstay.audit.desk.desk import STORE
        from backstay.audit.store import AuditStore, StoreError

        theirs = self.folder.audit / STORE
        try:
            # Until the server does not hold it: between two of its passes.
            store = AuditStore.open(theirs, lambda: self.now, lock_timeout_s=HAND_OVER_TIMEOUT_S)
            await store.close()
            (self.state / STORE).replace(theirs)
        except (StoreError, OSError) as error:
            raise LabError(f"The server's store of the audit cannot be replaced: {error}") from error
        async with ServerApi(self.folder) as api:
            await api.call("POST", "/audit/collect", {"reason": "the store of the demo"})
        self.scene.say("The server has the store now, and looks at it anew: the console shows the story under Audit.")

    def claim(self, begun: float, **said: Any) -> None:
        claim = Claim(took_s=time.monotonic() - begun, **said)
        self.scene.claims.append(claim)
        mark = "ok" if claim.passed else "FAILED"
        self.scene.say(f"  {claim.about}: {claim.claimed}")
        self.scene.say(f"    {claim.grade}; the truth: {claim.truth}; {claim.took_s:.1f} s: {mark}")

    def by_cpu(self, cluster: str) -> dict[Cpu, list[str]]:
        """The cluster by the CPU that is in each machine now, as the lab knows it."""
        stand = self.folder.machines()
        groups: dict[Cpu, list[str]] = {}
        for machine in self.machines(cluster):
            groups.setdefault(cpu_at(machine, stand.swaps, self.now), []).append(machine.name)
        return groups


def _lines(report: Path) -> list[str]:
    """The whole lines of it."""
    return report.read_text(encoding="utf-8").split("\n")[:-1] if report.exists() else []
