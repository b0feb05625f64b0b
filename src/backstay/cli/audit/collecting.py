"""`backstay audit collect | import`: what the store is filled with. `collect` stands alone from cron."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backstay.cli.audit.commands import CounterOption, audit
from backstay.cli.audit.desks import LOCK_TIMEOUT_S, EstateFile, StateOption, ask_store, time_back
from backstay.cli.journal import UrlOption, default_url
from backstay.cli.output import Exit, Format, Output, fail
from backstay.cli.report import Report, tell
from backstay.cli.served.way import Way, with_way

if TYPE_CHECKING:
    from backstay.audit.desk.filling.noting import Record
    from backstay.journal import Event

NODES_LIMIT = 5  # named in a line of the summary
CHANGES_LIMIT = 20


@audit.command()
@with_way
def collect(  # noqa: PLR0913, PLR0917 - a parameter is a flag
    way: Way,
    facts: Annotated[bool, typer.Option("--facts", help="Facts alone. Default: facts and indicators.")] = False,
    indicators: Annotated[bool, typer.Option("--indicators", help="Indicators alone.")] = False,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="TIME",
            help="Ask sources with a memory so far back: 1d, 4w. Default: on from the last sample.",
        ),
    ] = None,
    timeout_s: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", min=1.0, max=3600.0, help="For each source.")
    ] = 60.0,
    wait_s: Annotated[
        float, typer.Option("--wait", metavar="SECONDS", min=0.0, max=3600.0, help="For whoever has the store now.")
    ] = LOCK_TIMEOUT_S,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Say what went wrong, else nothing: for cron.")] = False,
    estate: EstateFile = None,
    state: StateOption = None,
    database_url: UrlOption = None,
    output: Output = Format.TABLE,
) -> None:
    """Read facts and indicators from the estate's sources into the store. Exit code 3: some could not be read.

    With --server: the server reads everything now, and looks at it anew.
    """
    at = way.server()
    if at is not None:
        from backstay.cli.served.audit import ask_served

        if facts or indicators or since is not None:
            fail("--facts, --indicators and --since are for a store of this machine: the server reads all.", Exit.USAGE)
        answer = ask_served(at, lambda desk: desk.collect("asked for by the command line"))
        tell(collect_report(answer, output, quiet=quiet), output)
        return
    back = time_back(since) if since is not None else None
    both = facts is indicators
    with ExitStack() as stack:
        answer = ask_store(
            estate,
            state,
            lambda desk: desk.collect(facts or both, indicators or both, timeout_s=timeout_s, since=back),
            lock_timeout_s=wait_s,
            record=journal_of(stack, database_url),
        )
    tell(collect_report(answer, output, quiet=quiet), output)


@audit.command("import")
def bring_in(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Facts or indicators, as for --facts, ...")],
    counter: CounterOption = None,
    estate: EstateFile = None,
    state: StateOption = None,
    output: Output = Format.TABLE,
) -> None:
    """Bring files of facts and indicators into the store. What is in it already adds nothing."""

    def one(path: Path) -> dict[str, Any]:
        return ask_store(estate, state, lambda desk: desk.bring_in(path, counters=counter or ()))

    found = [one(path) for path in files]
    notes = [f"{told['file']}: {problem}" for told in found for problem in told["problems"]]
    rows = [{key: value for key, value in told.items() if key != "problems"} for told in found]
    tell(Report(data=found, rows=rows, notes=notes), output)


def collect_report(answer: dict[str, Any], output: Format, *, quiet: bool) -> Report:
    """A line each for facts, indicators and changes. Exit codes: 3 some, 1 nothing could be read."""
    read = _facts(answer["facts"]) + _indicators(answer["indicators"])
    lines = [*read, *_changes(answer["changes"])]
    kinds = [one for one in (answer["facts"], answer["indicators"]) if one is not None]
    sources = [source for one in kinds for source in one["sources"]]
    notes = list(answer["problems"])
    code = Exit.FINDINGS if notes else Exit.DONE
    if not sources:
        notes.append("The estate names no source: write audit.facts and audit.indicators (docs/audit.md).")
        code = Exit.FAILED
    elif all(source["problem"] for source in sources):
        code = Exit.FAILED
    if quiet:
        return Report(data=None, notes=notes, code=code)
    mended = answer["indicators"]["mended"] if answer["indicators"] is not None else []
    data: Any = answer if output is not Format.TABLE else "\n".join(lines)
    return Report(data=data, notes=[*notes, *mended], code=code)


def _facts(found: dict[str, Any] | None) -> list[str]:
    if found is None or not found["sources"]:
        return []
    half, unreadable = found["half"], found["unreadable"]
    line = f"facts: {found['read']} nodes read, {found['changed']} facts changed"
    rootless = [one["node"] for one in half if one["without_root"]]
    others = [one["node"] for one in half if not one["without_root"]]
    line += f"; without root, so half: {_some(rootless)}" if rootless else ""
    line += f"; half: {_some(others)}" if others else ""
    line += f"; not at all: {_some([one['node'] for one in unreadable])}" if unreadable else ""
    return [line]


def _indicators(found: dict[str, Any] | None) -> list[str]:
    if found is None or not found["sources"]:
        return []
    series = sum(source["series"] for source in found["sources"])
    return [f"indicators: {found['new']} new samples in {series} series"]


def _changes(changes: list[dict[str, Any]]) -> list[str]:
    lines = [
        f"changed: {one['node']}: {one['fact']}: {_short(one['before'])} -> {_short(one['after'])}"
        for one in changes[:CHANGES_LIMIT]
    ]
    more = len(changes) - len(lines)
    return [*lines, f"changed: and {more} more (-o json)"] if more else lines


def _some(names: list[str]) -> str:
    more = len(names) - NODES_LIMIT
    return ", ".join(names[:NODES_LIMIT]) + (f" and {more} more" if more > 0 else "")


def _short(value: str | None) -> str:
    from backstay.audit.report.story import short

    return short(value)


def journal_of(stack: ExitStack, url: str | None) -> Record:
    """Writes to the journal that `backstay journal` reads; it is opened for the first event."""

    def record(event: Event) -> None:
        from backstay.journal.store import JournalStore

        if not opened:
            opened.append(stack.enter_context(JournalStore.open(url or default_url())))
        opened[0].append(event)

    opened: list[Any] = []
    return record
