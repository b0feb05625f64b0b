"""What was about when it changed: facts and events of the journal in the time window, the same node first.

A coincidence is no cause. How many there would be by chance is counted beside it: a node whose packages change every
day has one beside any change point.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from backstay.audit.model import FactChange
from backstay.audit.review.model import Coincidence
from backstay.journal import Event

BEFORE = timedelta(hours=6)  # what takes its time to show
AFTER = timedelta(hours=2)  # facts are read once an hour: a change is seen after it happened
SHOWN_LIMIT = 5


class Happenings:
    """Facts' changes and events of one cluster's nodes, or of no node."""

    def __init__(self, nodes: Sequence[str], changes: Sequence[FactChange], events: Sequence[Event]) -> None:
        mine = frozenset(nodes)
        found = [_of_change(one) for one in changes if one.node in mine]
        for event in events:
            kind, _, name = event.subject.partition("/")
            node = name if kind == "node" else ""
            if not node or node in mine:
                found.append(_of_event(event, node))
        self._all = tuple(sorted(found, key=lambda one: one.time))

    def about(
        self, earliest: datetime, latest: datetime, node: str, span: tuple[datetime, datetime]
    ) -> tuple[tuple[Coincidence, ...], float]:
        """Those from BEFORE `earliest` to AFTER `latest`, of `node` first, then nearest; and how many of them chance
        would put there, were they anywhere in `span`. For the whole cluster `node` is empty: every node's count.
        """
        start, end = earliest - BEFORE, latest + AFTER
        middle = earliest + (latest - earliest) / 2
        marked = [
            Coincidence(
                node=one.node, what=one.what, time=one.time, fact=one.fact, same_node=bool(node) and one.node == node
            )
            for one in self._all
            if span[0] <= one.time <= span[1]
        ]
        inside = [one for one in marked if start <= one.time <= end]
        inside.sort(key=lambda one: (not one.same_node, abs(one.time - middle)))
        length = max((span[1] - span[0]).total_seconds(), 1.0)
        share = min((min(end, span[1]) - max(start, span[0])).total_seconds() / length, 1.0)
        weighed = [one for one in marked if one.same_node] if node else marked
        return tuple(inside[:SHOWN_LIMIT]), max(share, 0.0) * len(weighed)


def _of_change(one: FactChange) -> Coincidence:
    before, after = (value if value is not None else "(absent)" for value in (one.before, one.after))
    return Coincidence(
        node=one.node, what=f"{one.fact}: {before} -> {after}", time=one.time, fact=True, same_node=False
    )


def _of_event(one: Event, node: str) -> Coincidence:
    reason = f": {one.reason}" if one.reason else ""
    return Coincidence(
        node=node, what=f"{one.kind} {one.subject} ({one.actor}){reason}", time=one.time, fact=False, same_node=False
    )
