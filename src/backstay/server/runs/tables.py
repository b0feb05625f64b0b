"""The tables of runs, as the newest migration of the server's leaves them. Times are text (ISO 8601, UTC)."""

from __future__ import annotations

from sqlalchemy import Column, Integer, MetaData, String, Table, Text

metadata = MetaData()

TIME = String(27)

run = Table(
    "run_run",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("selector", Text, nullable=False),
    Column("command", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", TIME, nullable=False, index=True),
    Column("event", String(64), nullable=False),
    Column("alive_at", TIME, nullable=False),
    Column("ended_at", TIME),
)

node = Table(
    "run_node",
    metadata,
    Column("run", String(64), primary_key=True),
    Column("node", String(63), primary_key=True),
    Column("place", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("exit_code", Integer),
    Column("error", Text, nullable=False),
    Column("started_at", TIME),
    Column("ended_at", TIME),
)

# Apart from the nodes: a list of runs reads those, and nobody's output.
output = Table(
    "run_output",
    metadata,
    Column("run", String(64), primary_key=True),
    Column("node", String(63), primary_key=True),
    Column("text", Text, nullable=False),
    Column("left_out", Integer, nullable=False),
)
