"""DuckDB under asyncio: one file, one process, one call at a time; every call ends in time.

DuckDB blocks, and a connection is not for two threads, so each call runs in a thread and has the connection alone. A
call is one transaction: it happened as a whole or not at all, whatever ends it (an error, the timeout, kill -9). When
its time is up, or nobody waits for it any more, the query is interrupted and rolled back.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import numpy as np
from numpy.typing import NDArray

from backstay.audit.store.connecting import Settings, StoreBusy, StoreError, connect, is_over, told
from backstay.blocking import in_thread

INTERRUPT_POLL_S = 0.05
CLOSE_TIMEOUT_S = 60.0

T = TypeVar("T")
Columns = Mapping[str, NDArray[Any]]

_open: set[Path] = set()  # by this process; DuckDB's lock is between processes
_open_guard = threading.Lock()


class _GivenUp(Exception):
    """Nobody waits for this call any more."""


class _Call:
    """One use of the connection."""

    def __init__(self) -> None:
        self.given_up = False
        self.ended = threading.Event()


class Session:
    """The connection, for the length of one call: one transaction."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, call: _Call) -> None:
        self._connection = connection
        self._call = call

    def run(self, query: str, parameters: Sequence[Any] = ()) -> int:
        """Rows that were touched."""
        row = self._execute(query, parameters).fetchone()
        return int(row[0]) if row else 0

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._execute(query, parameters).fetchall()

    def columns(self, query: str, parameters: Sequence[Any] = ()) -> Columns:
        """An array a column. For columns without NULL."""
        found = self._execute(query, parameters).fetchnumpy()
        return {name: np.asarray(values) for name, values in found.items()}

    @contextlib.contextmanager
    def given(self, name: str, columns: Columns) -> Iterator[None]:
        """Arrays as the table `name`; those of text have dtype object."""
        self._connection.register(name, dict(columns))
        try:
            yield
        finally:
            with contextlib.suppress(duckdb.Error):  # after an error, which is the one to tell, nothing works any more
                self._connection.unregister(name)

    def check(self) -> None:
        """Raises when the caller has left: the transaction is rolled back."""
        if self._call.given_up:
            raise _GivenUp

    def _execute(self, query: str, parameters: Sequence[Any]) -> duckdb.DuckDBPyConnection:
        self.check()
        return self._connection.execute(query, list(parameters))

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        self._execute("BEGIN TRANSACTION", ())
        try:
            yield
            self._execute("COMMIT", ())
        except BaseException:
            with contextlib.suppress(duckdb.Error):  # a failed commit is rolled back already
                self._connection.execute("ROLLBACK")
            raise


class Database:
    """The file, open. `open` makes it."""

    def __init__(self, path: Path, settings: Settings, connection: duckdb.DuckDBPyConnection) -> None:
        self.path = path
        self._settings = settings
        self._connection: duckdb.DuckDBPyConnection | None = connection
        self._closed = False
        self._turn = threading.Lock()
        self._running: _Call | None = None
        self._running_guard = threading.Lock()

    @classmethod
    def open(cls, path: Path, *, lock_timeout_s: float, settings: Settings) -> Database:
        """Blocks. Raises StoreBusy, StoreError."""
        path = path.absolute()
        with _open_guard:
            if path in _open:
                raise StoreBusy(f"{path}: this process has it open already. Use that one, or close it first.")
            _open.add(path)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return cls(path, settings, connect(path, settings, lock_timeout_s=lock_timeout_s))
        except OSError as error:
            _open.discard(path)
            raise StoreError(
                f"{path.parent}: not to be made ({error.strerror}). Make the folder, or name another (--state)."
            ) from None
        except BaseException:
            _open.discard(path)
            raise

    async def call(self, function: Callable[[Session], T], *, timeout_s: float) -> T:
        """What `function` returns. All that it does is one transaction.

        Raises StoreError, and TimeoutError after `timeout_s`: then nothing of it happened, unless it was about to end.
        """
        call = _Call()
        try:
            return await in_thread(lambda: self._alone(function, call, timeout_s), timeout_s=timeout_s)
        except TimeoutError:
            raise TimeoutError(
                f"{self.path}: not done within {timeout_s:g} s. Ask for less, or give it longer."
            ) from None
        finally:
            call.given_up = True
            if not call.ended.is_set():
                threading.Thread(target=self._interrupt, args=(call,), name="interrupting", daemon=True).start()

    async def close(self) -> None:
        """After the call that runs. Writes the log of changes into the file. A second time does nothing."""
        await in_thread(self._close, timeout_s=CLOSE_TIMEOUT_S)

    def _alone(self, function: Callable[[Session], T], call: _Call, timeout_s: float) -> T:
        if not self._turn.acquire(timeout=timeout_s):
            call.ended.set()
            raise TimeoutError
        try:
            connection = self._connected()
            self._set_running(call)
            session = Session(connection, call)
            with session.transaction():
                return function(session)
        except duckdb.Error as error:
            if is_over(error):
                self._drop()
            raise told(self.path, error) from None
        finally:
            self._set_running(None)
            call.ended.set()
            self._turn.release()

    def _set_running(self, call: _Call | None) -> None:
        with self._running_guard:
            self._running = call

    def _interrupt(self, call: _Call) -> None:
        """Again and again until it has ended: an interrupt between two queries is lost."""
        while not call.ended.is_set():
            with self._running_guard:
                if self._running is call and self._connection is not None:
                    self._connection.interrupt()
            call.ended.wait(INTERRUPT_POLL_S)

    def _connected(self) -> duckdb.DuckDBPyConnection:
        """The connection, made anew after a `_drop`."""
        if self._closed:
            raise StoreError(f"{self.path}: it is closed. Open it again.")
        if self._connection is None:
            self._connection = connect(self.path, self._settings, lock_timeout_s=0.0)
        return self._connection

    def _drop(self) -> None:
        """So that the next call opens the file anew: its log is read again, and what is torn cut off."""
        with self._running_guard:  # nobody interrupts what is closed
            connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(duckdb.Error):
                connection.close()

    def _close(self) -> None:
        if not self._turn.acquire(timeout=CLOSE_TIMEOUT_S):
            raise StoreError(f"{self.path}: a call has not ended for {CLOSE_TIMEOUT_S:g} s: it is not closed.")
        try:
            if not self._closed:
                self._closed = True
                _open.discard(self.path)
            if self._connection is not None:
                connection, self._connection = self._connection, None
                connection.close()
        except duckdb.Error as error:
            raise told(self.path, error) from None
        finally:
            self._turn.release()
