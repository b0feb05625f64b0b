"""A machine, its CPU and its facts. Pure.

Beside the CPU there is what every cluster has: serial numbers, a switch that two of them share, one package that is
newer somewhere.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum


class Cpu(StrEnum):
    """Version of the CPU, oldest first."""

    V1 = "V1"
    V2 = "V2"
    V3 = "V3"


TICK_S = 600  # what a machine tells changes so often
UNLIKE = (Cpu.V1, Cpu.V2, Cpu.V2, Cpu.V3)  # by seat, of a cluster that no load balancer deals work to: the story
ALIKE = Cpu.V2

OF_CPU: Mapping[Cpu, Mapping[str, str]] = {
    Cpu.V1: {"cpu.signature": "0x206d7", "cpu.microcode": "0x71a", "cpu.mitigations.mds": "Vulnerable"},
    Cpu.V2: {"cpu.signature": "0x306e4", "cpu.microcode": "0x42e", "cpu.mitigations.mds": "Mitigation: clear buffers"},
    Cpu.V3: {"cpu.signature": "0x306f2", "cpu.microcode": "0x49", "cpu.mitigations.mds": "Not affected"},
}
OF_ALL: Mapping[str, str] = {
    "cpu.architecture": "x86_64",
    "cpu.l3 cache": "15728640",
    "cpu.cpu(s)": "4",
    "cpu.governor": "performance",
    "cpu.vendor id": "GenuineIntel",
    "bios.vendor": "Example Systems",
    "bios.version": "2.9.0",
    "memory.size": "68719476736",
    "memory.speed": "1600",
    "memory.type": "DDR3",
    "eth0.driver": "ixgbe",
    "eth0.firmware": "0x800007f4",
    "eth0.ring rx": "512",
    "eth0.offload gro": "on",
    "kernel.release": "6.1.0-28-amd64",
    "sysctl.net.core.netdev_max_backlog": "1000",
    "os.release": "Debian 12.8",
    "package.openssl": "3.0.15-1",
}
WORKER = {"package.queue-worker": "4.11.2"}
SERVER = {"package.web-app": "12.4.0"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A host. `seat`: its place in its cluster, from 0."""

    name: str
    cluster: str  # empty: of none
    seat: int
    work: str  # indicator of the cluster's unit of work
    cpu: Cpu  # that it came with
    switch: str
    serves: bool = False  # requests, of users; else it works through a queue


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """Somebody put another CPU into a machine."""

    machine: str
    cpu: Cpu
    time: datetime  # of the lab's clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """How the machines of a lab stand: what a person, or the demo, altered of them."""

    epoch: datetime  # the model's noise counts from here
    stopped_at: datetime | None = None  # the lab's clock stands here; None: it is the real one
    swaps: tuple[Swap, ...] = ()  # oldest first

    def now(self, real: datetime) -> datetime:
        """The lab's time. `real`: this machine's."""
        return self.stopped_at or real

    def with_cpu(self, machine: Machine, cpu: Cpu, time: datetime) -> Stand:
        """With `cpu` in `machine` from `time` on; as it was when that one is in it already."""
        if cpu_at(machine, self.swaps, time) is cpu:
            return self
        swaps = sorted([*self.swaps, Swap(machine=machine.name, cpu=cpu, time=time)], key=lambda swap: swap.time)
        return replace(self, swaps=tuple(swaps))

    def as_json(self) -> str:
        swaps = [[swap.machine, swap.cpu.value, swap.time.isoformat()] for swap in self.swaps]
        stopped = self.stopped_at.isoformat() if self.stopped_at else None
        return json.dumps({"epoch": self.epoch.isoformat(), "stopped_at": stopped, "swaps": swaps})

    @classmethod
    def of_json(cls, text: str) -> Stand:
        """What `as_json` made. Raises ValueError, KeyError or TypeError for anything else."""
        data = json.loads(text)
        return cls(
            epoch=datetime.fromisoformat(data["epoch"]),
            stopped_at=datetime.fromisoformat(data["stopped_at"]) if data["stopped_at"] else None,
            swaps=tuple(
                Swap(machine=machine, cpu=Cpu(cpu), time=datetime.fromisoformat(time))
                for machine, cpu, time in data["swaps"]
            ),
        )


def metric_of(work: str) -> str:
    """What an exporter calls the unit of work."""
    return "app_" + re.sub(r"[^a-zA-Z0-9_:]", "_", work)


def cpu_at(machine: Machine, swaps: Sequence[Swap], time: datetime) -> Cpu:
    """What is in it at `time`. `swaps`: of any machine, oldest first."""
    found = machine.cpu
    for swap in swaps:
        if swap.machine == machine.name and swap.time <= time:
            found = swap.cpu
    return found


def facts_of(machine: Machine, cpu: Cpu) -> dict[str, str]:
    """Facts by dotted names, sorted."""
    seat = machine.seat
    number = zlib.crc32(machine.name.encode())
    found = {
        "hostname": machine.name,
        "system.serial number": f"SN-{number % 1_000_000:06d}",
        "eth0.mac address": ":".join(["02", "00", *(f"{number >> shift & 255:02x}" for shift in (24, 16, 8, 0))]),
        "switch.name": machine.switch,
        "memory.manufacturer": "Maker B" if seat == 1 else "Maker A",
        "package.tzdata": "2025b-1" if seat == 2 else "2025a-1",
        "cpu.model name": f"Example Xeon 2620 {cpu}",
        "cpu.version": str(cpu),
        **OF_CPU[cpu],
        **OF_ALL,
        **(SERVER if machine.serves else WORKER),
    }
    return dict(sorted(found.items()))


def nested(facts: Mapping[str, str]) -> dict[str, object]:
    """As facter prints them: the first part of a dotted name is a group."""
    found: dict[str, object] = {}
    for name, value in facts.items():
        group, dot, rest = name.partition(".")
        if not dot:
            found[name] = value
            continue
        inner = found.setdefault(group, {})
        assert isinstance(inner, dict), f"{group} is a fact and a group of facts"
        inner[rest] = value
    return found
