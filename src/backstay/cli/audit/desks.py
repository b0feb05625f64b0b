"""Which desk a command asks: files alone, or the store of an estate. Errors end the command with their message."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol, TypeVar

import typer

from backstay.cli.options import DEFAULT_ESTATE, load_or_fail
from backstay.cli.output import Exit, fail

if TYPE_CHECKING:
    from backstay.audit.desk import Desk
    from backstay.audit.desk.answers import Answer
    from backstay.audit.desk.filling.noting import Record

UNIT_S = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400, "y": 365 * 86_400}
LOCK_TIMEOUT_S = 30.0  # another command, or the server between two readings, is done by then

EstateFile = Annotated[
    Path | None,
    typer.Option(
        "-e",
        "--estate",
        envvar="BACKSTAY_ESTATE",
        metavar="FILE",
        help="The estate file. Default: backstay.yaml; with files of facts and indicators: none.",
    ),
]
StateOption = Annotated[
    Path | None,
    typer.Option(
        "--state",
        envvar="BACKSTAY_AUDIT_STATE",
        metavar="DIR",
        help="Folder of the store. Default: /var/lib/backstay/audit as root, else XDG_STATE_HOME/backstay/audit.",
    ),
]
SinceOption = Annotated[
    str,
    typer.Option(
        "--since",
        metavar="TIME",
        help="How much to look at, up to the last sample: 1h, 6h, 1d, 1w, 4w, 1y, or any number of m, h, d, w, y.",
    ),
]


class Closing(Protocol):
    """Holds something that others wait for."""

    async def close(self) -> None: ...


class Asked(Closing, Protocol):
    """What every desk answers: that of files, and that of a store."""

    async def facts_diff(self, cluster: str) -> Answer: ...
    async def compare(self, cluster: str, since: timedelta) -> Answer: ...
    async def explain(self, cluster: str, indicator: str, since: timedelta) -> Answer: ...


T = TypeVar("T")
D = TypeVar("D", bound=Closing)


def ask(opening: Callable[[], D], question: Callable[[D], Awaitable[T]]) -> T:
    """The answer of the desk that `opening` gives; it is closed again. Ends the command for what cannot be."""
    from backstay.audit.desk import NotSo
    from backstay.audit.ports import SourceError
    from backstay.audit.store import StoreError
    from backstay.journal import JournalError

    async def asked(desk: D) -> T:
        try:
            return await question(desk)
        finally:
            await desk.close()

    try:
        return asyncio.run(asked(opening()))
    except (NotSo, SourceError, StoreError, JournalError) as error:
        fail(str(error))
    except TimeoutError:
        fail("The store did not answer in time. Is the machine overloaded, or the disk slow? Try again.")


def ask_store(
    estate: Path | None,
    state: Path | None,
    question: Callable[[Desk], Awaitable[T]],
    *,
    lock_timeout_s: float = LOCK_TIMEOUT_S,
    record: Record | None = None,
) -> T:
    """The answer of the estate's store, as `ask`."""
    need("duckdb", "numpy", "scipy")
    return ask(lambda: store_desk(estate, state, lock_timeout_s, record), question)


def store_desk(
    estate: Path | None, state: Path | None, lock_timeout_s: float = LOCK_TIMEOUT_S, record: Record | None = None
) -> Desk:
    """Raises StoreBusy, StoreError. Ends the command for an estate with faults."""
    from backstay.audit.desk import Desk

    loaded = load_or_fail(estate or DEFAULT_ESTATE)
    return Desk.open(
        loaded.estate,
        loaded.folder,
        state or default_state(),
        clock=lambda: datetime.now(UTC),
        lock_timeout_s=lock_timeout_s,
        record=record,
    )


def default_state() -> Path:
    """/var/lib/backstay/audit as root, else XDG_STATE_HOME/backstay/audit."""
    if os.geteuid() == 0:
        return Path("/var/lib/backstay/audit")
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / "backstay" / "audit"


def time_back(words: str) -> timedelta:
    """ "7d", "4w", "1y". Ends the command for what is no time to look back."""
    found = re.fullmatch(r"(\d{1,5})([mhdwy])", words.strip().lower(), re.ASCII)
    seconds = int(found[1]) * UNIT_S[found[2]] if found else 0
    if not 0 < seconds <= 10 * UNIT_S["y"]:
        fail(f'"{words[:40]}" is no time to look back. Write 6h, 7d, 4w or 1y; ten years at most.')
    return timedelta(seconds=seconds)


def need(*libraries: str) -> None:
    """They come with an extra: an agent needs none of them."""
    from importlib.util import find_spec

    missing = [name for name in libraries if find_spec(name) is None]
    if missing:
        fail(f'The audit needs {" and ".join(missing)}: pip install "backstay[audit]".', Exit.FAILED)
