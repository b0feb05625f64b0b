"""The audit's tables, as the newest migration of the server's leaves them. Times are text (ISO 8601, UTC)."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, MetaData, String, Table, Text

metadata = MetaData()

TIME = String(27)

result = Table(
    "audit_result",
    metadata,
    Column("kind", String(16), primary_key=True),
    Column("cluster", String(63), primary_key=True),
    Column("indicator", String(300), primary_key=True),
    Column("span", String(4), primary_key=True),
    Column("at", TIME, nullable=False),
    Column("head", Text, nullable=False),  # JSON
    Column("body", Text, nullable=False),  # JSON; apart from the head: lists read many heads, and no body
)

# One row at most: whoever has it collects.
lease = Table(
    "audit_lease",
    metadata,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("holder", String(64), nullable=False),
    Column("until", TIME, nullable=False),
)

ask = Table(
    "audit_ask",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("body", Text, nullable=False),  # JSON
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", TIME, nullable=False),
    Column("taken_at", TIME),
    Column("taken_by", String(64)),
    Column("answer", Text),  # JSON; NULL: not yet
    Index("audit_ask_at", "at"),
)
