"""What the audit keeps: one DuckDB file, one process at a time.

store = AuditStore.open(path, clock)        # waits for another process, then raises StoreBusy
await store.facts.add(reports, timeout_s=30)
await store.indicators.add(series, timeout_s=30)
grid = await store.indicators.grid(nodes, names, start=..., end=..., step_s=60, timeout_s=30)
await store.close()
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from backstay.audit.store.connecting import Settings, StoreBusy, StoreError
from backstay.audit.store.database import Database
from backstay.audit.store.facts import Facts
from backstay.audit.store.indicators import Indicators
from backstay.audit.store.records import Records
from backstay.audit.store.retention import Retention

__all__ = ["AuditStore", "Facts", "Indicators", "Records", "Retention", "Settings", "StoreBusy", "StoreError"]


class AuditStore:
    """Facts, indicators and records of one audit in one file."""

    def __init__(self, database: Database, clock: Callable[[], datetime], retention: Retention) -> None:
        self._database = database
        self.facts = Facts(database, clock, retention)
        self.indicators = Indicators(database, clock, retention)
        self.records = Records(database)

    @classmethod
    def open(
        cls,
        path: Path,
        clock: Callable[[], datetime],
        *,
        lock_timeout_s: float = 10.0,
        settings: Settings = Settings(),  # noqa: B008 - frozen
        retention: Retention = Retention(),  # noqa: B008 - frozen
    ) -> AuditStore:
        """The store in the file `path`, made if it is not there. Blocks; `clock`: now, UTC.

        Raises StoreBusy when another process still has it after `lock_timeout_s`, StoreError when it is damaged, of a
        newer version, or cannot be made.
        """
        return cls(Database.open(path, lock_timeout_s=lock_timeout_s, settings=settings), clock, retention)

    async def close(self) -> None:
        """Writes what is to be written into the one file. A second time does nothing."""
        await self._database.close()
