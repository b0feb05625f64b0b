"""How facts behave across the fleet: which change by themselves, and which are unique to each node.

Learned from what was seen, not from a list of names: the lists that other tools keep would have hidden the CPU's
model. A volatile fact (uptime, free memory) or an identity (a serial number) is down-weighted and shown, never deleted:
once in a while a batch of serial numbers is the cause.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from backstay.audit.model import FactChange, FactTable, Habit

VOLATILE_CHURN = 1.0 / 7.0  # changes a node and day: more than once a week is no configuration
VOLATILE_SHARE = 0.5  # of the nodes that changed it: a rollout touches each node once, a clock all of them often
VOLATILE_TIMES = 3  # changes on one node within the time looked at: fewer are a rollout and its undoing
IDENTITY_NODES = 8  # of fewer, a fact may well be unique by chance
IDENTITY_DISTINCT = 0.95


def learn_habits(table: FactTable, changes: Sequence[FactChange], *, days: float) -> Mapping[str, Habit]:
    """Habits of every fact of `table`: fleet-wide, as far as it is known. `changes`: those within the last `days`."""
    if not days > 0.0:
        raise ValueError(f"habits over {days} days: give the time that the changes cover")
    times: dict[str, Counter[str]] = {}
    for change in changes:
        times.setdefault(change.fact, Counter())[change.node] += 1
    return {
        fact: _habit(fact, column.codes, times.get(fact, Counter()), days) for fact, column in table.columns.items()
    }


def _habit(
    fact: str, codes: np.ndarray[tuple[int, ...], np.dtype[np.int32]], times: Counter[str], days: float
) -> Habit:
    known = codes[codes >= 0]
    nodes = len(known)
    distinct = len(np.unique(known)) / nodes if nodes else 0.0
    churn = times.total() / max(nodes, 1) / days
    often = sum(count >= VOLATILE_TIMES for count in times.values())
    volatile = churn >= VOLATILE_CHURN and often >= VOLATILE_SHARE * max(nodes, 1)
    identity = not volatile and nodes >= IDENTITY_NODES and distinct >= IDENTITY_DISTINCT
    return Habit(fact=fact, nodes=nodes, distinct=distinct, churn=churn, volatile=volatile, identity=identity)
