"""What is remembered: append-only, hash-chained events.

Event -> spool (agent: fsynced file) -> store (SQLite, PostgreSQL: the chain) -> queries
"""
