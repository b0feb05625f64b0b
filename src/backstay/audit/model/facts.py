"""What is known of nodes: facts, slow and discrete."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from backstay.audit.model.arrays import Ints

ABSENT = -1  # the source read the node, and it has no such fact: a value like any other
UNREAD = -2  # nobody could read it there: nothing is known


@dataclass(frozen=True, slots=True, kw_only=True)
class FactReport:
    """What one source says of one node at one time."""

    node: str
    source: str
    time: datetime  # UTC
    values: Mapping[str, str]  # "cpu.model name" -> text; a fact in neither mapping is absent
    unread: Mapping[str, str] = field(default_factory=dict)  # fact, or a group "dmi.*" -> why ("needs root")
    problem: str = ""  # the node could not be read at all: what, where, what next


@dataclass(frozen=True, slots=True, kw_only=True)
class FactInterval:
    """A node had a fact with this value, from the first report that said so to the last."""

    node: str
    fact: str
    value: str
    first_seen: datetime
    last_seen: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FactChange:
    """A fact that changed its value: an event. `time` is when the new value was first seen."""

    node: str
    fact: str
    before: str | None  # None: absent
    after: str | None
    time: datetime
    # When the old value was last seen: it changed between then and `time`. None: nobody knows. Not part of what it is.
    unseen_from: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class FactColumn:
    """One fact over the nodes of a table, coded: `codes[n]` indexes `values`, or is ABSENT or UNREAD."""

    codes: Ints  # (nodes,)
    values: tuple[str, ...]

    def text(self, position: int) -> str | None:
        """The value on the node at `position`; None where it is absent or unread."""
        code = int(self.codes[position])
        return self.values[code] if code >= 0 else None


@dataclass(frozen=True, slots=True)
class FactTable:
    """Facts by node, at one time."""

    nodes: tuple[str, ...]
    columns: Mapping[str, FactColumn]

    @classmethod
    def of(
        cls, values: Mapping[str, Mapping[str, str]], unread: Mapping[str, Iterable[str]] | None = None
    ) -> FactTable:
        """From node -> fact -> value, and node -> facts that could not be read there.

        `unread` may name groups ("dmi.*"); a value that another source has wins over "unread".
        """
        nodes = tuple(values)
        codes: dict[str, Ints] = {}
        known: dict[str, dict[str, int]] = {}
        for position, node in enumerate(nodes):
            for fact, value in values[node].items():
                if fact not in codes:
                    codes[fact] = np.full(len(nodes), ABSENT, np.int32)
                    known[fact] = {}
                codes[fact][position] = known[fact].setdefault(str(value), len(known[fact]))
        for position, node in enumerate(nodes):
            for name in (unread or {}).get(node, ()):
                group = [fact for fact in codes if fact.startswith(name[:-1])] if name.endswith("*") else [name]
                for fact in group:
                    if fact in codes and codes[fact][position] == ABSENT:
                        codes[fact][position] = UNREAD
        return cls(nodes, {fact: FactColumn(codes[fact], tuple(known[fact])) for fact in sorted(codes)})

    def rows(self, nodes: Sequence[str]) -> FactTable:
        """The same facts for these nodes, in this order. Raises KeyError for a node that is not in the table."""
        place = {node: position for position, node in enumerate(self.nodes)}
        missing = [node for node in nodes if node not in place]
        if missing:
            raise KeyError(f"no facts of {', '.join(missing[:5])}: collect them (backstay audit collect)")
        picked = np.array([place[node] for node in nodes], np.int64)
        columns = {fact: FactColumn(column.codes[picked], column.values) for fact, column in self.columns.items()}
        return FactTable(tuple(nodes), columns)
