"""Alias classes: facts that split the nodes in the same way cannot be told apart here, and are one hypothesis.

Four nodes allow 14 partitions, however many thousand facts differ.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from dataclasses import dataclass

from backstay.audit.model import UNREAD, FactColumn, FactTable, Partition

# What one real CPU says of its BogoMIPS from boot to boot: 4399.99, 4400.02. A measured figure, so not two values.
MEASURED = re.compile(r"\d+\.\d+")
MEASURED_TOLERANCE = 0.005


@dataclass(frozen=True, slots=True)
class AliasClasses:
    facts: dict[Partition, tuple[str, ...]]
    unread: tuple[str, ...]  # facts that differ or might, but were not read on every node


def alias_classes(table: FactTable) -> AliasClasses:
    """The facts that differ between the table's nodes, by how they split them. Absent is a value; unread is none."""
    found: dict[Partition, list[str]] = defaultdict(list)
    unread = []
    for fact, column in table.columns.items():
        codes = column.codes
        if (codes == UNREAD).any():
            unread.append(fact)
        elif (codes != codes[:1]).any():
            partition = Partition.of(_measured(column) if _is_measured(column) else codes.tolist())
            if partition.groups > 1:
                found[partition].append(fact)
    return AliasClasses({partition: tuple(facts) for partition, facts in found.items()}, tuple(unread))


def _is_measured(column: FactColumn) -> bool:
    present = {column.values[code] for code in column.codes.tolist() if code >= 0}
    return bool(present) and all(MEASURED.fullmatch(value) and len(value) < 30 for value in present)


def _measured(column: FactColumn) -> list[int]:
    """Codes where values within 0.5% of the next smaller one are equal."""
    texts = [column.values[code] if code >= 0 else None for code in column.codes.tolist()]
    group, groups, before = 0, dict[str | None, int](), -math.inf
    for text in sorted({text for text in texts if text is not None}, key=float):
        group += float(text) > before * (1.0 + MEASURED_TOLERANCE) if before > -math.inf else 0
        groups[text], before = group, float(text)
    return [groups.get(text, -1) for text in texts]
