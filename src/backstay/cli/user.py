"""`backstay user` and `backstay token`: who may, administered on the server's machine, over its database.

They work beside a server that runs, and without one. Secrets are printed on stdout, once; all else goes to stderr.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backstay.cli.options import YesOption
from backstay.cli.output import Exit, Format, Output, actor, confirm, emit, fail, note
from backstay.cli.server import DatabaseOption, StateOption, default_state_dir

if TYPE_CHECKING:
    from backstay.server.access.registry import Registry

user = typer.Typer(no_args_is_help=True, add_completion=False, help="Who may log in at the server.")
token = typer.Typer(no_args_is_help=True, add_completion=False, help="What programs and new agents show the server.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME")]
RoleOption = Annotated[str, typer.Option("--role", help="viewer, operator or admin.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it goes to the journal.")]


# --- users -----------------------------------------------------------------------------------------------------------


@user.command("list")
def list_users(
    state_dir: StateOption = None, database_url: DatabaseOption = None, output: Output = Format.TABLE
) -> None:
    """Users, by name."""
    with _registry(state_dir, database_url) as registry:
        users = registry.people.users()
    rows = [
        {
            "name": one.name,
            "role": one.role.value,
            "enabled": one.enabled,
            "logs in by": one.issuer or ("password" if one.has_password else "nothing yet: backstay user link"),
            "last login": one.last_login,
        }
        for one in users
    ]
    emit(rows, output)


@user.command("add")
def add_user(
    name: NameArgument,
    role: RoleOption,
    reason: ReasonOption,
    state_dir: StateOption = None,
    database_url: DatabaseOption = None,
) -> None:
    """Add a user; prints a one-time link by which they set a password."""
    with _registry(state_dir, database_url) as registry:
        added = registry.add_user(name, _role(role), actor=actor(), reason=reason)
        _print_link(registry, added.name, reason, state_dir)


@user.command("link")
def link_user(
    name: NameArgument, reason: ReasonOption, state_dir: StateOption = None, database_url: DatabaseOption = None
) -> None:
    """Print a one-time link by which this user sets a new password; good for a day."""
    with _registry(state_dir, database_url) as registry:
        _print_link(registry, name, reason, state_dir)


@user.command("password")
def set_password(
    name: NameArgument, reason: ReasonOption, state_dir: StateOption = None, database_url: DatabaseOption = None
) -> None:
    """Set a password, typed twice or piped in. All sessions of this user end."""
    with _registry(state_dir, database_url) as registry:
        registry.set_password(name, _read_password(), actor=actor(), reason=reason)
    note(f"The password of {name} is set; their sessions have ended.")


@user.command("role")
def set_role(
    name: NameArgument,
    role: Annotated[str, typer.Argument(metavar="ROLE", help="viewer, operator or admin.")],
    reason: ReasonOption,
    state_dir: StateOption = None,
    database_url: DatabaseOption = None,
) -> None:
    """Give a user another role; at once, in sessions that run, too."""
    with _registry(state_dir, database_url) as registry:
        registry.set_role(name, _role(role), actor=actor(), reason=reason)
    note(f"{name} is {role} now.")


@user.command("disable")
def disable_user(
    name: NameArgument,
    reason: ReasonOption,
    state_dir: StateOption = None,
    database_url: DatabaseOption = None,
    yes: YesOption = False,
) -> None:
    """End all sessions and tokens of a user, and let them in no more."""
    confirm(f"End all sessions and tokens of {name}?", yes=yes)
    with _registry(state_dir, database_url) as registry:
        registry.set_enabled(name, False, actor=actor(), reason=reason)
    note(f"{name} is disabled. Back: backstay user enable {name}")


@user.command("enable")
def enable_user(
    name: NameArgument, reason: ReasonOption, state_dir: StateOption = None, database_url: DatabaseOption = None
) -> None:
    """Let a user in again who was disabled."""
    with _registry(state_dir, database_url) as registry:
        registry.set_enabled(name, True, actor=actor(), reason=reason)
    note(f"{name} may log in again.")


# --- tokens ----------------------------------------------------------------------------------------------------------


@token.command("list")
def list_tokens(
    state_dir: StateOption = None, database_url: DatabaseOption = None, output: Output = Format.TABLE
) -> None:
    """API tokens, the newest first."""
    with _registry(state_dir, database_url) as registry:
        tokens = registry.tokens.tokens()
    rows = [
        {
            "name": one.name,
            "role": one.role.value,
            "rooms": "all" if one.rooms is None else sorted(one.rooms),
            "owner": one.owner or "a machine",
            "last used": one.last_used,
            "until": "revoked" if one.revoked_at else one.expires_at or "until revoked",
        }
        for one in tokens
    ]
    emit(rows, output)


@token.command("create")
def create_token(
    name: NameArgument,
    reason: ReasonOption,
    role: RoleOption = "viewer",
    rooms: Annotated[
        list[str] | None,
        typer.Option("--room", metavar="WORD", help="First word below /api/v1/ that it is good for. Repeatable."),
    ] = None,
    lasts: Annotated[
        str, typer.Option("--for", metavar="DURATION", help='"30d", "12h"; "ever": until it is revoked.')
    ] = "90d",
    state_dir: StateOption = None,
    database_url: DatabaseOption = None,
) -> None:
    """Make a machine's API token; prints it, once."""
    life = _life(lasts)
    with _registry(state_dir, database_url) as registry:
        made, secret = registry.create_token(
            name, _role(role), actor=actor(), reason=reason, rooms=rooms or None, life=life
        )
    note(f"Token {made.name}, role {made.role}. It is told this once:")
    print(secret)


