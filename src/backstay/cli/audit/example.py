"""The story in small, made up: four queue workers that ought to be alike, with CPUs V1, V2, V2, V3, over four days.

The lab's machines at a time of their own (lab/machines/). Seeded: the same at every call.
`backstay audit example DIR` writes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from backstay.lab.machines import told
from backstay.lab.machines.behave import DAY_TICKS, Model
from backstay.lab.machines.parts import TICK_S, UNLIKE, Machine

MODEL = Model(datetime(2026, 3, 2, tzinfo=UTC))
DAYS = 4
MACHINES = tuple(
    Machine(
        name=f"queue{seat + 1}",
        cluster="queue",
        seat=seat,
        work="messages",
        cpu=cpu,
        switch="switch-1" if seat < 2 else "switch-3",
    )
    for seat, cpu in enumerate(UNLIKE)
)
COLUMNS = {"messages": "work_rate", "load": "load", "rx_drops_total": "drops"}
UNREAD = {"queue4": {"memory.manufacturer": "needs root"}}


def facts_lines() -> Iterator[str]:
    """facts.jsonl, a line a node; one that needs root, and had none."""
    return told.facts_lines(MODEL, MACHINES, MODEL.epoch, UNREAD)


def indicator_lines() -> Iterator[str]:
    """indicators.csv, wide; drops as a counter, which one restart sets back."""
    times = [MODEL.epoch + timedelta(seconds=TICK_S * tick) for tick in range(DAYS * DAY_TICKS)]
    return told.indicator_lines(MODEL, MACHINES, COLUMNS, times)
