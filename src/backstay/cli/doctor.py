"""`backstay doctor`: what this machine has, which engine is used and why, and what a lack costs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from backstay.cli.options import load_or_fail
from backstay.cli.output import Exit, Format, Output, emit, note

doctor = typer.Typer(add_completion=False)

OptionalEstate = Annotated[
    Path | None,
    typer.Option("-e", "--estate", envvar="BACKSTAY_ESTATE", metavar="FILE", help="Check its engines and agents too."),
]


@doctor.command()
def examine(estate: OptionalEstate = None, output: Output = Format.TABLE) -> None:
    """What this machine has, which engine is used, and why. Exit status 3 when something should be mended."""
    from backstay.cli import checkup

    loaded = load_or_fail(estate) if estate else None
    checks = list(checkup.examine(loaded))
    findings = [check for check in checks if check.verdict is checkup.Verdict.FINDING]
    emit([asdict(check) for check in checks], output)
    if findings:
        note(f"{len(findings)} of {len(checks)} checks found something to mend.")
        raise typer.Exit(int(Exit.FINDINGS))
