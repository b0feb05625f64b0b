"""`backstay help TOPIC`."""

from __future__ import annotations

import typer

from backstay.cli.output import EXIT_MEANING, Format, Output, emit

help_ = typer.Typer(no_args_is_help=True, add_completion=False, help="Help topics.")


@help_.callback()
def topics() -> None:
    """Help topics."""


@help_.command("exit-codes")
def exit_codes(output: Output = Format.TABLE) -> None:
    """What each exit code means, for scripts."""
    emit([{"code": int(code), "meaning": meaning} for code, meaning in EXIT_MEANING.items()], output)
