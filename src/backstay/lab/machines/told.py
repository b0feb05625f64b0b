"""A time of the machines as files that `backstay audit` reads: facts as JSON lines, indicators as wide CSV. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from backstay.lab.machines.behave import Model, Reading
from backstay.lab.machines.expose import COUNTER
from backstay.lab.machines.parts import Machine, cpu_at, facts_of

WORK = frozenset({"work", "work_rate"})  # fields of a reading: how much was done, and how fast it goes


def facts_lines(
    model: Model, machines: Sequence[Machine], time: datetime, unread: Mapping[str, Mapping[str, str]]
) -> Iterator[str]:
    """A line a machine, as they are at `time`. `unread`: machine -> fact -> why nobody could read it there."""
    for machine in machines:
        hidden = unread.get(machine.name, {})
        facts = facts_of(machine, cpu_at(machine, model.swaps, time))
        shown = {fact: value for fact, value in facts.items() if fact not in hidden}
        report: dict[str, object] = {"node": machine.name, "time": time.isoformat(), "facts": shown}
        yield json.dumps(report | ({"unread": dict(hidden)} if hidden else {}))


def indicator_lines(
    model: Model, machines: Sequence[Machine], columns: Mapping[str, str], times: Sequence[datetime]
) -> Iterator[str]:
    """A row a machine at each of `times`, as a scraper would have kept it.

    `columns`: header -> field of Reading. Work is in the column that has the name of the machine's unit of work.
    """
    yield ",".join(["time", "node", *columns])
    for time in times:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ")
        for machine in machines:
            reading = model.at(machine, time)
            values = (_value(machine, reading, name, field) for name, field in columns.items())
            yield ",".join([stamp, machine.name, *values])


def _value(machine: Machine, reading: Reading, name: str, field: str) -> str:
    if field in WORK and name != machine.work:
        return ""
    return f"{getattr(reading, field):.0f}" if name.endswith(COUNTER) else f"{getattr(reading, field):.4g}"
