"""Collects a time of the lab's machines into the audit's store, as `backstay audit collect` does it from cron.

    python -m backstay.lab.hosts.collector LAB --state LAB/audit --from 2026-03-01T00:00Z --until 2026-03-08T00:00Z \
        --swap queue1=V3@2026-03-01T00:00Z --report days.jsonl

The lab's clock is stopped at every second hour of the time in turn, and the real sources are asked: exporters over
HTTP, and Facter's files once a day. It runs on a host of the lab, from where the machines can be reached. A CPU that is
to be changed is changed when its time has come. The report has a line a day.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backstay.estate import load_file
from backstay.lab.keeper.client import call
from backstay.lab.machines.parts import Cpu, Swap
from backstay.lab.state import LabFolder

if TYPE_CHECKING:
    from backstay.audit.desk import Desk

EVERY = timedelta(hours=2)
DAY = timedelta(days=1)
TIMEOUT_S = 30.0
PROBLEMS_LIMIT = 20


@dataclass
class Clock:
    """The lab's: what the desk takes for now, and the machines."""

    folder: LabFolder
    now: datetime

    async def stop_at(self, now: datetime) -> None:
        await call(self.folder, "clock", at=now.isoformat())
        self.now = now


def moments(start: datetime, end: datetime) -> Iterator[tuple[datetime, bool, bool]]:
    """Every EVERY after `start` up to `end`; whether facts are read then, first of all in a day; whether a day ends."""
    steps = (end - start) // EVERY
    of_day = DAY // EVERY
    for step in range(1, steps + 1):
        yield start + step * EVERY, step % of_day == 1, step % of_day == 0 or step == steps


async def collect(desk: Desk, clock: Clock, end: datetime, swaps: Sequence[Swap]) -> AsyncIterator[dict[str, Any]]:
    """Collect from the clock's time to `end`; what each day brought. Raises StoreError, LabError.

    {"to": ISO, "collected": times, "samples": new ones, "changes": of facts, "problems": [sentence]}
    """
    waiting = list(swaps)
    day: dict[str, Any] = {}
    for now, facts, last in moments(clock.now, end):
        while waiting and waiting[0].time < now:
            swap = waiting.pop(0)
            await clock.stop_at(swap.time)
            await call(clock.folder, "cpu", names=[swap.machine], cpu=swap.cpu.value)
        await clock.stop_at(now)
        told = await desk.collect(facts, True, timeout_s=TIMEOUT_S)
        day = day or {"collected": 0, "samples": 0, "changes": [], "problems": []}
        day["collected"] += 1
        day["samples"] += told["indicators"]["new"]
        day["changes"] += told["changes"]
        day["problems"] += [one for one in told["problems"] if one not in day["problems"]][:PROBLEMS_LIMIT]
        if last:
            yield {"to": now.isoformat(), **day}
            day = {}


async def run(options: argparse.Namespace) -> None:
    from backstay.audit.desk import Desk  # here: the chapter takes the times from this module, and not its libraries

    folder = LabFolder(options.lab)
    clock = Clock(folder, options.start.astimezone(UTC))
    desk = Desk.open(load_file(folder.estate_file).estate, folder.path, options.state, clock=lambda: clock.now)
    try:
        with options.report.open("w", encoding="utf-8", buffering=1) as report:
            async for day in collect(desk, clock, options.until.astimezone(UTC), options.swap):
                report.write(json.dumps(day) + "\n")
    finally:
        await desk.close()


def swap_of(words: str) -> Swap:
    """ "queue1=V3@2026-03-01T00:00Z". Raises ValueError."""
    machine, _, rest = words.partition("=")
    cpu, _, time = rest.partition("@")
    return Swap(machine=machine, cpu=Cpu(cpu), time=datetime.fromisoformat(time).astimezone(UTC))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lab", type=Path)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--from", dest="start", type=datetime.fromisoformat, required=True)
    parser.add_argument("--until", type=datetime.fromisoformat, required=True)
    parser.add_argument("--swap", type=swap_of, action="append", default=[], help="NODE=CPU@TIME, oldest first")
    parser.add_argument("--report", type=Path, required=True)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
