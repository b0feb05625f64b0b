"""Waiting: polls with a deadline, and the last words of what did not come."""

from __future__ import annotations

import asyncio
import inspect
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

from backstay.lab.model import LabError

POLL_S = 0.05
LAST_WORDS_MAX = 600

Condition = Callable[[], bool | Awaitable[bool]]


def connects(path: Path) -> bool:
    """True when something accepts connections on the unix socket `path`."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1.0)
        try:
            client.connect(str(path))
        except OSError:
            return False
    return True


async def until(
    condition: Condition, timeout_s: float, what: str, log: Path, *, lives: Condition = lambda: True
) -> None:
    """Poll until `condition` holds.

    Raises LabError, with the last words of `log`, when `timeout_s` have passed or `lives` no longer holds.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout_s
    while not await _holds(condition):
        if not await _holds(lives):
            raise LabError(f"{what} ended at once. {_last_words(log)}")
        if loop.time() > end:
            raise LabError(f"{what} is not ready after {timeout_s:g} s. {_last_words(log)}")
        await asyncio.sleep(POLL_S)


async def _holds(condition: Condition) -> bool:
    held = condition()
    return await held if inspect.isawaitable(held) else held


def _last_words(log: Path) -> str:
    """The last line of a log. Said here because the folder may go away with the lab."""
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return f"Its last words: {lines[-1][:LAST_WORDS_MAX]}" if lines else "It said nothing."
