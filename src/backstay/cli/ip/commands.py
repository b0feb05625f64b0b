"""`backstay ip list | show | explain | history | move | rearm | freeze | simulate`: what is typed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backstay.cli.options import DEFAULT_ESTATE, EstateOption, ReasonOption, YesOption
from backstay.cli.output import Exit, Format, Output, actor, confirm, fail
from backstay.cli.report import tell
from backstay.cli.served.way import Way, with_way

if TYPE_CHECKING:
    from backstay.cli.served.way import Site

ip = typer.Typer(no_args_is_help=True, help="Global IPs: who holds them, and why; move, rearm, freeze.")

IpArgument = Annotated[str, typer.Argument(metavar="NAME", help="The global IP, as the estate names it.")]
LbArgument = Annotated[str, typer.Argument(metavar="LB", help="The load balancer, one of its candidates.")]
LIMIT = 50


@ip.command("list")
@with_way
def list_ips(estate: EstateOption = DEFAULT_ESTATE, output: Output = Format.TABLE, *, way: Way) -> None:
    """Every global IP, its holder by the provider's word, and what each candidate is to it."""
    from backstay.cli.ip.standing import list_report

    tell(asyncio.run(list_report(way.site(estate))), output)


@ip.command()
@with_way
def show(name: IpArgument, estate: EstateOption = DEFAULT_ESTATE, output: Output = Format.TABLE, *, way: Way) -> None:
    """One global IP, a row a candidate."""
    from backstay.cli.ip.standing import show_report

    tell(asyncio.run(show_report(_site(way, estate, name), name)), output)


@ip.command()
@with_way
def explain(
    name: IpArgument,
    lb: Annotated[str | None, typer.Option("--lb", metavar="NAME", help="Whose view. Default: all of them.")] = None,
    estate: EstateOption = DEFAULT_ESTATE,
    output: Output = Format.TABLE,
    *,
    way: Way,
) -> None:
    """Why each candidate does, or does not, hold the others for dead: its probes, the evidence, a small plot."""
    from backstay.cli.ip.evidence import explain_report

    tell(asyncio.run(explain_report(_site(way, estate, name, lb), name, lb)), output)


@ip.command()
@with_way
def history(
    name: IpArgument,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many events, the newest.")] = LIMIT,
    estate: EstateOption = DEFAULT_ESTATE,
    output: Output = Format.TABLE,
    *,
    way: Way,
) -> None:
    """What happened to it, told by all candidates together, oldest first."""
    from backstay.cli.ip.standing import history_report

    tell(asyncio.run(history_report(_site(way, estate, name), name, limit)), output)


@ip.command()
@with_way
def move(
    name: IpArgument,
    to: Annotated[str, typer.Option("--to", metavar="LB", help="Where to, one of its candidates.")],
    reason: ReasonOption,
    yes: YesOption = False,
    estate: EstateOption = DEFAULT_ESTATE,
    output: Output = Format.TABLE,
    *,
    way: Way,
) -> None:
    """Move it as planned: the target is checked first, and nobody is quarantined."""
    from backstay.cli.ip.moving import move_report

    site = _site(way, estate, name, to)
    confirm(f"Move {name} to {to}?", yes=yes)
    tell(asyncio.run(move_report(site, name, to, actor(), reason)), output)


@ip.command()
@with_way
def rearm(
    name: IpArgument,
    lb: LbArgument,
    reason: ReasonOption,
    false_alarm: Annotated[
        bool, typer.Option("--false-alarm", help="Its last takeover was for nothing: it is more patient from now on.")
    ] = False,
    estate: EstateOption = DEFAULT_ESTATE,
    output: Output = Format.TABLE,
    *,
    way: Way,
) -> None:
    """Say that a person has looked: the candidate may take it over again."""
    from backstay.cli.ip.moving import rearm_report

    site = _site(way, estate, name, lb)
    tell(asyncio.run(rearm_report(site, name, lb, actor(), reason, false_alarm=false_alarm)), output)


@ip.command()
@with_way
def freeze(
    name: IpArgument,
    reason: ReasonOption,
    duration: Annotated[str | None, typer.Option("--for", metavar="DURATION", help="How long: 30m, 2h, 1d.")] = None,
    end: Annotated[bool, typer.Option("--end", help="End a freeze.")] = False,
    estate: EstateOption = DEFAULT_ESTATE,
    output: Output = Format.TABLE,
    *,
    way: Way,
) -> None:
    """No automatic takeover for a while, as for maintenance of the network."""
    from backstay.change import ChangeInvalid
    from backstay.change.durations import parse_duration
    from backstay.cli.ip.moving import freeze_report

    if (duration is None) is not end:
        fail("Say how long (--for 1h), or end a freeze (--end).", Exit.USAGE)
    try:
        for_s = parse_duration(duration) if duration is not None else 0
    except ChangeInvalid as error:
        fail(str(error), Exit.USAGE)
    tell(asyncio.run(freeze_report(_site(way, estate, name), name, float(for_s), actor(), reason)), output)


@ip.command("simulate")
def simulate_years(
    pair_years: Annotated[
        float, typer.Option("--pair-years", min=1, max=100_000, help="How long; worse plays half of it.")
    ] = 1000,
    seed: Annotated[int, typer.Option("--seed", help="The same seed, the same result.")] = 1,
    rate: Annotated[
        list[float] | None, typer.Option("--rate", help="false_takeovers_per_year; repeatable. Default: 0.01 to 1.")
    ] = None,
    pattern: Annotated[
        list[str] | None, typer.Option("--pattern", help="measured or worse; repeatable. Default: both.")
    ] = None,
    svg: Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="The trade-off as SVG.")] = None,
    output: Output = Format.TABLE,
) -> None:
    """How often the watcher would be wrong, and how fast it is right: years of its suspicion, simulated."""
    from backstay.cli.ip.simulate import RATES, simulate_report
    from backstay.failover.simulate import PATTERNS

    if unknown := set(pattern or ()) - PATTERNS.keys():
        fail(f"No pattern {', '.join(sorted(unknown))}. There are: {', '.join(PATTERNS)}.", Exit.USAGE)
    try:
        report, drawn = simulate_report(pattern or list(PATTERNS), rate or RATES, pair_years, seed)
    except ValueError as error:
        fail(str(error), Exit.USAGE)
    if svg is not None:
        try:
            svg.write_text(drawn, encoding="utf-8")
        except OSError as error:
            fail(f"{svg}: {error.strerror}. Give a file that can be written.")
    tell(report, output)


def _site(way: Way, estate: Path, name: str, lb: str | None = None) -> Site:
    """The estate, when it has the address, and `lb` among its candidates. Ends the command otherwise."""
    site = way.site(estate)
    ips = site.estate.global_ips
    if name not in ips:
        fail(f'"{name}" is no global IP of {site.name}. There are: {", ".join(ips) or "none"}.', Exit.USAGE)
    if lb is not None and lb not in ips[name].candidates:
        fail(f"{lb} is no candidate for {name}. Candidates: {', '.join(ips[name].candidates)}.", Exit.USAGE)
    return site
