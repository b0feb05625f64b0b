"""`backstay enc | inventory`: what Puppet and Ansible ask, of a server (--server) or of the estate file alone."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backstay.cli.options import DEFAULT_ESTATE, EstateOption, SetOption, load_or_fail
from backstay.cli.output import Exit, fail
from backstay.cli.served.way import Way, with_way

if TYPE_CHECKING:
    from backstay.cli.served.client import ServerAt
    from backstay.server.views.composed import NodeState
    from backstay.server.views.scene import Scene

enc = typer.Typer(add_completion=False)
inventory = typer.Typer(add_completion=False)


@enc.command()
@with_way
def classify(
    node: Annotated[str, typer.Argument(metavar="NODE", help="Its name, or its certname: web2.example.com")],
    estate: EstateOption = DEFAULT_ESTATE,
    sets: SetOption = None,
    unknown_is_empty: Annotated[
        bool, typer.Option("--unknown-is-empty", help="A node that the estate does not have gets no classes.")
    ] = False,
    *,
    way: Way,
) -> None:
    """Print a node's classes, parameters and environment: an external node classifier for Puppet.

    With --server: with the parameters and drains in force. Without: what the estate file says, and nothing else.
    """
    from backstay.server.views.outside import node_named, puppet

    state = _state(node_named(node), way, estate, sets, missing_is_none=unknown_is_empty)
    found = puppet.classified(state) if state is not None else {"classes": {}, "parameters": {}}
    print(puppet.as_yaml(found), end="")


@inventory.command()
@with_way
def print_inventory(
    every: Annotated[bool, typer.Option("--list", help="All nodes, in groups, with their variables.")] = False,
    host: Annotated[str | None, typer.Option("--host", metavar="NODE", help="The variables of one.")] = None,
    estate: EstateOption = DEFAULT_ESTATE,
    sets: SetOption = None,
    *,
    way: Way,
) -> None:
    """Print a dynamic inventory for Ansible (JSON): nodes by zone, region, cluster, tier, pool and failure path."""
    from backstay.server.views.composed import node_state
    from backstay.server.views.outside import ansible

    if every == (host is not None):
        fail("Say --list, or --host NODE.", Exit.USAGE)
    if host is not None:
        state = _state(host, way, estate, sets)
        assert state is not None
        found = ansible.host(state)
    elif (at := way.server()) is not None:
        found = _ask(at, "/inventory")
    else:
        scene = _declared(estate, sets)
        found = ansible.inventory(node_state(scene, name) for name in scene.estate.nodes)
    print(json.dumps(found, indent=2))


def _state(
    node: str, way: Way, estate: Path, sets: list[str] | None, *, missing_is_none: bool = False
) -> NodeState | None:
    """The node's composed state. Ends the command when there is no such node, unless that is an answer, too."""
    from pydantic import TypeAdapter

    from backstay.server.views.composed import NodeState, node_state

    at = way.server()
    if at is not None:
        answer = _ask(at, f"/nodes/{_quoted(node)}/state", missing_is_none=missing_is_none)
        return None if answer is None else TypeAdapter(NodeState).validate_python(answer)
    scene = _declared(estate, sets)
    if node in scene.estate.nodes:
        return node_state(scene, node)
    if missing_is_none:
        return None
    fail(f'{estate}: there is no node "{node[:64]}". Declare it under nodes.')


def _quoted(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="")


def _declared(estate: Path, sets: list[str] | None) -> Scene:
    from backstay.server.views.outside import declared_alone

    return declared_alone(load_or_fail(estate, sets).estate)


def _ask(at: ServerAt, path: str, *, missing_is_none: bool = False) -> Any:
    """What the server has at `path`. Ends the command when it does not say."""
    from backstay.cli.served.client import ServerClient, ServerSaid, ServerUnreachable

    async def ask() -> Any:
        async with ServerClient(at) as client:
            return await client.get(path)

    try:
        return asyncio.run(ask())
    except ServerUnreachable as error:
        fail(str(error), Exit.UNREACHABLE)
    except ServerSaid as error:
        if missing_is_none and (error.status, error.code) == (404, "unknown"):
            return None
        fail(f"{at.url}: {error.detail}")
