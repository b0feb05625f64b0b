"""Alias classes: facts that split the nodes in the same way cannot be told apart here, and are one hypothesis.

Four nodes allow 14 partitions, however many thousand facts differ.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from backstay.audit.model import UNREAD, FactColumn, FactTable, Ints, Partition

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
            partition = Partition.of(codes_of(column).tolist())
            if partition.groups > 1:
                found[partition].append(fact)
    return AliasClasses({partition: tuple(facts) for partition, facts in found.items()}, tuple(unread))


def codes_of(column: FactColumn) -> Ints:
    """The column's codes, (nodes,), but for measured figures: those within 0.5% of the next smaller one are equal."""
    present = sorted({code for code in column.codes.tolist() if code >= 0})
    if not present or not all(_is_measured(column.values[code]) for code in present):
        return column.codes
    group, before = 0, -math.inf
    joined = np.arange(len(column.values), dtype=np.int32)
    for code in sorted(present, key=lambda code: float(column.values[code])):
        value = float(column.values[code])
        group += value > before * (1.0 + MEASURED_TOLERANCE) if before > -math.inf else 0
        joined[code], before = group, value
    codes: Ints = np.where(column.codes >= 0, joined[column.codes], column.codes)
    return codes


def _is_measured(value: str) -> bool:
    return len(value) < 30 and MEASURED.fullmatch(value) is not None
