"""`pool replay LOG`: reads the log, runs the rescaler over it, and tells what it would have done."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

from backstay.balance.accesslog import read
from backstay.balance.explain import rows as explained
from backstay.balance.record import BadRecord
from backstay.balance.replay import Replayed, replay_samples, replay_steps
from backstay.balance.signal import Parameters
from backstay.cli.output import Exit, Row
from backstay.cli.report import Report

LINE_LIMIT_CHARS = 8_000_000
BATCH_LINES = 10_000
ROWS_LIMIT = 100_000
COLUMNS = ("backend", "share_before", "share", "recorded", "samples", "error_rate", "signal_ms", "inflation", "why")


class NoLog(Exception):
    """The file is no log that can be replayed: what, where, what next."""


def replay_report(
    path: Path, known: Parameters, stdin: TextIO, *, pool: str | None, every_s: float, last: bool
) -> Report:
    """Every step (`last`: the last of each pool) as data and as rows. `path` "-" is `stdin`. Raises NoLog."""
    try:
        with ExitStack() as stack:
            file = stdin if str(path) == "-" else stack.enter_context(path.open(encoding="utf-8", errors="replace"))
            lines = _lines(file)
            first = next((line for line in lines if line.strip()), "")
            garbage: list[int] = []
            log = itertools.chain([first], lines)
            if _is_rescaler_log(first):
                steps = replay_steps(log, known, pool=pool)
            else:
                steps = replay_samples(_samples(log, garbage), known, every_s=every_s, pool=pool)
            found = _collect(steps, last=last)
    except OSError as error:
        raise NoLog(f"{path}: not readable: {error.strerror}. Name a log.") from None
    except (BadRecord, RecursionError) as error:
        raise NoLog(f"{path}: {error}. The agent writes one step a line.") from None
    except (ArithmeticError, ValueError) as error:  # of numbers in the log that no rescaler wrote
        raise NoLog(f"{path}: these numbers lead nowhere ({error}). Is the log whole?") from None
    notes = [f"{sum(garbage)} lines are no lines of an access log of ours."] if sum(garbage) else []
    if not found:
        of_pool = f" of the pool {pool}" if pool else ""
        return Report(data=[], notes=[*notes, f"{path}: no step{of_pool} in this log."], code=Exit.FAILED)
    return Report(data=[_data(one) for one in found], rows=[row for one in found for row in _rows(one)], notes=notes)


def _lines(file: TextIO) -> Iterator[str]:
    """Lines within a limit: a file without line ends is no log. Raises BadRecord."""
    for number in itertools.count(1):
        line = file.readline(LINE_LIMIT_CHARS)
        if not line:
            return
        if len(line) == LINE_LIMIT_CHARS:
            raise BadRecord(f"line {number}: longer than {LINE_LIMIT_CHARS} characters")
        yield line


def _is_rescaler_log(line: str) -> bool:
    """True for the agent's log of steps, false for an access log."""
    try:
        return "windows" in json.loads(line)
    except (ValueError, TypeError, RecursionError):
        return False


def _samples(lines: Iterable[str], garbage: list[int]) -> Iterator[Any]:
    """Requests of an access log in batches; how many lines were none is appended to `garbage`."""
    rest = iter(lines)
    while batch := list(itertools.islice(rest, BATCH_LINES)):
        # The log names peers by address; without the estate of that time they keep those names.
        parsed = read(batch, {})
        garbage.append(parsed.garbage)
        yield from parsed.samples


def _collect(steps: Iterable[Replayed], *, last: bool) -> list[Replayed]:
    if last:
        return list({one.pool: one for one in steps}.values())
    found, rows = [], 0
    for one in steps:
        rows += len(one.rescaled.steps)
        if rows > ROWS_LIMIT:
            raise BadRecord(f"more than {ROWS_LIMIT} rows: choose one with --pool, or the last step with --last")
        found.append(one)
    return found


def _data(one: Replayed) -> dict[str, Any]:
    return {
        "pool": one.pool,
        "at": one.rescaled.at.isoformat(),
        "frozen": one.rescaled.frozen,
        "rows": [{**row, "recorded": one.recorded.get(row["backend"])} for row in explained(one.rescaled)],
    }


def _rows(one: Replayed) -> Iterator[Row]:
    at = one.rescaled.at.isoformat(timespec="seconds")
    for row in _data(one)["rows"]:
        yield {"at": at, "pool": one.pool, **{column: row[column] for column in COLUMNS}}