@token.command("revoke")
def revoke_token(
    name: NameArgument, reason: ReasonOption, state_dir: StateOption = None, database_url: DatabaseOption = None
) -> None:
    """End a token, for good."""
    with _registry(state_dir, database_url) as registry:
        found = [one for one in registry.tokens.tokens() if one.name == name and one.revoked_at is None]
        if not found:
            fail(f"There is no token {name} in use. See backstay token list")
        registry.revoke_token(found[0].id, actor=actor(), reason=reason)
    note(f"Token {name} is revoked.")


@token.command("join")
def make_join_token(
    lb: Annotated[str, typer.Argument(metavar="LB", help="The load balancer, as the estate names it.")],
    reason: ReasonOption,
    state_dir: StateOption = None,
    database_url: DatabaseOption = None,
) -> None:
    """Let the agent of a load balancer enrol, once and within a day; prints the join token."""
    with _registry(state_dir, database_url) as registry:
        join, secret = registry.make_join_token(lb, actor=actor(), reason=reason)
    note(f"On {join.lb}, until {join.expires_at:%Y-%m-%d %H:%M} UTC: backstay agent enrol --as {join.lb} ...")
    print(secret)


# --- shared ----------------------------------------------------------------------------------------------------------


@contextmanager
def _registry(state_dir: Path | None, database_url: str | None) -> Iterator[Registry]:
    """The server's database; what cannot be ends the command with the reason."""
    from backstay.journal import JournalError
    from backstay.journal.store import Database
    from backstay.server.access.model import AccessError
    from backstay.server.access.registry import Registry

    settings = _settings(state_dir, database_url)
    try:
        database = Database(settings.database)
    except JournalError as error:
        fail(str(error), Exit.UNREACHABLE)
    try:
        yield Registry(database)
    except (AccessError, JournalError) as error:
        fail(str(error))
    finally:
        database.close()


def _settings(state_dir: Path | None, database_url: str | None) -> Any:
    """Of a server that was made: a typing error must not make a database elsewhere."""
    from backstay.server.settings import FILE_NAME, SettingsError, load

    folder = state_dir or default_state_dir()
    if not (folder / FILE_NAME).is_file():
        fail(f"{folder}: no server was made here. Name its --state-dir, or make one: backstay server init", Exit.USAGE)
    try:
        return load(folder, database_url=database_url)
    except SettingsError as error:
        fail(str(error), Exit.USAGE)


def _print_link(registry: Registry, name: str, reason: str, state_dir: Path | None) -> None:
    from backstay.server.access.registry import link_path

    secret, expires_at = registry.make_link(name, actor=actor(), reason=reason)
    note(f"For {name} alone, once, until {expires_at:%Y-%m-%d %H:%M} UTC:")
    print(_settings(state_dir, None).base_url + link_path(secret))


def _role(text: str) -> Any:
    from backstay.server.model import Role

    try:
        return Role(text)
    except ValueError:
        fail(f'"{text}" is no role. Roles: {", ".join(Role)}.', Exit.USAGE)


def _life(text: str) -> Any:
    from datetime import timedelta

    from backstay.change import ChangeInvalid, parse_duration

    if text == "ever":
        return None
    if text.endswith("d") and text[:-1].isdecimal():
        return timedelta(days=min(int(text[:-1]), 100_000))
    try:
        return timedelta(seconds=parse_duration(text))
    except ChangeInvalid as error:
        fail(str(error), Exit.USAGE)


def _read_password() -> str:
    """Never an argument: those are in `ps` and in the shell's history."""
    if not sys.stdin.isatty():
        return sys.stdin.readline(1_024).rstrip("\r\n")
    password: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return password
