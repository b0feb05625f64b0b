"""What the audit itself remembers: JSON objects by kind and id."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from backstay.audit.store.database import Database, Session

RECORD_LIMIT = 1_000_000  # characters of JSON


class Records:
    """A RecordStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, kind: str, id: str, record: Mapping[str, Any], *, timeout_s: float) -> None:
        """Replaces the one of this kind and id, which keeps its place. Raises ValueError for what JSON cannot carry."""
        try:
            text = json.dumps(record, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{kind} {id}: no JSON object: {error}") from None
        if len(text) > RECORD_LIMIT:
            raise ValueError(f"{kind} {id}: {len(text)} characters of JSON; {RECORD_LIMIT} are the limit")

        def put(session: Session) -> None:
            session.run(
                "INSERT INTO records SELECT $1, $2, coalesce(max(place), 0) + 1, $3 FROM records "
                "ON CONFLICT (kind, id) DO UPDATE SET record = excluded.record",
                (kind, id, text),
            )

        await self._database.call(put, timeout_s=timeout_s)

    async def all(self, kind: str, *, timeout_s: float) -> Mapping[str, Mapping[str, Any]]:
        """id -> record, in the order in which they were first put."""
        rows = await self._database.call(
            lambda session: session.rows("SELECT id, record FROM records WHERE kind = $1 ORDER BY place", (kind,)),
            timeout_s=timeout_s,
        )
        return {id: json.loads(text) for id, text in rows}
