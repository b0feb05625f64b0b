"""The server's tables, as the newest migration leaves them. They stand beside the journal's in the same database.

Times are text as in the journal (ISO 8601 in UTC, six digits of the second), so that both databases sort them alike.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, MetaData, String, Table, Text

from backstay.journal.store import Migrations

MIGRATIONS = Migrations(
    room="server", folder=Path(__file__).parent / "migrations", version_table="server_version", newest="0004"
)

metadata = MetaData()

# One row. `revision`: of what is desired; `agents`: grows with whatever is known of agents. Writers take turns anyway.
state = Table(
    "server_state",
    metadata,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("identity", String(64), nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("agents", BigInteger, nullable=False),
)

estate = Table(
    "server_estate",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("altered", BigInteger, nullable=False),
    Column("text", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", String(27), nullable=False),
)

change = Table(
    "server_change",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("revision", BigInteger, nullable=False),  # that first told of it
    Column("place", Integer, nullable=False),  # in its batch
    Column("altered", BigInteger, nullable=False),  # revision that told of it last
    Column("batch", String(64), nullable=False),
    Column("selector", Text, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("node", String(63), nullable=False),
    Column("pool", String(63)),
    Column("factor", Float),
    Column("parameter", Text),
    Column("value", Text),  # JSON
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_at", String(27), nullable=False),
    Column("expires_at", String(27)),
    Column("forced", Boolean, nullable=False),
    Column("event", String(64)),
    Column("ended_by", String(16)),  # NULL: in force
    Column("ended_at", String(27)),
    Column("ended_actor", Text),
    Column("ended_reason", Text),
    Index("server_change_batch", "batch"),
    Index("server_change_altered", "altered"),
    Index("server_change_ended_at", "ended_at"),
)

order = Table(
    "server_order",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("place", Integer, nullable=False),
    Column("altered", BigInteger, nullable=False),
    Column("lb", String(63), nullable=False),
    Column("body", Text, nullable=False),  # link.wire.Order as JSON
    Column("created_at", String(27), nullable=False),
    Column("expires_at", String(27), nullable=False),
    Column("event", String(64)),
    Column("outcome", Text),  # link.wire.OrderOutcome as JSON; NULL: not known
    Index("server_order_created_at", "created_at"),
    Index("server_order_altered", "altered"),
)

agent = Table(
    "server_agent",
    metadata,
    Column("lb", String(63), primary_key=True),
    Column("mark", BigInteger, nullable=False),  # server_state.agents when this row was altered last
    Column("enrolled_at", String(27), nullable=False),
    Column("revoked_at", String(27)),
    Column("reported_at", String(27)),
    Column("report", Text),  # link.wire.Report as JSON
    Index("server_agent_mark", "mark"),
)

# Apart from the reports: it is written every few seconds, and a report's text need not be written again for it.
seen = Table(
    "server_seen",
    metadata,
    Column("lb", String(63), primary_key=True),
    Column("at", String(27), nullable=False),
)
