"""What a command found out: data for stdout, notes for stderr, an exit code. Built by async code, told at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import typer

from backstay.cli.output import Exit, Format, emit, note


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    data: Any  # plain; None: nothing for stdout
    rows: Sequence[Mapping[str, Any]] | None = None  # as a table; None: `data` itself
    title: str | None = None
    notes: Sequence[str] = ()
    code: Exit = Exit.DONE


def tell(report: Report, output: Format) -> None:
    """Print the report, and end the command with its code."""
    if report.data is not None:
        emit(report.data, output, rows=report.rows, title=report.title)
    for line in report.notes:
        note(line)
    if report.code is not Exit.DONE:
        raise typer.Exit(int(report.code))
