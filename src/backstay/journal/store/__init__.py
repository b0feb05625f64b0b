"""The journal in a database: the chain, and the questions that are asked of it.

Events -> append_many (de-duplicated, chained) -> tail, get, causes, verify

`schema.py` names the tables, `migrations/` makes them (Alembic), `database.py` knows SQLite and PostgreSQL apart,
`store.py` writes and verifies, `query.py` reads. Not imported by the agent: SQLAlchemy is heavy.
"""

from backstay.journal.store.database import Database, Migrations
from backstay.journal.store.query import Filter, Story
from backstay.journal.store.store import JournalStore, Stored, append_in

__all__ = ["Database", "Filter", "JournalStore", "Migrations", "Stored", "Story", "append_in"]
