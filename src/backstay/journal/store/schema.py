"""The journal's tables, as the newest migration leaves them.

Times and data are text, not the database's own types: the chain hashes them, so they must come back to the byte.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, String, Table, Text

REVISION = "0001"  # the newest migration
VERSION_TABLE = "journal_version"

metadata = MetaData()

link = Table(
    "journal_link",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("id", String(64), nullable=False, unique=True),
    Column("time", String(27), nullable=False),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("data", Text, nullable=False),  # JSON
    Column("cause", String(64)),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
    Index("journal_link_time", "time"),
    Index("journal_link_kind", "kind"),
    Index("journal_link_subject", "subject"),
    Index("journal_link_cause", "cause"),
)

# One row: the newest link. Writers take it in turns; `verify` finds by it that the newest links were removed.
head = Table(
    "journal_head",
    metadata,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False),
    Column("hash", String(64), nullable=False),
)
