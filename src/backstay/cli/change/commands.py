"""`backstay drain | undrain | weight | maintenance | changes`: what is typed, made into what is asked for."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backstay.cli.options import DEFAULT_ESTATE, DryRunOption, EstateOption, ReasonOption, YesOption
from backstay.cli.output import Exit, Format, Output, actor, confirm, fail
from backstay.cli.report import tell
from backstay.cli.served.way import Way, with_way

if TYPE_CHECKING:
    from backstay.change.wire import ChangeRequest, UndoRequest

drain = typer.Typer(add_completion=False)
undrain = typer.Typer(add_completion=False)
weight = typer.Typer(add_completion=False)
maintenance = typer.Typer(add_completion=False)
changes = typer.Typer(add_completion=False, help="What is temporary: by whom, why, until when; undo.")

NodeArgument = Annotated[str, typer.Argument(metavar="NODE", help="The node, as the estate names it.")]
PoolOption = Annotated[str | None, typer.Option("--pool", help="Only in this pool; without: in all of its pools.")]
ForOption = Annotated[
    str | None, typer.Option("--for", metavar="DURATION", help="How long: 30m, 2h, 1d. Without: until undone.")
]
MaintenanceForOption = Annotated[
    str, typer.Option("--for", metavar="DURATION", help="How long: 30m, 2h, 1d. Quiet for ever would hide an outage.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Override the guard; it is journaled.")]
WaitOption = Annotated[bool, typer.Option("--wait", help="Wait for the proof that nothing is in flight any more.")]
DeadlineOption = Annotated[
    str, typer.Option("--deadline", metavar="DURATION", help="How long --wait waits; the change stays in force.")
]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The change's id, from `backstay changes`.")]


@drain.command()
@with_way
def drain_node(  # noqa: PLR0913, PLR0917 - a parameter is a flag
    node: NodeArgument,
    reason: ReasonOption,
    pool: PoolOption = None,
    duration: ForOption = None,
    wait: WaitOption = False,
    deadline: DeadlineOption = "60s",
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    estate: EstateOption = DEFAULT_ESTATE,
    output: Output = Format.TABLE,
    *,
    way: Way,
) -> None:
    """Take a node out of rotation on every load balancer: no new requests, what is in flight finishes."""
    asked = _Asked(kind="drain", node=node, pool=pool, duration=duration, reason=reason, force=force)
    _put(asked, way, estate, output, wait_s=_seconds(deadline) if wait else None, dry_run=dry_run, yes=yes)


@maintenance.command()
@with_way
def maintain_node(  # noqa: PLR0913, PLR0917 - a parameter is a flag
    node: NodeArgument,
    reason: ReasonOption,
    duration: MaintenanceForOption,
    pool: PoolOption = None,
    wait: WaitOption = False,
    deadline: DeadlineOption = "60s",
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    estate: EstateOption = DEFAULT_ESTATE,
    output: Output = Format.TABLE,
    *,
    way: Way,
) -> None:
    """Drain a node, and keep quiet about its health meanwhile."""
    asked = _Asked(kind="maintenance", node=node, pool=pool, duration=duration, reason=reason, force=force)
    _put(asked, way, estate, output, wait_s=_seconds(deadline) if wait else None, dry_run=dry_run, yes=yes)


@weight.command()
@with_way
def weigh_node(  # noqa: PLR0913, PLR0917 - a parameter is a flag
    node: NodeArgument,
    factor: Annotated[float, typer.Argument(metavar="FACTOR", help="Above 0 and at most 4; 1 is the full share.")],
    reason: ReasonOption,
    pool: PoolOption = None,
    duration: ForOption = None,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    estate: EstateOption = DEFAULT_ESTATE,
    output: Output = Format.TABLE,
    *,
    way: Way,
) -> None:
    """Give a node more or less of its share for a while. Factors of several changes multiply."""
    asked = _Asked(kind="weight", node=node, pool=pool, duration=duration, reason=reason, force=force, factor=factor)
    _put(asked, way, estate, output, wait_s=None, dry_run=dry_run, yes=yes)


@undrain.command()
@with_way
def undrain_node(
    node: NodeArgument,
    pool: PoolOption = None,
    reason: ReasonOption = "undrained",
    dry_run: DryRunOption = False,
    estate: EstateOption = DEFAULT_ESTATE,
    output: Output = Format.TABLE,
    *,
    way: Way,
) -> None:
    """Bring a drained node back: ends every drain and maintenance of it. Slow start follows."""
    from backstay.cli.change.inforce import undrain as undrained

    request = _undo_request(reason)
    tell(asyncio.run(undrained(way.site(estate), node, pool, request, dry_run=dry_run)), output)


@changes.callback(invoke_without_command=True)
@with_way
def list_changes(
    context: typer.Context,
    ended: Annotated[bool, typer.Option("--ended", help="Also those that ended lately.")] = False,
    estate: EstateOption = DEFAULT_ESTATE,
    output: Output = Format.TABLE,
    *,
    way: Way,
) -> None:
    """What is temporary: by whom, why, until when, and on which load balancers."""
    if context.invoked_subcommand is not None:
        return
    from backstay.cli.change.inforce import listed

    tell(asyncio.run(listed(way.site(estate), ended=ended)), output)


@changes.command("show")
@with_way
def show_change(
    change_id: IdArgument, estate: EstateOption = DEFAULT_ESTATE, output: Output = Format.TABLE, *, way: Way
) -> None:
    """One change, load balancer by load balancer, with its proof."""
    from backstay.cli.change.inforce import shown

    tell(asyncio.run(shown(way.site(estate), change_id)), output)


@changes.command("undo")
@with_way
def undo_change(
    change_id: IdArgument,
    reason: ReasonOption = "undone",
    estate: EstateOption = DEFAULT_ESTATE,
    output: Output = Format.TABLE,
    *,
    way: Way,
) -> None:
    """End a change now, wherever it is in force."""
    from backstay.cli.change.inforce import undo

    tell(asyncio.run(undo(way.site(estate), change_id, _undo_request(reason))), output)


@changes.command("finish")
@with_way
def finish_change(
    change_id: IdArgument, estate: EstateOption = DEFAULT_ESTATE, output: Output = Format.TABLE, *, way: Way
) -> None:
    """Put a change in force on the load balancers that it did not reach, for the time that remains of it."""
    from backstay.cli.change.inforce import finish

    tell(asyncio.run(finish(way.site(estate), change_id)), output)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A change as it was typed."""

    kind: str
    node: str
    pool: str | None
    duration: str | None
    reason: str
    force: bool
    factor: float | None = None


