"""osqueryd's result log -> for each host, the rows that each query has now. Pure.

    {"name": Q, "hostIdentifier": H, "unixTime": T, "action": "snapshot", "snapshot": [rows]}
    {"name": Q, "hostIdentifier": H, "unixTime": T, "epoch": E, "counter": N, "action": "added", "columns": row}
    {"name": Q, "hostIdentifier": H, "unixTime": T, "epoch": E, "counter": N, "diffResults": {"added": [], ...}}

A snapshot is whole. Differences are, when the log has them from counter 0 on: a log that was rotated begins in the
middle, and what it does not tell must not look as if it were not there. (osquery.readthedocs.io, Logging.)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from backstay.audit.sources.osquery.rows import ROWS_LIMIT, table_of

BEGINS_LATE = "the log begins after its first result; begin a new log, or make it a snapshot query"


@dataclass(slots=True)
class Query:
    """Rows of one query on one host. `whole`: all of them are known."""

    rows: dict[str, Mapping[str, Any]] = field(default_factory=dict)  # by their text
    whole: bool = False
    epoch: object = None


@dataclass(slots=True)
class Host:
    queries: dict[str, Query] = field(default_factory=dict)
    time_s: float = 0.0  # Unix, of its last result


class Log:
    """Grows line by line. Raises ValueError: what is wrong with a line."""

    def __init__(self) -> None:
        self.hosts: dict[str, Host] = {}

    def add(self, line: Any) -> None:
        if not isinstance(line, dict) or not all(isinstance(line.get(key), str) for key in ("name", "hostIdentifier")):
            raise ValueError("no result of osqueryd: it has no name or no hostIdentifier")
        host = self.hosts.setdefault(line["hostIdentifier"], Host())
        host.time_s = max(host.time_s, _seconds(line.get("unixTime")))
        query = host.queries.setdefault(table_of(line["name"]), Query())
        if line.get("action") == "snapshot" or "snapshot" in line:
            query.rows, query.whole = {}, True
            _change(query, line.get("snapshot"), [])
            return
        epoch = line.get("epoch", 0)
        if query.epoch != epoch:
            query.rows, query.whole, query.epoch = {}, _is_zero(line.get("counter")), epoch
        changes = line.get("diffResults")
        if isinstance(changes, dict):
            _change(query, changes.get("added") or [], changes.get("removed") or [])
        elif line.get("action") in ("added", "removed"):
            rows = [line.get("columns")]
            _change(query, rows, []) if line["action"] == "added" else _change(query, [], rows)
        else:
            raise ValueError("neither a snapshot nor added nor removed rows")


def _change(query: Query, added: Any, removed: Any) -> None:
    for rows in (added, removed):
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ValueError("its rows are no JSON objects")
    for row in removed:
        query.rows.pop(json.dumps(row, sort_keys=True), None)
    for row in added:
        query.rows[json.dumps(row, sort_keys=True)] = row
    if len(query.rows) > ROWS_LIMIT:
        raise ValueError(f"more than {ROWS_LIMIT} rows of one query on one host")


def _seconds(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError("its unixTime is no number") from None


def _is_zero(value: Any) -> bool:
    return str(value) == "0"
