"""Fixes in a file of their own: a RecordStore for those who work from files alone.

One JSON object, kind -> id -> record. It is written anew and renamed, so a crash leaves the old one or the new one.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backstay.audit.ports import SourceError

SIZE_LIMIT_BYTES = 50_000_000


class FileRecords:
    """`path`: made by the first `put`. Not for two processes at once. Raises SourceError."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def put(self, kind: str, id: str, record: Mapping[str, Any], *, timeout_s: float) -> None:
        """Replaces the one of this kind and id, which keeps its place."""
        async with asyncio.timeout(timeout_s):
            await asyncio.to_thread(self._put, kind, id, record)

    async def all(self, kind: str, *, timeout_s: float) -> Mapping[str, Mapping[str, Any]]:
        """id -> record, in the order in which they were first put."""
        async with asyncio.timeout(timeout_s):
            return (await asyncio.to_thread(self._read)).get(kind, {})

    def _put(self, kind: str, id: str, record: Mapping[str, Any]) -> None:
        known = self._read()
        known.setdefault(kind, {})[id] = dict(record)
        beside = self._path.with_name(f".{self._path.name}.new")
        try:
            with beside.open("w", encoding="utf-8") as file:
                file.write(json.dumps(known, indent=1, allow_nan=False) + "\n")
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._path)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise SourceError(
                f"{self._path}: not written: {error.strerror}. Name a file in a folder that you may write to."
            ) from None

    def _read(self) -> dict[str, dict[str, dict[str, Any]]]:
        try:
            with self._path.open("rb") as file:
                raw = file.read(SIZE_LIMIT_BYTES + 1)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise SourceError(
                f"{self._path}: not readable: {error.strerror}. Check the name, and who may read it."
            ) from None
        try:
            found = json.loads(raw) if len(raw) <= SIZE_LIMIT_BYTES else None
        except ValueError:
            found = None
        if isinstance(found, dict) and all(_is_records(of_kind) for of_kind in found.values()):
            return found
        raise SourceError(f"{self._path}: no file of fixes. Name one that `backstay audit fix register` wrote.")


def _is_records(of_kind: Any) -> bool:
    return isinstance(of_kind, dict) and all(isinstance(record, dict) for record in of_kind.values())
