"""The audit's desk, asked through its child process: the server itself imports neither numpy nor DuckDB."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from structlog import get_logger

from backstay.apart import Child, ChildGone
from backstay.journal import Event
from backstay.journal.collect import parse_events

MODULE = "backstay.audit.child"
LIBRARIES = ("numpy", "scipy", "duckdb")  # of the extra: the child's alone
ANSWER_LIMIT_BYTES = 32 * 1024 * 1024  # a thousand nodes: a comparison in twenty indicators 5 MB, a series 10 MB
TIMEOUT_S = 120.0

log = get_logger()


class DeskFailed(Exception):
    """The desk cannot work: what, where, what next. The next pass tries again."""


class DeskRefused(Exception):
    """What was asked for cannot be: what, what there is, what next. Trying again changes nothing."""


class ChildDesk:
    """One a state of the estate. Questions take their turns in the child."""

    def __init__(
        self,
        estate_text: str,
        name: str,
        *,
        base: Path,
        state: Path,
        record: Callable[[Sequence[Event]], Awaitable[None]],
    ) -> None:
        """`name`: of the estate, for faults. `base`: what its relative paths are below. `state`: where the store is.

        `record` journals what the desk tells of. It raises JournalError.
        """
        self._record = record
        first = {"estate": estate_text, "name": name, "base": str(base), "state": str(state)}
        self._child = Child(MODULE, first, answer_limit_bytes=ANSWER_LIMIT_BYTES)

    async def ask(self, do: str, *, timeout_s: float = TIMEOUT_S, **arguments: Any) -> Any:
        """What the desk answers; audit/desk/desk.py says in which form.

        Raises DeskFailed, DeskRefused, JournalError.
        """
        missing = [name for name in LIBRARIES if find_spec(name) is None]
        if missing:
            raise DeskFailed(f'It needs {" and ".join(missing)} on this server: pip install "backstay[audit]".')
        try:
            told = await self._child.ask({"do": do, **arguments}, timeout_s=timeout_s)
        except ChildGone as gone:
            words = f"The audit's process failed at {do}: {gone}. It is begun again. What it printed is in the log."
            raise DeskFailed(words) from gone
        events, faults = parse_events(told["events"])
        if faults:
            log.error("the audit told of events that are none", faults=faults[:3])
        if events:
            await self._record(events)
        if "error" not in told:
            return told["answer"]
        if told["kind"] == "not_so":
            raise DeskRefused(told["error"])
        raise DeskFailed(str(told["error"]))

    async def close(self) -> None:
        await self._child.close()
