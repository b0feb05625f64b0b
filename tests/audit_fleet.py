"""Four clusters of four nodes, each with one old CPU that is half slower: what one look cannot say, four can."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

START = datetime(2026, 3, 2, tzinfo=UTC)
CLUSTERS = tuple(f"c{at}" for at in range(4))
NODES = tuple(f"{cluster}-{at}" for cluster in CLUSTERS for at in range(4))
CELLS = 300  # minutes


def write_fleet(folder: Path) -> str:
    """facts.json and indicators.csv in `folder`; the text of the estate."""
    facts = {node: {"cpu.version": "V1" if node.endswith("-0") else "V2"} for node in NODES}
    (folder / "facts.json").write_text(json.dumps(facts))
    rng = np.random.default_rng(11)
    rows = ["time,node,load"]
    for cell in range(CELLS):
        for node in NODES:
            value = np.exp(rng.normal(0.0, 0.05)) * (1.5 if node.endswith("-0") else 1.0)
            rows.append(f"{START.timestamp() + 60 * cell},{node},{value:.4f}")
    (folder / "indicators.csv").write_text("\n".join(rows))
    nodes = "".join(f"  {node}: {{zone: dc1, address: 192.0.2.{at}}}\n" for at, node in enumerate(NODES, 1))
    clusters = "".join(f'  {name}: {{members: "{name}-*"}}\n' for name in CLUSTERS)
    return (
        f"estate: example\nregions: {{home: {{zones: {{dc1: {{}}}}}}}}\nnodes:\n{nodes}clusters:\n{clusters}"
        "audit:\n  facts: [{kind: file, path: facts.json}]\n  indicators: [{kind: file, path: indicators.csv}]\n"
    )
