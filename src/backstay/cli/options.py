"""Options that several commands share: the estate file, overrides of its values, and how to load it or end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backstay.cli.output import Exit, fail

if TYPE_CHECKING:
    from backstay.estate import Loaded, Overrides

DEFAULT_ESTATE = Path("backstay.yaml")

EstateOption = Annotated[
    Path,
    typer.Option("-e", "--estate", envvar="BACKSTAY_ESTATE", metavar="FILE", help="The estate file."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a value: pools.web.port=8000. Repeatable."),
]
LbOption = Annotated[
    list[str] | None,
    typer.Option("--lb", metavar="NAME", help="Only this load balancer. Repeatable; default: all of them."),
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it goes to the journal.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what would happen; alter nothing.")]


def overrides(sets: list[str] | None) -> Overrides:
    """What stands above the file: the environment's BACKSTAY_* and the flags."""
    from backstay.estate import Overrides

    return Overrides(env=os.environ, sets=tuple(sets or ()))


def load_or_fail(path: Path = DEFAULT_ESTATE, sets: list[str] | None = None) -> Loaded:
    """The estate at `path` with BACKSTAY_* and `--set` overrides. Ends the command with every fault on stderr."""
    from backstay.estate import EstateFaults, load_file

    try:
        return load_file(path, overrides(sets))
    except EstateFaults as faults:
        fail(str(faults), Exit.FAILED)
