"""What is altered: transient changes with actor, reason, expiry, guard and undo.

Change -> guard -> book (on disk) -> in force(now) -> expiry or undo
"""
