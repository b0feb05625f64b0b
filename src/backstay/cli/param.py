"""`backstay param set | list`: parameters of nodes for Puppet and Ansible. The server alone keeps them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from backstay.cli.options import DryRunOption, ReasonOption
from backstay.cli.output import Exit, Format, Output, Row, fail, note
from backstay.cli.report import Report, tell
from backstay.cli.served.way import Way, with_way

if TYPE_CHECKING:
    from backstay.cli.served.client import ServerAt, ServerError

param = typer.Typer(no_args_is_help=True, help="Parameters of nodes for Puppet and Ansible: set, list.")


@param.command("set")
@with_way
def set_parameter(
    selector: Annotated[
        str, typer.Argument(metavar="NODE|SELECTOR", help="A node, or zone/NAME, cluster/NAME, nodes/GLOB, ...")
    ],
    assignment: Annotated[str, typer.Argument(metavar="NAME=VALUE", help="VALUE is JSON where it is some, else text.")],
    reason: ReasonOption,
    duration: Annotated[
        str | None, typer.Option("--for", metavar="DURATION", help="How long: 30m, 2h. Without: until undone.")
    ] = None,
    dry_run: DryRunOption = False,
    output: Output = Format.TABLE,
    *,
    way: Way,
) -> None:
    """Set a parameter of some nodes, for a while. It ends by itself, or by `backstay changes undo`."""
    name, equals, text = assignment.partition("=")
    if not equals:
        fail(f"{assignment[:80]}: write NAME=VALUE, as nginx::worker_processes=4.", Exit.USAGE)
    body = {
        "kind": "parameter",
        "selector": selector if "/" in selector else f"node/{selector}",
        "parameter": name,
        "value": _value(text),
        "duration_s": None if duration is None else _seconds(duration),
        "reason": reason,
        "dry_run": dry_run,
    }
    tell(asyncio.run(_set(_server(way), body)), output)


@param.command("list")
@with_way
def list_parameters(
    node: Annotated[str | None, typer.Argument(metavar="NODE", help="Of this node alone.")] = None,
    output: Output = Format.TABLE,
    *,
    way: Way,
) -> None:
    """Parameters in force: of which node, by whom, why, until when."""
    tell(asyncio.run(_list(_server(way), node)), output)


async def _set(at: ServerAt, body: dict[str, Any]) -> Report:
    from backstay.cli.served.client import ServerClient, ServerError
    from backstay.journal.mint import new_id

    try:
        async with ServerClient(at) as server:
            answer = await server.post("/changes", body, new_id())
    except ServerError as error:
        _fail(at, error)
    done = "not set (--dry-run)" if body["dry_run"] else "set"
    rows: list[Row] = [
        {"node": one["node"], "parameter": one["parameter"], "value": json.dumps(one["value"]), "result": done}
        for one in answer["changes"]
    ]
    notes = list(answer["words"])
    if not body["dry_run"]:
        notes.append(f"Undo: backstay changes undo {answer['id']}")
    return Report(data=answer, rows=rows, notes=notes)


async def _list(at: ServerAt, node: str | None) -> Report:
    from backstay.cli.served.client import ServerClient, ServerError

    try:
        async with ServerClient(at) as server:
            found = await server.items("/parameters", {} if node is None else {"node": node})
    except ServerError as error:
        _fail(at, error)
    rows: list[Row] = [
        {
            "node": one["node"],
            "parameter": one["name"],
            "value": json.dumps(one["value"]),
            "by": one["actor"],
            "reason": one["reason"],
            "until": one["expires_at"] or "undone",
            "change": one["change"],
        }
        for one in found
    ]
    return Report(data=found, rows=rows)


def _server(way: Way) -> ServerAt:
    at = way.server()
    if at is None:
        note("The server keeps parameters, no load balancer does.")
        fail("Name it: --server URL, or BACKSTAY_SERVER.", Exit.USAGE)
    return at


def _fail(at: ServerAt, error: ServerError) -> NoReturn:
    from backstay.cli.served.client import ServerSaid, ServerUnreachable

    if isinstance(error, ServerUnreachable):
        fail(str(error), Exit.UNREACHABLE)
    refused = isinstance(error, ServerSaid) and error.status == 409
    fail(f"{at.url}: {error}", Exit.REFUSED if refused else Exit.FAILED)


def _value(text: str) -> Any:
    """People write `web`, and mean "web"."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _seconds(text: str) -> int:
    from backstay.change.durations import parse_duration
    from backstay.change.model import ChangeInvalid

    try:
        return parse_duration(text)
    except ChangeInvalid as error:
        fail(str(error), Exit.USAGE)
