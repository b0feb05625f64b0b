"""Series as they are kept for a chart: no more nodes than one can look at, no more digits than one can read. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backstay.server.audit.model import Plain

NODES_LIMIT = 24
DIGITS = 6  # significant ones


def drawn(series: Plain, first: Sequence[str]) -> dict[str, Any]:
    """The series with the nodes of `first` first, and "left_out": how many are not among them."""
    nodes = sorted(series["nodes"], key=lambda one: one["node"] not in first)  # stable: else in their order
    shown = [
        {
            **one,
            "absolute": [_figure(value) for value in one["absolute"]],
            "beside": [_figure(x) for x in one["beside"]],
        }
        for one in nodes[:NODES_LIMIT]
    ]
    return {**series, "nodes": shown, "left_out": max(0, len(nodes) - NODES_LIMIT)}


def _figure(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{DIGITS}g}")
