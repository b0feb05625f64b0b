"""A machine's reading as node_exporter tells it: Prometheus' text format 0.0.4. Pure.

The unit of work is there by its own name, as node_exporter's textfile collector would add it: units a second, or all of
them when the name ends in _total.
https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from backstay.lab.machines.behave import CPUS, MEMORY_BYTES, Reading
from backstay.lab.machines.parts import Machine, metric_of

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
COUNTER = "_total"
ETH0 = '{device="eth0"}'


def exposition(machine: Machine, reading: Reading, time: datetime) -> str:
    """What a scrape at `time` gets."""
    lines: list[str] = []
    for name, kind, samples in _families(machine, reading, time):
        lines.append(f"# TYPE {name} {kind}")
        lines += [f"{name}{labels} {value!r}" for labels, value in samples]
    return "\n".join(lines) + "\n"


def _families(machine: Machine, now: Reading, time: datetime) -> Iterator[tuple[str, str, list[tuple[str, float]]]]:
    """Name, type, and samples as (labels, value)."""
    yield "node_boot_time_seconds", "gauge", [("", now.booted.timestamp())]
    yield "node_time_seconds", "gauge", [("", time.timestamp())]
    yield "node_load1", "gauge", [("", round(now.load, 2))]
    yield "node_memory_MemTotal_bytes", "gauge", [("", float(MEMORY_BYTES))]
    yield "node_memory_MemAvailable_bytes", "gauge", [("", float(round(MEMORY_BYTES - now.memory_used)))]
    yield "node_context_switches_total", "counter", [("", _whole(now.switches))]
    yield "node_cpu_seconds_total", "counter", list(_cpu_seconds(now))
    yield "node_network_receive_bytes_total", "counter", [(ETH0, _whole(now.received))]
    yield "node_network_transmit_bytes_total", "counter", [(ETH0, _whole(now.sent))]
    yield "node_network_receive_drop_total", "counter", [(ETH0, _whole(now.drops))]
    yield "node_netstat_Tcp_RetransSegs", "untyped", [("", _whole(now.retransmits))]
    if machine.work.endswith(COUNTER):
        yield metric_of(machine.work), "counter", [("", _whole(now.work))]
    else:
        yield metric_of(machine.work), "gauge", [("", round(now.work_rate, 4))]


def _cpu_seconds(now: Reading) -> Iterator[tuple[str, float]]:
    modes = {"idle": now.idle_s, "softirq": now.softirq_s, "system": now.system_s, "user": now.user_s}
    for cpu in range(CPUS):
        for mode, seconds in modes.items():
            yield f'{{cpu="{cpu}",mode="{mode}"}}', round(seconds / CPUS, 2)


def _whole(count: float) -> float:
    """Nobody counts half a packet."""
    return float(int(count))
