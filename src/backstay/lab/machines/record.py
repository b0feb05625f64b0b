"""The record of a lab's machines: what the keeper does when it is asked to alter it.

FOLDER/machines.json has the stand, FOLDER/facts a file a machine. Whoever tells of a machine reads the record at every
question, so nobody has to be told.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

from backstay.lab.machines.parts import Cpu, Machine, Stand, cpu_at, facts_of, nested
from backstay.lab.model import LabError, Layout
from backstay.lab.state import LabFolder

SWAPS_MAX = 1_000


def begin(folder: LabFolder, layout: Layout, epoch: datetime) -> None:
    """The machines as they came."""
    stand = Stand(epoch=epoch)
    folder.write_machines(stand)
    _write_facts(folder, stand, layout.machines)


def change_cpu(folder: LabFolder, names: Iterable[str], cpu: Cpu | None) -> None:
    """Put `cpu` (None: the one that it came with) into these machines now, by the lab's clock. Raises LabError."""
    machines = [folder.layout.machine(name) for name in names]
    stand = folder.machines()
    time = stand.now(datetime.now(UTC))
    for machine in machines:
        stand = stand.with_cpu(machine, cpu or machine.cpu, time)
    if len(stand.swaps) > SWAPS_MAX:
        raise LabError(f"A lab remembers {SWAPS_MAX} changes of CPUs. Begin a new one: backstay lab down, lab up.")
    folder.write_machines(stand)
    _write_facts(folder, stand, machines)


def stop_clock(folder: LabFolder, at: datetime | None) -> None:
    """The lab's clock stands at `at` from now on; None: it is the real one again."""
    folder.write_machines(replace(folder.machines(), stopped_at=at))


def cpus(folder: LabFolder) -> list[tuple[Machine, Cpu]]:
    """Every machine with what is in it now."""
    stand = folder.machines()
    now = stand.now(datetime.now(UTC))
    return [(machine, cpu_at(machine, stand.swaps, now)) for machine in folder.layout.machines]


def _write_facts(folder: LabFolder, stand: Stand, machines: Iterable[Machine]) -> None:
    now = stand.now(datetime.now(UTC))
    for machine in machines:
        facts = nested(facts_of(machine, cpu_at(machine, stand.swaps, now)))
        fresh = folder.facts / f".{machine.name}.json"  # a name that readers of the folder leave out
        fresh.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        fresh.replace(folder.facts / f"{machine.name}.json")
