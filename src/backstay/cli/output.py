"""Output of every command: data on stdout (table, JSON or YAML), the rest on stderr; exit codes.

A command builds plain data (dicts, lists, strings, numbers) and calls `emit`; it never prints data itself.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from enum import IntEnum, StrEnum
from typing import Annotated, Any, NoReturn

import typer


class Exit(IntEnum):
    DONE = 0
    FAILED = 1
    USAGE = 2
    FINDINGS = 3  # changes (plan) or findings (validate, verify)
    REFUSED = 5  # by a guard
    UNREACHABLE = 6


EXIT_MEANING: dict[Exit, str] = {
    Exit.DONE: "Done; nothing found.",
    Exit.FAILED: "Failed: the message says what, where, and what next.",
    Exit.USAGE: "Usage: the command line is wrong.",
    Exit.FINDINGS: "Changes (plan) or findings (validate, journal verify): read the output.",
    Exit.REFUSED: "Refused by a guard; --force --reason overrides and is journaled.",
    Exit.UNREACHABLE: "Not reachable: a load balancer's agent (or all of them) did not answer.",
}


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


Output = Annotated[Format, typer.Option("-o", "--output", help="How data is printed.")]
Row = Mapping[str, Any]


def emit(data: Any, output: Format, *, rows: Sequence[Row] | None = None, title: str | None = None) -> None:
    """Print `data` on stdout. As a table: `rows` (default: `data`, when it is a list of mappings), else text.

    NO_COLOR and a stdout that is no terminal give plain text.
    """
    if output is Format.JSON:
        print(json.dumps(data, indent=2, default=str))
        return
    if output is Format.YAML:
        import yaml

        yaml.safe_dump(json.loads(json.dumps(data, default=str)), sys.stdout, sort_keys=False, allow_unicode=True)
        return
    table = rows if rows is not None else data
    if isinstance(table, str):
        print(table)
        return
    _print_table([table] if isinstance(table, Mapping) else list(table), title)


def _print_table(rows: list[Row], title: str | None) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not rows:
        note("nothing to show")
        return
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*(_cell(row.get(column), Text) for column in columns))
    # A pipe has no width: never cut data that somebody will grep.
    console = Console(soft_wrap=False) if sys.stdout.isatty() else Console(width=10_000, no_color=True)
    console.print(table)


def _cell(value: Any, text: type[Any]) -> Any:
    if value is None:
        return ""
    if isinstance(value, float):
        return text(f"{value:.3g}")
    if isinstance(value, (list, tuple)):
        return text(", ".join(str(item) for item in value))
    return text(str(value))


def note(message: str) -> None:
    """Something for people: on stderr, so that stdout stays data."""
    print(message, file=sys.stderr)


def fail(message: str, code: Exit = Exit.FAILED) -> NoReturn:
    """End the command: the message on stderr, the code for scripts."""
    note(message)
    raise typer.Exit(int(code))


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something dangerous. Without a terminal and without --yes: usage error, never a guess."""
    if yes:
        return
    if not sys.stdin.isatty():
        fail(f"{question} Not asked, because stdin is no terminal: add --yes.", Exit.USAGE)
    if not typer.confirm(question, err=True):
        fail("Not done.", Exit.FAILED)


def actor() -> str:
    """Who is asking: SUDO_USER, else USER, else the user of this process by name, else by number."""
    import pwd

    named = os.environ.get("SUDO_USER") or os.environ.get("USER")
    if named:
        return named
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid-{os.getuid()}"
