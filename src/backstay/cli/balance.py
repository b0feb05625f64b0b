"""`backstay plan | apply | status | pool list|show|explain|replay`: the load-balancer tier, through its agents."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backstay.cli.options import (
    DEFAULT_ESTATE,
    DryRunOption,
    EstateOption,
    LbOption,
    ReasonOption,
    SetOption,
    YesOption,
)
from backstay.cli.output import Exit, Format, Output, actor, confirm, fail, note
from backstay.cli.report import tell
from backstay.cli.served.way import Way, with_way

if TYPE_CHECKING:
    from collections.abc import Iterable

    from backstay.cli.served.way import Site

plan = typer.Typer(add_completion=False)
apply = typer.Typer(add_completion=False)
status = typer.Typer(add_completion=False)
pool = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Pools: list, show, explain a weight, replay a log."
)


def chosen(site: Site, lbs: list[str] | None, *, among: Iterable[str] | None = None) -> tuple[str, ...]:
    """The load balancers that a command is about: those given, else all `among` (default: of the estate)."""
    from backstay.estate.select import load_balancers

    known = tuple(load_balancers(site.estate) if among is None else among)
    if not known:
        fail(f"{site.name}: no load balancer there. Declare a tier with members.", Exit.USAGE)
    for lb in lbs or ():
        if lb not in known:
            fail(f'--lb: "{lb}" is none of the load balancers here: {", ".join(known)}.', Exit.USAGE)
    return tuple(dict.fromkeys(lbs)) if lbs else known


@plan.command()
@with_way
def show_plan(
    estate: EstateOption = DEFAULT_ESTATE,
    sets: SetOption = None,
    lb: LbOption = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Keep the plan for `apply FILE`.")] = None,
    output: Output = Format.TABLE,
    *,
    way: Way,
) -> None:
    """Show what apply would alter on each load balancer: in words, as a unified diff, and at what price.

    Exit code 3 when there are changes, 0 when there are none.
    """
    from backstay.cli.planning import plan_all, plan_report, write_plan

    site = way.site_of_file(estate, sets)
    views, answers = asyncio.run(plan_all(site, chosen(site, lb)))
    if out is not None and views:
        try:
            write_plan(out, site, views)
        except OSError as error:
            fail(f"{out}: not written: {error.strerror}. Name a folder that is there and yours.")
        note(f"Wrote {out}. Next: `backstay apply {out}`.")
    tell(plan_report(views, answers, output), output)


@apply.command()
@with_way
def apply_estate(  # noqa: PLR0913 - a parameter is a flag
    plan_file: Annotated[
        Path | None, typer.Argument(metavar="PLAN", help="What `plan --out` wrote: nothing else is applied.")
    ] = None,
    estate: EstateOption = DEFAULT_ESTATE,
    sets: SetOption = None,
    lb: LbOption = None,
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    output: Output = Format.TABLE,
    *,
    way: Way,
) -> None:
    """Make the load balancers run what the estate says, one after the other.

    Refused (5) when anything changed since the plan. The first load balancer whose agent refuses or fails ends the
    round, so that a bad configuration reaches one at most. One that is not reached (6) is passed over, and said so.
    """
    from backstay.cli.planning import Agreed, NoPlan, apply_all, read_plan, weigh

    site = way.site_of_file(estate, sets)
    if site.server is not None and lb:
        fail("--lb: a server's estate is adopted for all of its load balancers. Leave --lb out.", Exit.USAGE)
    agreed: Agreed | None = None
    if plan_file is not None:
        try:
            agreed = read_plan(plan_file)
        except NoPlan as error:
            fail(str(error), Exit.USAGE)
    lbs = chosen(site, lb, among=agreed.digests if agreed is not None else None)
    weighed = asyncio.run(weigh(site, lbs, agreed))
    if weighed.stop is not None:
        tell(weighed.stop, output)
        return
    if agreed is None and weighed.changes:
        note(weighed.changes)
        confirm(f"Apply to {', '.join(weighed.digests)}?", yes=yes or dry_run)
    if dry_run:
        note(f"Would be applied to {', '.join(weighed.digests)}. Nothing was changed (--dry-run).")
        raise typer.Exit(int(weighed.code))
    tell(asyncio.run(apply_all(site, weighed, actor=actor(), reason=reason)), output)


@status.command()
@with_way
def show_status(
    estate: EstateOption = DEFAULT_ESTATE,
    sets: SetOption = None,
    lb: LbOption = None,
    output: Output = Format.TABLE,
    *,
    way: Way,
) -> None:
    """Load balancers, engines and pools at a glance.

    Exit code 3 when an engine is down, an apply failed or a load balancer runs something else than it should.
    """
    from backstay.cli.pools import status_report

    site = way.site(estate, sets)
    tell(asyncio.run(status_report(site, chosen(site, lb))), output)


PoolArgument = Annotated[str, typer.Argument(metavar="POOL", help="Name of the pool.")]


@pool.callback()
def pool_group() -> None:
    """Pools: list, show, explain a weight, replay a log."""


@pool.command("list")
@with_way
def list_pools(
    estate: EstateOption = DEFAULT_ESTATE,
    sets: SetOption = None,
    lb: LbOption = None,
    output: Output = Format.TABLE,
    *,
    way: Way,
) -> None:
    """Every pool on every load balancer: how many backends are active, draining, down."""
    from backstay.cli.pools import list_report

    site = way.site(estate, sets)
    tell(asyncio.run(list_report(site, chosen(site, lb))), output)


@pool.command("show")
@with_way
def show_pool(
    name: PoolArgument,
    estate: EstateOption = DEFAULT_ESTATE,
    sets: SetOption = None,
    lb: LbOption = None,
    output: Output = Format.TABLE,
    *,
    way: Way,
) -> None:
    """The backends of a pool on each load balancer: state, share, health, what is in flight, and why."""
    from backstay.cli.pools import show_report

    site = way.site(estate, sets)
    lbs = chosen(site, lb, among=_carriers(site, name))
    tell(asyncio.run(show_report(site, lbs, name)), output)


@pool.command("explain")
@with_way
def explain_pool(
    name: PoolArgument,
    estate: EstateOption = DEFAULT_ESTATE,
    sets: SetOption = None,
    lb: LbOption = None,
    output: Output = Format.TABLE,
    *,
    way: Way,
) -> None:
    """The rescaler's last step for each backend: signal, samples, confidence, and the reason for its share."""
    from backstay.cli.pools import explain_report

    site = way.site(estate, sets)
    lbs = chosen(site, lb, among=_carriers(site, name))
    tell(asyncio.run(explain_report(site, lbs, name)), output)


