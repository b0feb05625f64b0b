"""`backstay`: one table of commands; a room's module is imported only when its command runs.

`backstay --help` reads the table alone, so it stays under 0.25 s whatever a room imports.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from backstay import __version__

# command: (module, attribute, help). The attribute is a typer.Typer (a group, or an app with one command).
COMMANDS: dict[str, tuple[str, str, str]] = {
    "init": ("backstay.cli.estate", "init", "Write a commented estate file."),
    "validate": ("backstay.cli.estate", "validate", "Report every fault of the estate file."),
    "spare": ("backstay.cli.estate", "spare", "Does each cluster survive a node, a failure path, a zone, a region?"),
    "schema": ("backstay.cli.estate", "schema", "Print the JSON Schema of the estate file."),
    "config": ("backstay.cli.estate", "config", "Show the estate as it is in force, and where each value came from."),
    "plan": ("backstay.cli.balance", "plan", "Show what apply would alter on each load balancer."),
    "apply": ("backstay.cli.balance", "apply", "Make the load balancers run what the estate says."),
    "status": ("backstay.cli.balance", "status", "Load balancers, engines and pools at a glance."),
    "pool": ("backstay.cli.balance", "pool", "Pools: list, show, explain a weight, replay a log."),
    "drain": ("backstay.cli.change", "drain", "Take a node out of rotation, losing nothing; with a proof."),
    "undrain": ("backstay.cli.change", "undrain", "Bring a drained node back."),
    "weight": ("backstay.cli.change", "weight", "Give a node more or less of its share for a while."),
    "maintenance": ("backstay.cli.change", "maintenance", "Drain a node and keep its health quiet for a while."),
    "changes": ("backstay.cli.change", "changes", "What is temporary: by whom, why, until when; undo."),
    "param": ("backstay.cli.param", "param", "Parameters of nodes for Puppet and Ansible: set, list."),
    "ip": ("backstay.cli.ip", "ip", "Global IPs: who holds them, and why; move, rearm, freeze."),
    "journal": ("backstay.cli.journal", "journal", "What happened: tail, show, verify."),
    "agent": ("backstay.cli.agent", "agent", "The daemon on a load balancer."),
    "server": ("backstay.cli.server", "server", "The API, the console, what the agents follow."),
    "user": ("backstay.cli.user", "user", "Who may log in at the server: add, link, role, disable."),
    "token": ("backstay.cli.user", "token", "What programs and new agents show the server: create, join, revoke."),
    "enc": ("backstay.cli.outside", "enc", "A node's classes and parameters, for Puppet."),
    "inventory": ("backstay.cli.outside", "inventory", "All nodes in groups, for Ansible."),
    "audit": ("backstay.cli.audit", "audit", "Which server of a cluster differs, and the fact that explains it."),
    "notify": ("backstay.cli.notify", "notify", "Who is told of a takeover: send a test page."),
    "doctor": ("backstay.cli.doctor", "doctor", "What this machine has, which engine is used, and why."),
    "lab": ("backstay.cli.lab", "lab", "An estate on this machine: up, down, faults, traffic, demo."),
    "help": ("backstay.cli.help", "help_", "Help topics: exit-codes."),
}


class LazyGroup(TyperGroup):
    """Lists commands from the table; imports a command's module only to run it."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        return TyperCommand(cmd_name, help=COMMANDS[cmd_name][2])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, stub, rest = super().resolve_command(ctx, args)
        if name is None or stub is None:
            return name, stub, rest
        module, attribute, help_text = COMMANDS[name]
        command = typer.main.get_command(getattr(importlib.import_module(module), attribute))
        command.name = name
        command.help = command.help or help_text
        return name, command, rest


app = typer.Typer(cls=LazyGroup, no_args_is_help=True, pretty_exceptions_enable=False)


def _print_version(value: bool) -> None:
    if value:
        print(f"backstay {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    """Keeps the services of a small fleet up, and proves it."""


def main() -> None:
    """Entry point. A pipe that closes early (`| head`) is no error."""
    try:
        app(prog_name="backstay")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


if __name__ == "__main__":
    main()
