"""SQLite (one machine) and PostgreSQL (several servers) behind one URL: connections, transactions, migrations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, select, table, text
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.sql import column

from backstay.journal.model import JournalError
from backstay.journal.store.schema import REVISION, VERSION_TABLE

CONNECT_TIMEOUT_S = 10
LOCK_TIMEOUT_S = 10  # for the other writers' turn
STATEMENT_TIMEOUT_S = 30

_PG_LOCK = 0x6261636B73746179  # "backstay": the key of the advisory lock that writers take in turns
_WRITING = "backstay_writing"
_PG_DRIVERS = {"postgres", "postgresql", "postgresql+psycopg"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Migrations:
    """A room's tables: an Alembic environment (env.py, versions/), and the table that says how far it came."""

    room: str  # for messages
    folder: Path
    version_table: str
    newest: str  # "0001"


JOURNAL = Migrations(
    room="journal", folder=Path(__file__).parent / "migrations", version_table=VERSION_TABLE, newest=REVISION
)


class Database:
    """One database, with the journal's newest schema. Every call ends by a timeout, and raises JournalError.

    Another room keeps its own tables beside the journal's: it calls `migrate` with its own migrations.
    """

    def __init__(self, url: str) -> None:
        """Connect to `url` ("sqlite:////var/lib/backstay/journal.db", "postgresql://user@host/backstay")."""
        self._url = _parse(url)
        self.where = self._url.set(drivername=self._url.get_backend_name()).render_as_string(hide_password=True)
        self._engine = self._make_engine()
        self._writer = self._engine.execution_options(**{_WRITING: True})
        # SQLite's readers see one state anyway; PostgreSQL's must ask for it.
        self._reader = (
            self._engine if self.is_sqlite else self._engine.execution_options(isolation_level="REPEATABLE READ")
        )
        try:
            self.migrate(JOURNAL)
        except BaseException:
            self.close()
            raise

    @property
    def is_sqlite(self) -> bool:
        return self._url.get_backend_name() == "sqlite"

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one state of the journal from its first query to its last."""
        with self._errors("could not be read"), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that is the only writer, committed and durable at its end."""
        with self._errors("could not be written"), self._writer.begin() as connection:
            if not self.is_sqlite:  # there it is BEGIN IMMEDIATE, see _sqlite_begin
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _PG_LOCK})
            yield connection

    def close(self) -> None:
        self._engine.dispose()

    # -- connections -----------------------------------------------------------------------------------------

    def _make_engine(self) -> Engine:
        if self.is_sqlite:
            return self._make_sqlite()
        try:
            return create_engine(self._url, pool_pre_ping=True, pool_timeout=LOCK_TIMEOUT_S, connect_args=_pg_args())
        except ImportError as error:
            raise JournalError(f"{self.where}: psycopg is not installed. pip install 'backstay[postgres]'") from error

    def _make_sqlite(self) -> Engine:
        if self._url.database:
            try:
                Path(self._url.database).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise JournalError(f"{self.where}: {error.strerror}. Name another place: --database-url") from error
        engine = create_engine(self._url, connect_args={"timeout": LOCK_TIMEOUT_S})
        event.listen(engine, "connect", _sqlite_connect)
        event.listen(engine, "begin", _sqlite_begin)
        return engine

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            why = error.orig if isinstance(error, DBAPIError) else error
            first_line = (str(why).strip().splitlines() or [type(why).__name__])[0]
            raise JournalError(
                f"{self.where}: {what}: {first_line}. Is the database up, has it room, may this user write it?"
            ) from error

    # -- migrations ------------------------------------------------------------------------------------------

    def migrate(self, migrations: Migrations) -> None:
        """Bring a room's tables up to its newest revision, unless they are. Raises JournalError.

        Alembic is imported only when there is work for it.
        """
        with self.reading() as connection:
            if _revision(connection, migrations.version_table) == migrations.newest:
                return
        with self.writing() as connection:  # one at a time: another process may have done it meanwhile
            found = _revision(connection, migrations.version_table)
            if found is not None and found > migrations.newest:
                raise JournalError(
                    f"{self.where}: written by a newer backstay ({migrations.room}: schema {found}, "
                    f"this one knows {migrations.newest}). Upgrade."
                )
            if found != migrations.newest:
                _upgrade(connection, migrations)


def _upgrade(connection: Connection, migrations: Migrations) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(migrations.folder).replace("%", "%%"))
    command.upgrade(config, migrations.newest)


def _revision(connection: Connection, version_table: str) -> str | None:
    if not inspect(connection).has_table(version_table):
        return None
    found = connection.execute(select(column("version_num")).select_from(table(version_table))).scalar()
    return None if found is None else str(found)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        parsed = None
    if parsed is not None and parsed.drivername == "sqlite":
        return parsed
    if parsed is not None and parsed.drivername in _PG_DRIVERS:
        return parsed.set(drivername="postgresql+psycopg")
    shown = parsed.render_as_string(hide_password=True) if parsed is not None else url.partition("://")[0][:60]
    raise JournalError(
        f'"{shown}" is no database URL. Write sqlite:////var/lib/backstay/journal.db '
        "or postgresql://user:password@host/database"
    )


def _pg_args() -> dict[str, Any]:
    options = {
        "statement_timeout": STATEMENT_TIMEOUT_S,
        "lock_timeout": LOCK_TIMEOUT_S,
        "idle_in_transaction_session_timeout": 2 * STATEMENT_TIMEOUT_S,
    }
    return {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "application_name": "backstay",
        # The server's own timeouts do not reach us when the network is gone.
        "tcp_user_timeout": 1_000 * STATEMENT_TIMEOUT_S,
        "keepalives_idle": STATEMENT_TIMEOUT_S,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "options": " ".join(f"-c {name}={seconds}s" for name, seconds in options.items()),
    }


def _sqlite_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin where we say so (`_sqlite_begin`), not where sqlite3 guesses
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # durable at commit; WAL's default may lose the last ones


def _sqlite_begin(connection: Connection) -> None:
    # A writer takes its turn at once: a reader that becomes a writer later could fail without waiting.
    writing = connection.get_execution_options().get(_WRITING, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
