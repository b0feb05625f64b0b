"""`ethtool -S`: what a network card lost, by kind, in the words of its driver. Pure.

Each driver has names of its own, and often counts one loss under several of them (rx_dropped, and each queue's). So
nothing is added up but the same name over the cards of a node: nic_rx_missed_errors_total. Queues are left out.
"""

from __future__ import annotations

import re

_STATISTIC = re.compile(r"^\s+([A-Za-z0-9_.\[\]() -]{1,80}): (\d+)\s*$")
_LOSS = re.compile(r"drop|discard|miss|no_?(dma_?)?buf|out_of_buf|over(run|flow)|fifo|crc|err|timeout|pause|xoff")
_QUEUE = re.compile(r"queue|\[\d+\]|(^|_)(rx|tx|q|ch|ring|txq|rxq|prio|tc|veb)_?\d+([_.]|$)|^\d")
KINDS_LIMIT = 60  # of a node


def losses(text: str) -> dict[str, float]:
    """Indicator -> count, of the output for one card. Empty for a card that tells none."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        match = _STATISTIC.match(line)
        if match is None:
            continue
        name = re.sub(r"[^a-z0-9]+", "_", match[1].strip().lower()).strip("_")
        if _LOSS.search(name) and not _QUEUE.search(match[1].lower()) and len(found) < KINDS_LIMIT:
            found[f"nic_{name}_total"] = float(match[2])
    return found
