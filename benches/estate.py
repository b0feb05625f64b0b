"""Load and validate an estate: seconds for 2,000 nodes and 500 pools, the growth of the time, and the memory it takes.

./run bench estate [--short]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from backstay.estate import load_text
from backstay.estate.tree import parse
from benches.harness import Bench

GOAL_S = 2.0
IMPORT_GOAL_MB = 30.0  # half of what the agent may take


def estate_text(nodes: int, pools: int, cluster_size: int = 20) -> str:
    """An estate that holds: `nodes` over 4 zones, and for each of `pools` a cluster, a route and a check."""
    lines = ["estate: large", "regions:", "  home:", "    zones:"]
    lines += [f"      z{z}: {{paths: [power-a, power-b, switch-a, switch-b]}}" for z in range(4)]
    lines.append("nodes:")
    for n in range(nodes):
        side = "ab"[n // 4 % 2]
        address = f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}"
        lines.append(f"  n{n}: {{zone: z{n % 4}, address: {address}, paths: [power-{side}, switch-{side}]}}")
    lines.append("clusters:")
    for c in range(pools):
        members = ", ".join(f"n{8 + (4 * c + k) % (nodes - 8)}" for k in range(cluster_size))
        lines.append(f"  c{c}: {{members: [{members}], spare: 5}}")
    lines += ["tiers:", "  edge: {engine: nginx, members: [n0, n1, n2, n3, n4, n5, n6, n7]}"]
    lines += ["services:", "  app:", "    hostnames: [app.example.com]", "    routes:"]
    lines += [f"      - {{path: /p{p}, pool: p{p}}}" for p in range(pools)]
    lines.append("pools:")
    for p in range(pools):
        lines += [f"  p{p}:", f"    cluster: c{p}", "    port: 8000", "    balance: least_time"]
        lines += ["    check: {path: /healthz, port: 8001, interval_s: 1}", "    rescale: {every_s: 15}"]
    return "\n".join(lines) + "\n"


def seconds(text: str, rounds: int) -> tuple[float, float]:
    """Medians: to parse alone, and to load, validate and warn."""
    parsing, whole = [], []
    for _ in range(rounds):
        start = time.perf_counter()
        parse(text, "large.yaml")
        parsing.append(time.perf_counter() - start)
        start = time.perf_counter()
        assert load_text(text, "large.yaml", Path()).warnings == ()
        whole.append(time.perf_counter() - start)
    return statistics.median(parsing), statistics.median(whole)


def load(bench: Bench) -> None:
    """YAML text to a checked estate, with its warnings; from a tenth of the size to the full one."""
    rounds = 3 if bench.short else 9
    for nodes, pools in ((200, 50), (1_000, 250), (2_000, 500)):
        text = estate_text(nodes, pools)
        parse_s, load_s = seconds(text, rounds)
        subject = f"{nodes:,} nodes, {pools} pools"
        bench.record("load", subject, text_kb=len(text) // 1024, parse_s=parse_s, load_and_validate_s=load_s)
    bench.check(
        "load",
        f"2,000 nodes and 500 pools in under {GOAL_S:g} s",
        met=(whole_s := bench.value("load", "2,000 nodes, 500 pools", "load_and_validate_s")) < GOAL_S,
        measured=f"{whole_s:.3f} s",
    )
    growth = bench.ratio("load", "load_and_validate_s", "2,000 nodes, 500 pools", "200 nodes, 50 pools")
    bench.check("load", "ten times the size in at most 15 times the time", met=growth <= 15, measured=growth)


def resident_mb(statement: str) -> float:
    """Resident memory of a fresh Python after a statement, in MB."""
    script = f"{statement}\nprint(int(open('/proc/self/statm').read().split()[1]) * 4096 / 1e6)"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    return float(answer.stdout)


def memory(bench: Bench) -> None:
    """Resident memory of a process that imports the room, beside bare Python and pydantic alone."""
    statements = {
        "bare Python": "pass",
        "pydantic": "from pydantic import BaseModel",
        "estate": "import backstay.estate",
    }
    for subject, statement in statements.items():
        bench.record("memory", subject, resident_mb=resident_mb(statement))
    more = bench.value("memory", "estate", "resident_mb") - bench.value("memory", "bare Python", "resident_mb")
    goal = f"under {IMPORT_GOAL_MB:g} MB over bare Python"
    bench.check("memory", goal, met=more < IMPORT_GOAL_MB, measured=f"{more:.1f} MB")


if __name__ == "__main__":
    bench = Bench(
        "estate",
        "Load and validate an estate",
        cases={"load": load, "memory": memory},
        libraries=("pydantic", "pyyaml"),
    )
    sys.exit(bench.run())
