"""What is remembered: append-only, hash-chained events.

Event -> spool (agent: fsynced file) -> collect -> store (SQLite, PostgreSQL: the chain) -> queries

`Spool` is the agent's journal, `JournalStore` (imported from `backstay.journal.store`, because SQLAlchemy is heavy)
the server's and the command line's. Both keep `Journal`'s one promise: `append` returns once the event is durable.
"""

from backstay.journal.chain import Broken, Fault, Link, Whole
from backstay.journal.identity import is_id, time_of
from backstay.journal.mint import new_id
from backstay.journal.model import Event, Journal, JournalError
from backstay.journal.spool import Limits, Spool
from backstay.journal.wire import EventInvalid, event_from_json, event_json, format_time, parse_time

__all__ = [
    "Broken",
    "Event",
    "EventInvalid",
    "Fault",
    "Journal",
    "JournalError",
    "Limits",
    "Link",
    "Spool",
    "Whole",
    "event_from_json",
    "event_json",
    "format_time",
    "is_id",
    "new_id",
    "parse_time",
    "time_of",
]
