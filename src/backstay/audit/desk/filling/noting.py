"""Changes of facts as events of the journal: one a node and collection, at least once.

What is to be noted is kept until the journal has it: the store tells a change only once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from backstay.audit.desk.answers import of_change
from backstay.audit.model import FactChange
from backstay.audit.ports import RecordStore
from backstay.journal import Event, new_id

Record = Callable[[Event], None]  # as Journal.append: raises JournalError
FACTS_LIMIT = 50  # of one node that an event names; more are counted
VALUE_LIMIT = 200  # characters of a value
ACTOR = "audit"
WAITING = "unnoted"  # kind and id of the record
WAITING_LIMIT = 10_000  # of a journal that is away for long the newest are kept
TIMEOUT_S = 30.0


def _change(told: Mapping[str, Any]) -> FactChange:
    return FactChange(**{**told, "time": datetime.fromisoformat(told["time"])})


async def note(records: RecordStore, record: Record, changes: Sequence[FactChange], now: datetime) -> None:
    """`changes`, and those that the journal did not take before. Raises JournalError: they are noted next time."""
    waiting = (await records.all(WAITING, timeout_s=TIMEOUT_S)).get(WAITING, {}).get("changes", ())
    every = [*(_change(one) for one in waiting), *changes][-WAITING_LIMIT:]
    if not every:
        return
    await records.put(WAITING, WAITING, {"changes": [of_change(one) for one in every]}, timeout_s=TIMEOUT_S)
    note_changes(record, every, now)
    await records.put(WAITING, WAITING, {"changes": []}, timeout_s=TIMEOUT_S)


def note_changes(record: Record, changes: Sequence[FactChange], now: datetime) -> None:
    """An event `audit.facts_changed` about each node with changes. Raises JournalError."""
    by_node: dict[str, list[FactChange]] = {}
    for change in changes:
        by_node.setdefault(change.node, []).append(change)
    for node, of_node in by_node.items():
        record(
            Event(
                id=new_id(),
                time=now,
                kind="audit.facts_changed",
                subject=f"node/{node}",
                actor=ACTOR,
                reason=_reason(of_node),
                data={
                    "changes": [
                        {"fact": one.fact, "before": _short(one.before), "after": _short(one.after)}
                        for one in of_node[:FACTS_LIMIT]
                    ],
                    "count": len(of_node),
                },
            )
        )


def _reason(changes: Sequence[FactChange]) -> str:
    first = changes[0]
    words = f"{first.fact}: {_short(first.before) or 'absent'} -> {_short(first.after) or 'absent'}"
    return f"{words}, and {len(changes) - 1} facts more" if len(changes) > 1 else words


def _short(value: str | None) -> str | None:
    return value if value is None or len(value) <= VALUE_LIMIT else value[: VALUE_LIMIT - 3] + "..."