def _put(
    asked: _Asked, way: Way, estate: Path, output: Format, *, wait_s: float | None, dry_run: bool, yes: bool
) -> None:
    from backstay.cli.change.rollout import put

    request = _request(asked)
    site = way.site(estate)
    tell(
        asyncio.run(put(site, request, dry_run=dry_run, wait_s=wait_s, go_on=lambda ask: confirm(ask, yes=yes))),
        output,
    )


def _request(asked: _Asked) -> ChangeRequest:
    """What every load balancer is asked for. Ends the command when it was typed wrongly."""
    from backstay.change.model import ChangeInvalid
    from backstay.change.wire import parse_request
    from backstay.journal.mint import new_id

    try:
        return parse_request(
            {
                "id": new_id(),
                "kind": asked.kind,
                "node": asked.node,
                "pool": asked.pool,
                "factor": asked.factor,
                "actor": actor(),
                "reason": asked.reason,
                "created_at": datetime.now(UTC),
                "duration_s": None if asked.duration is None else _seconds(asked.duration),
                "forced": asked.force,
            }
        )
    except ChangeInvalid as error:
        fail(str(error), Exit.USAGE)


def _undo_request(reason: str) -> UndoRequest:
    from backstay.change.model import ChangeInvalid
    from backstay.change.wire import parse_undo

    try:
        return parse_undo({"actor": actor(), "reason": reason})
    except ChangeInvalid as error:
        fail(str(error), Exit.USAGE)


def _seconds(text: str) -> int:
    from backstay.change.durations import parse_duration
    from backstay.change.model import ChangeInvalid

    try:
        return parse_duration(text)
    except ChangeInvalid as error:
        fail(str(error), Exit.USAGE)
