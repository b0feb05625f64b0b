"""Dispatch: `./run bench audit [PART] [--data FILE] [--nodes N] [--json OUT]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benches.audit.changepoints import changepoints
from benches.audit.data import SPEED
from benches.audit.fixes import fixes
from benches.audit.nulls import nulls
from benches.audit.peers import peers
from benches.audit.scale import scale
from benches.audit.smoking_gun import calibration, smoking_gun
from benches.audit.store import store
from benches.audit.trends import trends
from benches.harness import Bench, Case

CASES: dict[str, Case] = {
    "smoking-gun": smoking_gun,
    "calibration": calibration,
    "nulls": nulls,
    "peers": peers,
    "changepoints": changepoints,
    "trends": trends,
    "scale": scale,
    "store": store,
    "fixes": fixes,
}


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("part", nargs="?", choices=list(CASES), help="one part alone")
    parser.add_argument("--data", type=Path, metavar="FILE.jsonl.gz", help="server types with facts and indicators")
    parser.add_argument(
        "--nodes", type=int, help="of a cluster (smoking-gun: 4 and 8), or of the fleet (scale: 100000, store: 100)"
    )
    parser.add_argument("--count", type=int, help="clusters drawn (2000; 200 with --short)")
    parser.add_argument("--indicator", default=SPEED.name, help="what is to be explained (%(default)s)")


def audit(argv: Sequence[str] | None = None) -> Bench:
    bench = Bench(
        "audit",
        "How often the audit is right, how sure it is, and what it costs",
        cases=CASES,
        libraries=("numpy", "scipy", "scikit-learn", "duckdb", "ruptures"),
        options=options,
        argv=argv,
    )
    if bench.args.part:
        bench.args.only = [bench.args.part]
    return bench


if __name__ == "__main__":
    sys.exit(audit().run())
