"""Rows of osquery's tables as facts: "osquery.TABLE.KEY.COLUMN", or "osquery.TABLE.COLUMN" for one row. Pure.

KEY is the first of KEYS that the table has. Rows with one key (a package that is installed twice) and tables without
any have all their values in one fact, so that the order of rows, which osquery does not promise, makes no difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from backstay.audit.sources.names import SECRET
from backstay.audit.sources.values import FACTS_LIMIT, is_name, tidy

KEYS = ("name", "path", "interface", "device_locator", "pci_slot", "device_id", "handle", "key", "label")
# The tables that names.py knows. Queries of a pack carry its name before: pack_hardware_system_info.
TABLES = (
    "system_info", "kernel_info", "os_version", "platform_info", "interface_details", "system_controls",
    "deb_packages", "rpm_packages", "memory_devices", "kernel_modules", "block_devices", "mounts", "cpu_info",
)  # fmt: skip
ROWS_LIMIT = FACTS_LIMIT

Rows = Iterable[Mapping[str, Any]]


def table_of(query: str) -> str:
    """The table that a query's name ends with, where it is one of TABLES; else the name."""
    for table in TABLES:
        if query.removesuffix(table).endswith(("_", "/", "-")) and query.endswith(table):
            return table
    return query


def facts_of_rows(table: str, rows: Rows) -> dict[str, str]:
    """Raises ValueError for what are no rows, and for more than FACTS_LIMIT facts."""
    found: dict[str, set[str]] = {}
    listed = list(rows)
    if not all(isinstance(row, Mapping) for row in listed):
        raise ValueError(f"{table[:100]}: rows are no JSON objects. Give what `osqueryi --json` prints.")
    key = next((one for one in KEYS if all(row.get(one) for row in listed)), None) if len(listed) > 1 else None
    for row in listed:
        before = f"osquery.{table}.{row[key]}" if key else f"osquery.{table}"
        for column, value in row.items():
            name = f"{before}.{column}"
            if column == key or value in (None, "") or SECRET.search(name):
                continue
            if not is_name(name):
                raise ValueError(f"{tidy(name)[:80]}: no name of a fact: 1 to 300 printable characters.")
            found.setdefault(name, set()).add(" ".join(str(value).split()))
            if len(found) > FACTS_LIMIT:
                raise ValueError(f"{table[:100]}: more than {FACTS_LIMIT} facts. Ask for fewer columns.")
    return {name: tidy(", ".join(sorted(values))) for name, values in found.items()}
