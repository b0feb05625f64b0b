"""Real server types, their facts and benchmark figures (Spare Cores, CC BY-SA 4.0), and clusters drawn from them."""

from __future__ import annotations

import csv
import gzip
import json
import math
import os
import random
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backstay.audit.model import FactTable, Indicator, Level, Partition, Resource
from benches.harness import Bench

CPU_FACT = "cpu.model name"
SPEED = Indicator(name="cpu_ops_per_s_full_1", unit="1/s", resource=Resource.CPU)
GAP = math.log(1.1)
TRIES = 300
# Facts of parts that exist in every fleet; three of them split a cluster at random.
DECOYS = (
    "kernel.release",
    "sysctl.vm.swappiness",
    "nic.driver version",
    "package.openssl",
    "storage.model",
    "cpufreq.governor",
    "bios.firmware date",
    "mount.options",
    "rack",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    name: str
    family: str
    model: str
    facts: Mapping[str, str]
    level: float  # log of the indicator


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A cluster of servers from one family."""

    family: str
    servers: tuple[Server, ...]
    decoys: Mapping[str, tuple[str, ...]]

    @property
    def truth(self) -> Partition:
        return Partition.of(server.model for server in self.servers)

    @property
    def table(self) -> FactTable:
        facts = {server.name: dict(server.facts) for server in self.servers}
        for fact, values in self.decoys.items():
            for server, value in zip(self.servers, values, strict=True):
                facts[server.name][fact] = value
        return FactTable.of(facts)

    @property
    def levels(self) -> tuple[Level, ...]:
        return tuple(Level(node=s.name, mean=s.level, error=0.0, samples=1, effective=1.0) for s in self.servers)


def folder() -> Path:
    """Where the data is: BACKSTAY_AUDIT_DATA, or ../shared/data beside the checkout."""
    beside = Path(__file__).parents[2].parent / "shared" / "data"
    return Path(os.environ.get("BACKSTAY_AUDIT_DATA", beside))


def servers(bench: Bench) -> list[Server]:
    """Those with the indicator and a CPU model. Empty, with a note in the results, where the file is absent."""
    path = bench.args.data or folder() / "sparecores.jsonl.gz"
    if not path.is_file():
        bench.note(f"skipped: no {path.name}; give --data FILE.jsonl.gz or set BACKSTAY_AUDIT_DATA to its folder")
        return []
    found: list[Server] = []
    line = 0
    try:
        with gzip.open(path, "rt") as lines:
            for text in lines:
                line += 1
                server = _server(json.loads(text), bench.args.indicator, line)
                found += [server] if server else []
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        form = "gzipped lines of JSON with vendor, server, family, facts, indicators"
        sys.exit(f"{path.name}:{line}: {error!r}: give {form}")
    if not found:
        bench.note(f"skipped: no server in {path.name} has {bench.args.indicator} and {CPU_FACT}: choose --indicator")
    return found


def _server(entry: Any, indicator: str, line: int) -> Server | None:
    """None without the indicator or a CPU model. The line makes its name unique."""
    value, model = entry["indicators"].get(indicator), entry["facts"].get(CPU_FACT)
    if not model or not value or not math.isfinite(value) or value <= 0:
        return None
    return Server(
        name=f"{entry['server']}:{line}",
        family=f"{entry['vendor']} {entry['family']}",
        model=str(model),
        facts={name: str(text) for name, text in entry["facts"].items()},
        level=math.log(value),
    )


def families(found: Sequence[Server]) -> dict[str, list[Server]]:
    grouped: dict[str, list[Server]] = defaultdict(list)
    for server in found:
        grouped[server.family].append(server)
    return dict(sorted(grouped.items()))


def gap(cluster: Sequence[Server]) -> float:
    """Between the mean levels of the fastest and of the slowest CPU model; 0 for one model."""
    by_model: dict[str, list[float]] = defaultdict(list)
    for server in cluster:
        by_model[server.model].append(server.level)
    means = [sum(levels) / len(levels) for levels in by_model.values()]
    return max(means) - min(means)


def clusters(found: Sequence[Server], nodes: int, count: int, *, decoys: int, seed: int) -> Iterator[Drawn]:
    """A family at random, then `nodes` of it at random, until their CPU models differ by 10% or more."""
    chance = random.Random(seed)
    able = [
        members
        for members in families(found).values()
        if len(members) >= nodes and any(gap(chance.sample(members, nodes)) >= GAP for _ in range(TRIES))
    ]
    made = 0
    while able and made < count:
        cluster = chance.sample(chance.choice(able), nodes)
        if gap(cluster) >= GAP:
            made += 1
            planted = {fact: _split(nodes, chance) for fact in chance.sample(DECOYS, decoys)}
            yield Drawn(family=cluster[0].family, servers=tuple(cluster), decoys=planted)


def alike(found: Sequence[Server], nodes: int, count: int, *, seed: int) -> Iterator[Drawn]:
    """Clusters of one family and one CPU model: nothing ought to differ."""
    chance = random.Random(seed)
    groups: dict[tuple[str, str], list[Server]] = defaultdict(list)
    for server in found:
        groups[server.family, server.model].append(server)
    able = [group for _, group in sorted(groups.items()) if len(group) >= nodes]
    for _ in range(count if able else 0):
        cluster = chance.sample(chance.choice(able), nodes)
        yield Drawn(family=cluster[0].family, servers=tuple(cluster), decoys={})


def _split(nodes: int, chance: random.Random) -> tuple[str, ...]:
    """Two or three values at random, at least two of them used."""
    values = chance.choice((2, 2, 3))
    while True:
        split = tuple(f"v{chance.randrange(values)}" for _ in range(nodes))
        if len(set(split)) > 1:
            return split


def day_series(bench: Bench) -> dict[str, np.ndarray]:
    """The four machines over 24 hours: name -> log of the figure, about a sample a minute."""
    base = bench.args.data.parent if bench.args.data else folder()
    found = {}
    for path in sorted(base.glob("sparecores-24h-*.csv.gz")):
        with gzip.open(path, "rt") as lines:
            rows = [float(row["cpu_ops_per_s"]) for row in csv.DictReader(lines)]
        found[path.name.removeprefix("sparecores-24h-").removesuffix(".csv.gz")] = np.log(np.array(rows))
    if not found:
        bench.note("skipped: no sparecores-24h-*.csv.gz; set BACKSTAY_AUDIT_DATA to their folder")
    return found
