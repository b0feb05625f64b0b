"""Adds to a store without end, and says after each round what is confirmed; for the test that kills it.

`python store_writer.py FILE ROUND`: begins with ROUND. A round is 6 hours: samples of a gauge and of a counter, a
report and a record; each fourth round is followed by a `prune`.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import datetime, timedelta
from pathlib import Path

from store_suite import NOW, TIMEOUT_S, Clock, counter, gauge, report

from backstay.audit.store import AuditStore, Retention

SAMPLES = 72  # a round
ROUND = timedelta(hours=6)
START = NOW.replace(hour=0)
KEEPING = Retention(raw_days=1, minute_days=2, hour_days=10_000)


def time_of(number: int) -> datetime:
    return START + number * ROUND


async def write(path: Path, number: int) -> None:
    clock = Clock()
    store = AuditStore.open(path, clock, retention=KEEPING)
    while True:
        start = time_of(number)
        clock.now = start + ROUND
        seconds = [300.0 * at for at in range(SAMPLES)]
        told = [
            gauge("a", "load", [(second, float(number)) for second in seconds], start=start),
            counter("a", "requests", [(second, number * 21_600.0 + second) for second in seconds], start=start),
        ]
        await store.indicators.add(told, timeout_s=TIMEOUT_S)
        hours = (start - NOW) / timedelta(hours=1)
        await store.facts.add([report("a", hours, {"round": str(number), "same": "1"})], timeout_s=TIMEOUT_S)
        await store.records.put("round", str(number), {"number": number}, timeout_s=TIMEOUT_S)
        print(number, flush=True)
        if number % 4 == 3:
            await store.indicators.prune(now=clock.now, timeout_s=TIMEOUT_S)
        number += 1


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1]), int(sys.argv[2])))
