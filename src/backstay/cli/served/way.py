"""The way that a command goes: to the agents of an estate file, or to a server. Its options, as one parameter.

@drain.command()
@with_way
def drain_node(node: NodeArgument, way: Way, ...) -> None:
    site = way.site(estate)
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from backstay.cli.options import DEFAULT_ESTATE, load_or_fail
from backstay.cli.output import Exit, fail

if TYPE_CHECKING:
    from backstay.cli.served.client import ServerAt
    from backstay.estate import Estate, Loaded

TOKEN_LIMIT_BYTES = 4_096
PARAMETER = "way"

ServerOption = Annotated[
    str | None,
    typer.Option("--server", envvar="BACKSTAY_SERVER", metavar="URL", help="Ask this server instead of the agents."),
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        envvar="BACKSTAY_TOKEN_FILE",
        metavar="FILE",
        help="Where the server's API token is; without: the variable BACKSTAY_TOKEN.",
    ),
]
CaOption = Annotated[
    Path | None,
    typer.Option("--ca", envvar="BACKSTAY_CA", metavar="FILE", help="The server's authority, when it has its own."),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """An estate, and the way to its load balancers."""

    loaded: Loaded
    server: ServerAt | None = None  # None: to each agent

    @property
    def estate(self) -> Estate:
        return self.loaded.estate

    @property
    def text(self) -> str:
        return self.loaded.text

    @property
    def name(self) -> str:
        return self.loaded.name


@dataclass(frozen=True, slots=True)
class Way:
    """What --server and its kin say."""

    url: str | None
    token_file: Path | None = None
    ca: Path | None = None

    def site(self, estate: Path = DEFAULT_ESTATE, sets: list[str] | None = None) -> Site:
        """The server's estate, or that of the file. Ends the command when there is none."""
        at = self.server()
        return Site(loaded=load_or_fail(estate, sets)) if at is None else Site(loaded=_estate_of(at), server=at)

    def site_of_file(self, estate: Path, sets: list[str] | None = None) -> Site:
        """The estate of the file, also when it shall go to a server."""
        return Site(loaded=load_or_fail(estate, sets), server=self.server())

    def server(self) -> ServerAt | None:
        """None: no server. Ends the command when one is meant and cannot be asked."""
        if not self.url:
            return None
        from backstay.cli.served.client import ServerAt

        at = ServerAt(url=self.url, token=self._token(), ca=self.ca)
        if at.fault:
            fail(at.fault, Exit.USAGE)
        return at

    def _token(self) -> str:
        if self.token_file is None:
            token = os.environ.get("BACKSTAY_TOKEN", "")
        else:
            try:
                with self.token_file.open("rb") as file:
                    token = file.read(TOKEN_LIMIT_BYTES).decode("ascii")
            except (OSError, UnicodeDecodeError) as error:
                fail(f"--token-file {self.token_file}: {error}.", Exit.USAGE)
        token = token.strip()
        if not token or not token.isprintable():
            made = "Make one on the server's machine: backstay token create NAME --role operator --reason WHY"
            fail(f"{self.url}: no token. Give --token-file, BACKSTAY_TOKEN_FILE or BACKSTAY_TOKEN. {made}", Exit.USAGE)
        return token


def with_way(command: Callable[..., None]) -> Callable[..., None]:
    """Give the command the options that make up its parameter `way`."""
    hints = get_type_hints(command, include_extras=True)
    declared = inspect.signature(command)
    options = {"server": ServerOption, "token_file": TokenFileOption, "ca": CaOption}

    @functools.wraps(command)
    def run(*given: Any, server: str | None, token_file: Path | None, ca: Path | None, **named: Any) -> None:
        command(*given, **named, **{PARAMETER: Way(server, token_file, ca)})

    kept = [one.replace(annotation=hints[one.name]) for one in declared.parameters.values() if one.name != PARAMETER]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in options.items()
    ]
    # Typer reads options off the signature.
    run.__signature__ = declared.replace(parameters=[*kept, *added], return_annotation=None)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in (*kept, *added)}
    return run


def _estate_of(at: ServerAt) -> Loaded:
    from backstay.cli.served.client import ServerClient, ServerSaid, ServerUnreachable
    from backstay.estate import EstateFaults, load_text

    async def ask() -> Any:
        async with ServerClient(at) as client:
            return await client.get("/estate")

    try:
        answer = asyncio.run(ask())
        return load_text(str(answer["text"]), f"estate {answer['number']} of {at.url}", Path())
    except ServerUnreachable as error:
        fail(str(error), Exit.UNREACHABLE)
    except ServerSaid as error:
        fail(f"{at.url}: {error.detail}")
    except EstateFaults as faults:
        fail(f"{at.url}: this version does not take its estate.\n{faults}")
