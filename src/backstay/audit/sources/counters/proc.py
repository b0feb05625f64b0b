"""/proc's files -> samples with the names that node_exporter has for them, so that one table serves both. Pure.

Formats: proc(5); the kernel's Documentation/admin-guide/iostats.rst; net/core/net-procfs.c for softnet_stat.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from backstay.audit.sources.hosts.selector import Sample

TICKS_A_SECOND = 100.0  # USER_HZ, of every architecture that Linux runs on today
SECTOR_BYTES = 512.0  # whatever the disk's own sectors are
MODES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
RECEIVE = ("bytes", "packets", "errs", "drop", "fifo", "frame", "compressed", "multicast")
TRANSMIT = ("bytes", "packets", "errs", "drop", "fifo", "colls", "carrier", "compressed")
DISK = (
    ("reads_completed_total", 3, 1.0),
    ("read_bytes_total", 5, SECTOR_BYTES),
    ("read_time_seconds_total", 6, 0.001),
    ("writes_completed_total", 7, 1.0),
    ("written_bytes_total", 9, SECTOR_BYTES),
    ("write_time_seconds_total", 10, 0.001),
    ("io_time_seconds_total", 12, 0.001),
)  # metric, column, what one is
STAT = {
    "ctxt": "node_context_switches_total",
    "intr": "node_intr_total",
    "processes": "node_forks_total",
    "procs_running": "node_procs_running",
    "procs_blocked": "node_procs_blocked",
}


def read(name: str, text: str) -> list[Sample]:
    """The samples of one file, `name` below /proc. Raises ValueError for what is none of that file."""
    try:
        return list(READERS[name](text))
    except (ValueError, IndexError) as error:
        raise ValueError(f"/proc/{name} is not as we know it ({error})") from None


def _stat(text: str) -> Iterator[Sample]:
    for fields in _lines(text):
        if fields[0].startswith("cpu") and fields[0] != "cpu":
            for mode, ticks in zip(MODES, fields[1:], strict=False):
                labels = {"cpu": fields[0][3:], "mode": mode}
                yield Sample("node_cpu_seconds_total", labels, float(ticks) / TICKS_A_SECOND)
        elif fields[0] in STAT:
            yield Sample(STAT[fields[0]], {}, float(fields[1]))


def _loadavg(text: str) -> Iterator[Sample]:
    for metric, value in zip(("node_load1", "node_load5", "node_load15"), text.split(), strict=False):
        yield Sample(metric, {}, float(value))


def _meminfo(text: str) -> Iterator[Sample]:
    for fields in _lines(text):
        name = re.sub(r"[():]+", "_", fields[0]).strip("_")
        if fields[2:] == ["kB"]:
            yield Sample(f"node_memory_{name}_bytes", {}, float(fields[1]) * 1024.0)
        else:
            yield Sample(f"node_memory_{name}", {}, float(fields[1]))


def _vmstat(text: str) -> Iterator[Sample]:
    for fields in _lines(text):
        yield Sample(f"node_vmstat_{fields[0]}", {}, float(fields[1]))


def _diskstats(text: str) -> Iterator[Sample]:
    for fields in _lines(text):
        for metric, column, unit in DISK:
            yield Sample(f"node_disk_{metric}", {"device": fields[2]}, float(fields[column]) * unit)


def _net_dev(text: str) -> Iterator[Sample]:
    for line in text.splitlines()[2:]:
        device, _, rest = line.rpartition(":")  # an alias has a colon of its own
        values = [float(value) for value in rest.split()]
        names = [f"receive_{name}" for name in RECEIVE] + [f"transmit_{name}" for name in TRANSMIT]
        for name, value in zip(names, values, strict=True):
            yield Sample(f"node_network_{name}_total", {"device": device.strip()}, value)


def _netstat(text: str) -> Iterator[Sample]:
    """Pairs of lines: names, then values."""
    rows = list(_lines(text))
    for names, found in zip(rows[::2], rows[1::2], strict=True):
        if names[0] != found[0]:
            raise ValueError(f"{names[0]} is followed by {found[0]}")
        for name, value in zip(names[1:], found[1:], strict=True):
            yield Sample(f"node_netstat_{names[0].rstrip(':')}_{name}", {}, float(value))


def _softnet(text: str) -> Iterator[Sample]:
    for number, fields in enumerate(_lines(text)):
        labels = {"cpu": str(number)}
        for metric, column in (("processed", 0), ("dropped", 1), ("times_squeezed", 2)):
            yield Sample(f"node_softnet_{metric}_total", labels, float(int(fields[column], 16)))


def _lines(text: str) -> Iterator[list[str]]:
    return (fields for line in text.splitlines() if (fields := line.split()))


READERS: Mapping[str, Callable[[str], Iterator[Sample]]] = {
    "stat": _stat,
    "loadavg": _loadavg,
    "meminfo": _meminfo,
    "vmstat": _vmstat,
    "diskstats": _diskstats,
    "net/dev": _net_dev,
    "net/snmp": _netstat,
    "net/netstat": _netstat,
    "net/softnet_stat": _softnet,
}
