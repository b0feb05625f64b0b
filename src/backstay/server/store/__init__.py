"""What people changed and agents said, in a database; with the journal's events in the same transactions.

`schema.py` names the tables, `migrations/` makes them (Alembic), `rows.py` turns nouns into rows and back,
`store.py` is the Store of ports.py over the journal's Database: SQLite or PostgreSQL.
"""

from backstay.server.store.store import DatabaseStore

__all__ = ["DatabaseStore"]
