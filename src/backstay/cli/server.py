"""`backstay server init | run | join-token | unit`: the API, the console and what the agents follow."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from backstay.cli.output import Exit, fail, note

server = typer.Typer(no_args_is_help=True, add_completion=False, help="The API, the console, what the agents follow.")

StateOption = Annotated[
    Path | None,
    typer.Option(
        "--state-dir",
        metavar="DIR",
        envvar="BACKSTAY_SERVER_STATE_DIR",
        help="What it keeps. Default: /var/lib/backstay-server as root, else XDG_STATE_HOME/backstay-server.",
    ),
]
DatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        metavar="URL",
        envvar="BACKSTAY_DATABASE_URL",
        help="postgresql://user@host/db, where several servers share one. Without: SQLite in the state directory.",
    ),
]
ListenOption = Annotated[str | None, typer.Option("--listen", metavar="ADDRESS", help="Address to listen on.")]
PortOption = Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Port to listen on.")]
# `run` may take any free port; what `init` makes is known to browsers and agents by it.
FixedPortOption = Annotated[int | None, typer.Option("--port", min=1, max=65535, help="Port to listen on.")]


@server.command("init")
def initialise(
    name: Annotated[
        list[str], typer.Option("--name", metavar="HOST", help="Host name or address; the first is in its URL.")
    ],
    state_dir: StateOption = None,
    database_url: DatabaseOption = None,
    listen: ListenOption = None,
    port: FixedPortOption = None,
    tls_certificate: Annotated[
        Path | None,
        typer.Option("--tls-certificate", metavar="FILE", help="Your own, with its chain. Without: made here."),
    ] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", metavar="FILE", help="Its private key.")] = None,
) -> None:
    """Make a server: settings, certificates, database; prints the one-time link of the first admin."""
    from datetime import UTC, datetime

    from backstay.link.fingerprint import fingerprint_of
    from backstay.server.init import InitError, Wanted
    from backstay.server.init import initialise as make

    wanted = Wanted(
        state_dir=state_dir or default_state_dir(),
        names=tuple(name),
        listen=listen or "0.0.0.0",
        port=8443 if port is None else port,
        database_url=database_url,
        certificate=tls_certificate,
        key=tls_key,
    )
    try:
        made = make(wanted, datetime.now(UTC))
    except InitError as error:
        fail(str(error))
    note(f"Made in {wanted.state_dir}. Next: backstay server run --state-dir {wanted.state_dir}")
    if made.ca is not None:
        note(f"Browsers and agents trust it by {made.ca}")
        note(f"Its fingerprint, for `backstay agent enrol`: {fingerprint_of(made.ca.read_text(encoding='ascii'))}")
    note(f"Then, once and within a day, set the password of {made.user}:")
    print(made.link)


@server.command("run")
def run_server(
    state_dir: StateOption = None,
    database_url: DatabaseOption = None,
    listen: ListenOption = None,
    port: PortOption = None,
    base_url: Annotated[
        str | None, typer.Option("--base-url", metavar="URL", help="How browsers and agents reach it.")
    ] = None,
    estate: Annotated[
        Path | None, typer.Option("--estate", metavar="FILE", help="Adopt it, when the server has none yet.")
    ] = None,
) -> None:
    """Run it in the foreground until SIGTERM. Several may run on one PostgreSQL."""
    from backstay import logs
    from backstay.server.settings import SettingsError, load

    try:
        settings = load(
            state_dir or default_state_dir(), database_url=database_url, listen=listen, port=port, base_url=base_url
        )
    except SettingsError as error:
        fail(str(error), Exit.USAGE)
    from backstay.server.run import CannotStart, run

    logs.configure()
    try:
        run(settings, estate=estate)
    except CannotStart as error:
        fail(str(error))


@server.command("join-token")
def make_join_token(
    node: Annotated[str, typer.Argument(metavar="LB", help="The load balancer whose agent may enrol with it.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; it is journaled.")],
    state_dir: StateOption = None,
    database_url: DatabaseOption = None,
) -> None:
    """Print a join token, good once and for a day; those before it for the same agent end. On the server's machine."""
    from backstay.cli.output import actor
    from backstay.journal import JournalError
    from backstay.journal.store import Database
    from backstay.server.access.model import AccessError
    from backstay.server.access.registry import Registry
    from backstay.server.ports import StoreError
    from backstay.server.settings import SettingsError, load

    try:
        database = Database(load(state_dir or default_state_dir(), database_url=database_url).database)
        try:
            join, secret = Registry(database).make_join_token(node, actor=actor(), reason=reason)
        finally:
            database.close()
    except SettingsError as error:
        fail(str(error), Exit.USAGE)
    except AccessError as error:
        fail(str(error), Exit.USAGE)
    except (JournalError, StoreError) as error:
        fail(f"The database cannot be used: {error}")
    note(f"Good until {join.expires_at:%Y-%m-%d %H:%M} UTC, once: backstay agent enrol --as {node} --join-token-file -")
    print(secret)


@server.command("unit")
def print_unit() -> None:
    """Print the systemd unit (backstay-server.service)."""
    from importlib.resources import files

    print(files("backstay.server").joinpath("backstay-server.service").read_text(encoding="utf-8"), end="")


def default_state_dir() -> Path:
    """BACKSTAY_SERVER_STATE_DIR is the option's; else /var/lib/backstay-server as root, else below XDG_STATE_HOME."""
    if os.geteuid() == 0:
        return Path("/var/lib/backstay-server")
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / "backstay-server"