@pool.command("replay")
def replay_log(
    log: Annotated[Path, typer.Argument(metavar="LOG", help="Steps (the agent writes them) or access log; -: stdin.")],
    name: Annotated[str | None, typer.Option("--pool", metavar="NAME", help="Only this pool.")] = None,
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", metavar="NAME=NUMBER", help="Try another number. Repeatable.")
    ] = None,
    every_s: Annotated[float, typer.Option("--every-s", min=1.0, max=3600.0, help="Step, for an access log.")] = 15.0,
    last: Annotated[bool, typer.Option("--last", help="Only the last step of each pool.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Run the rescaler over a recorded log, without touching anything: what would it have done, and why?"""
    from backstay.balance.replay import parameters
    from backstay.cli.replay import NoLog, replay_report

    try:
        known = parameters(parameter or ())
    except ValueError as error:
        fail(f"--parameter: {error}", Exit.USAGE)
    try:
        report = replay_report(log, known, sys.stdin, pool=name, every_s=every_s, last=last)
    except NoLog as error:
        fail(str(error))
    tell(report, output)


def _carriers(site: Site, name: str) -> tuple[str, ...]:
    """The load balancers whose tier carries pool `name`. Ends the command for a pool that is none, or is unused."""
    from backstay.estate.check import suggestion
    from backstay.estate.select import services_of

    pools = site.estate.pools
    if name not in pools:
        fail(f'"{name}" is no pool.{suggestion(name, pools)} Pools: {", ".join(pools) or "none"}.', Exit.USAGE)
    found = tuple(
        lb
        for tier_name, tier in site.estate.tiers.items()
        if any(
            name in (service.pool, *(route.pool for route in service.routes))
            for service in services_of(site.estate, tier_name).values()
        )
        for lb in tier.members
    )
    if not found:
        fail(f"No service of any tier uses the pool {name}. Route to it, then `backstay apply`.", Exit.USAGE)
    return found
