"""A file becomes a connection: its lock waited for, its faults told, its tables as this version wants them."""

from __future__ import annotations

import contextlib
import re
import time
from dataclasses import dataclass
from pathlib import Path

import duckdb

from backstay.audit.store.schema import MIGRATIONS, NEWEST

LOCK_POLL_S = 0.05
ROW_GROUP = 245_760  # rows; twice the default leaves fewer blocks half empty: a fifth less on disk

_HELD = re.compile(r"lock is held in (?P<program>.*?) \(PID (?P<pid>\d+)\)")


class StoreError(Exception):
    """The store cannot do it: what, where, what next."""


class StoreBusy(StoreError):
    """Another process has the store: which, and what next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What DuckDB may use."""

    memory_mb: int = 1024
    threads: int = 2


def connect(path: Path, settings: Settings, *, lock_timeout_s: float) -> duckdb.DuckDBPyConnection:
    """Blocks. Raises StoreBusy when another process still has the file after `lock_timeout_s`, StoreError."""
    connection = _locked(path, settings, lock_timeout_s)
    try:
        _migrate(path, connection)
    except duckdb.Error as error:
        connection.close()
        raise told(path, error) from None
    except BaseException:
        connection.close()
        raise
    return connection


def _locked(path: Path, settings: Settings, lock_timeout_s: float) -> duckdb.DuckDBPyConnection:
    deadline = time.monotonic() + lock_timeout_s
    while True:
        try:
            return _attached(path, settings)
        except duckdb.Error as error:
            held = _HELD.search(str(error))
            if held is None and "Could not set lock" not in str(error):
                raise _unusable(path, error) from None
            if time.monotonic() >= deadline:
                holder = f"process {held['pid']} ({held['program']})" if held is not None else "another process"
                raise StoreBusy(
                    f"{path}: {holder} has it, and did not let go of it within {lock_timeout_s:g} s. Wait until it has "
                    "ended; if it is the server, ask it (--server)."
                ) from None
        time.sleep(LOCK_POLL_S)


def _attached(path: Path, settings: Settings) -> duckdb.DuckDBPyConnection:
    """No extension is looked for, on disk or in the network, and no query reads another file. Raises duckdb.Error."""
    connection = duckdb.connect(
        config={
            "memory_limit": f"{settings.memory_mb}MB",
            "threads": settings.threads,
            "temp_directory": f"{path}.tmp",  # what does not fit into memory, while it is sorted
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allow_community_extensions": False,
        }
    )
    try:
        name = str(path).replace("'", "''")
        connection.execute(f"ATTACH '{name}' AS store (ROW_GROUP_SIZE {ROW_GROUP})")
        connection.execute("USE store")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
    except BaseException:
        connection.close()
        raise
    return connection


def _migrate(path: Path, connection: duckdb.DuckDBPyConnection) -> None:
    """What the file lacks, in one transaction. Raises StoreError when it is newer, duckdb.Error."""
    connection.execute("CREATE TABLE IF NOT EXISTS meta (version INTEGER NOT NULL)")
    row = connection.execute("SELECT max(version) FROM meta").fetchone()
    version = int(row[0] or 0) if row else 0
    if version > NEWEST:
        raise StoreError(
            f"{path}: of version {version}; this Backstay knows {NEWEST}. Use the newer Backstay that wrote it, or "
            "name another folder (--state)."
        )
    if version == NEWEST:
        return
    connection.execute("BEGIN TRANSACTION")
    try:
        for statements in MIGRATIONS[version:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute("DELETE FROM meta")
        connection.execute("INSERT INTO meta VALUES (?)", [NEWEST])
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(duckdb.Error):
            connection.execute("ROLLBACK")
        raise


def _unusable(path: Path, error: duckdb.Error) -> StoreError:
    """Why the file cannot be opened at all."""
    words = _first_line(error)
    if "version number" in words:
        return StoreError(
            f"{path}: written by another version of DuckDB ({words}). Install that one (pip install duckdb)."
        )
    if isinstance(error, duckdb.IOException) and re.search("Cannot open file|Permission denied", words):
        return StoreError(f"{path}: not to be opened ({words}). Check who may write there.")
    return StoreError(
        f"{path}: no store, or damaged ({words}). Move it and {path.name}.wal away and collect anew, or put "
        "back a copy."
    )


def told(path: Path, error: duckdb.Error) -> StoreError:
    """What a query met."""
    words = _first_line(error)
    if is_full(error):
        return StoreError(f"{path}: the disk is full; nothing of this was kept. Make room, and try again. ({words})")
    if isinstance(error, duckdb.OutOfMemoryException):
        return StoreError(
            f"{path}: more memory is needed than the store may use ({words}). Ask for fewer nodes or a shorter time."
        )
    if isinstance(error, duckdb.SerializationException) or re.search("checksum|Could not read enough bytes", words):
        return _unusable(path, error)
    return StoreError(f"{path}: {type(error).__name__}: {words}. Try again; if it stays so, please report it.")


def is_full(error: duckdb.Error) -> bool:
    return bool(re.search("No space left|Disk quota|Could not write file", str(error)))


def is_over(error: duckdb.Error) -> bool:
    """Does DuckDB want to be opened anew? After a write that failed, too: what is left of it is cut off then."""
    return isinstance(error, duckdb.FatalException) or is_full(error) or "has been invalidated" in str(error)


def _first_line(error: duckdb.Error) -> str:
    return str(error).splitlines()[0][:300]
