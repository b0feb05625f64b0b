"""The agent's journal: events on its own disk until somebody has collected them.

Event -> append (fsynced) -> read -> (stored elsewhere) -> ack -> forgotten

    SPOOL/0000000001.spool   segments: one record a line (journal/wire.py), appended and fsynced
    SPOOL/acked.json         how far they are stored elsewhere; replaced atomically
    SPOOL/lock               held by the one process that writes

`segments.py` is the log on disk, `spool.py` the rules: what is delivered, what is forgotten, what is bounded.
"""

from backstay.journal.spool.spool import LOST, Limits, Spool

__all__ = ["LOST", "Limits", "Spool"]
