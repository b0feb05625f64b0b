"""The story in small, made up: four queue workers that ought to be alike, with CPUs V1, V2, V2, V3.

Load and packet drops follow from the CPU's version; messages come in daily waves; and there is what every cluster has:
serial numbers, a switch that two of them share, one package that is newer somewhere, facts that need root. Seeded: the
same at every call. `backstay audit example DIR` writes it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np

from backstay.audit.model import Floats

NODES = ("queue1", "queue2", "queue3", "queue4")
START = datetime(2026, 3, 2, tzinfo=UTC)
STEP = timedelta(minutes=10)
COUNT = 4 * 144  # four days
SEED = 20260302
CPUS = ("V1", "V2", "V2", "V3")
# Load for the same work, and packets dropped of a thousand messages: the older, the worse.
COST = {"V1": 2.0, "V2": 1.42, "V3": 1.0}
DROPS = {"V1": 9.0, "V2": 4.0, "V3": 0.05}
OF_CPU = {
    "V1": {"cpu.signature": "0x206d7", "cpu.microcode": "0x71a", "cpu.mitigations.mds": "Vulnerable"},
    "V2": {"cpu.signature": "0x306e4", "cpu.microcode": "0x42e", "cpu.mitigations.mds": "Mitigation: clear buffers"},
    "V3": {"cpu.signature": "0x306f2", "cpu.microcode": "0x49", "cpu.mitigations.mds": "Not affected"},
}
ALIKE = {
    "cpu.architecture": "x86_64",
    "cpu.l3 cache": "15728640",
    "cpu.cpu(s)": "12",
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
    "package.queue-worker": "4.11.2",
    "package.openssl": "3.0.15-1",
}


def facts_lines() -> Iterator[str]:
    """facts.jsonl, a line a node."""
    for at, (node, cpu) in enumerate(zip(NODES, CPUS, strict=True)):
        facts = {
            "hostname": node,
            "system.serial number": f"SN-{40817 + 3 * at}",
            "eth0.mac address": f"02:00:00:00:00:{at + 16:02x}",
            "switch.name": "switch-1" if at < 2 else "switch-3",
            "memory.manufacturer": "Maker B" if at == 1 else "Maker A",
            "package.tzdata": "2025b-1" if at == 2 else "2025a-1",
            "cpu.model name": f"Example Xeon 2620 {cpu}",
            "cpu.version": cpu,
            **OF_CPU[cpu],
            **ALIKE,
        }
        report: dict[str, object] = {"node": node, "time": START.isoformat(), "facts": dict(sorted(facts.items()))}
        if at == 3:
            report["unread"] = {"memory.manufacturer": "needs root"}
            facts = {name: value for name, value in facts.items() if name != "memory.manufacturer"}
            report["facts"] = dict(sorted(facts.items()))
        yield json.dumps(report)


def indicator_lines() -> Iterator[str]:
    """indicators.csv, wide; drops as a counter, which one restart sets back."""
    rng = np.random.default_rng(SEED)
    hours = np.arange(COUNT) / 6.0
    wave = 1.0 + 0.45 * np.sin(2.0 * np.pi * (hours - 9.0) / 24.0) + 0.1 * np.sin(4.0 * np.pi * hours / 24.0)
    shared = wave * np.exp(_noise(rng, 0.9, 0.06))
    yield "time,node,messages,load,rx_drops_total"
    columns = []
    for cpu in CPUS:
        messages = 800.0 * shared * np.exp(_noise(rng, 0.7, 0.04))
        load = 0.0045 * messages * COST[cpu] * np.exp(_noise(rng, 0.8, 0.05))
        drops = np.cumsum(rng.poisson(DROPS[cpu] * messages / 1000.0 * wave * STEP.total_seconds() / 60.0))
        columns.append((messages, load, drops))
    restarted = columns[1][2]
    restarted[300:] -= restarted[299]
    for cell in range(COUNT):
        time = (START + cell * STEP).strftime("%Y-%m-%dT%H:%M:%SZ")
        for node, (messages, load, drops) in zip(NODES, columns, strict=True):
            yield f"{time},{node},{messages[cell]:.1f},{load[cell]:.3f},{drops[cell]:.0f}"


def _noise(rng: np.random.Generator, rho: float, sigma: float) -> Floats:
    """Autoregressive: what a minute was, the next one is likely to be. (COUNT,), standard deviation `sigma`."""
    shocks = rng.normal(0.0, sigma * np.sqrt(1.0 - rho * rho), COUNT)
    found = np.empty(COUNT)
    state = rng.normal(0.0, sigma)
    for at in range(COUNT):
        state = rho * state + shocks[at]
        found[at] = state
    return found
