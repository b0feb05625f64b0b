"""`backstay audit fix register | verify | list`: a planned change, what is expected of it, and what came."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeVar

import typer

from backstay.audit.planned import Planned
from backstay.cli.audit.collecting import journal_of
from backstay.cli.audit.commands import ClusterArgument, FactsOption, IndicatorsOption, WorkOption, audit
from backstay.cli.audit.desks import EstateFile, StateOption, ask, need, store_desk, time_back
from backstay.cli.audit.looking import PAGES, write_page
from backstay.cli.journal import UrlOption
from backstay.cli.options import load_or_fail
from backstay.cli.output import Exit, Format, Output, actor, fail
from backstay.cli.report import Report, tell
from backstay.cli.served.way import Way, with_way

if TYPE_CHECKING:
    from backstay.audit.desk.answers import Answer

T = TypeVar("T")
fix = typer.Typer(no_args_is_help=True, help="Planned changes, what is expected of them, and what came.")
audit.add_typer(fix, name="fix")

FixesOption = Annotated[
    Path | None,
    typer.Option("--fixes", metavar="FILE", help="From files alone: where fixes are kept; it is made."),
]
FAILED = ("not confirmed", "contradicted", "reopened")
PEERS = ("peers", "equal to peers")


class FixDesk(Protocol):
    """What both desks answer: that of files, and that of a store."""

    async def register(self, planned: Planned) -> Answer: ...
    async def verify(self, fix_id: str, *, actor: str) -> Answer: ...
    async def fixes(self) -> list[Answer]: ...
    async def close(self) -> None: ...


@fix.command()
@with_way
def register(  # noqa: PLR0913, PLR0917 - a parameter is a flag
    cluster: ClusterArgument,
    indicator: Annotated[str, typer.Argument(metavar="INDICATOR", help="What is to get better: load, drops, ...")],
    fact: Annotated[str, typer.Option("--fact", metavar="FACT", help='What will be changed: "cpu.model name".')],
    nodes: Annotated[str, typer.Option("--nodes", metavar="A,B,...", help="On which nodes; one must stay as it is.")],
    expect: Annotated[
        str,
        typer.Option(
            "--expect", metavar="CHANGE", help='-30% of the indicator per unit of work; or "peers": as good as they.'
        ),
    ],
    by: Annotated[str, typer.Option("--by", metavar="TIME", help="When it will be done: 2026-12-01, or 14d from now.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; it goes to the journal.")],
    way: Way,
    to: Annotated[
        str | None, typer.Option("--to", metavar="VALUE", help="The value it will have. Default: any other.")
    ] = None,
    facts_file: FactsOption = None,
    indicators: IndicatorsOption = None,
    fixes: FixesOption = None,
    told: Annotated[
        str | None, typer.Option("--told", metavar="TIME", help="From files alone: when it was told. Default: now.")
    ] = None,
    work: WorkOption = None,
    estate: EstateFile = None,
    state: StateOption = None,
    database_url: UrlOption = None,
    output: Output = Format.TABLE,
) -> None:
    """Tell beforehand what will be changed, where, and what is expected. The same again is the one that is there."""
    files = _Files(facts=facts_file, indicators=indicators, fixes=fixes, work=work)
    files.check()
    if told is not None and fixes is None:
        fail("--told is for files: a store's journal has its own clock.", Exit.USAGE)
    now = datetime.now(UTC)
    told_at = when(told, now) if told is not None else now
    expected, until = change_of(expect), when(by, told_at)
    planned = Planned(
        cluster=cluster,
        indicator=indicator,
        fact=fact,
        nodes=tuple(name.strip() for name in nodes.split(",") if name.strip()),
        value=to,
        expected=expected,
        by=until,
        reason=reason,
        actor=actor(),
    )
    with ExitStack() as stack:
        answer = _ask(
            way,
            files,
            estate,
            state,
            lambda desk: desk.register(planned),
            told=told_at,
            journal=(stack, database_url),
        )
    words = f"{answer['id']}: registered. When it is done: backstay audit fix verify {answer['id']}"
    tell(Report(data=words if output is Format.TABLE else answer), output)


@fix.command()
@with_way
def verify(  # noqa: PLR0913, PLR0917 - a parameter is a flag
    fix_id: Annotated[str, typer.Argument(metavar="FIX", help="As `fix register` and `fix list` name it.")],
    way: Way,
    facts_file: FactsOption = None,
    indicators: IndicatorsOption = None,
    fixes: FixesOption = None,
    work: WorkOption = None,
    estate: EstateFile = None,
    state: StateOption = None,
    database_url: UrlOption = None,
    markdown: Annotated[Path | None, typer.Option("--markdown", metavar="FILE", help="Also as Markdown.")] = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Also as one page of HTML.")] = None,
    output: Output = Format.TABLE,
) -> None:
    """Did it do what was expected? Exit code 3: it did not, or its effect went."""
    files = _Files(facts=facts_file, indicators=indicators, fixes=fixes, work=work)
    files.check()
    with ExitStack() as stack:
        answer = _ask(
            way,
            files,
            estate,
            state,
            lambda desk: desk.verify(fix_id, actor=actor()),
            journal=(stack, database_url),
        )
    for path, form in ((markdown, "markdown"), (html, "html")):
        problem = write_page(path, answer[form]) if path else None
        if problem:
            fail(problem)
    data: Any = answer["text"]
    if output is not Format.TABLE:
        data = {key: value for key, value in answer.items() if key not in PAGES}
    code = Exit.FINDINGS if answer["outcome"] in FAILED else Exit.DONE
    tell(Report(data=data, notes=answer["problems"], code=code), output)


@fix.command("list")
@with_way
def list_fixes(
    way: Way,
    fixes: FixesOption = None,
    estate: EstateFile = None,
    state: StateOption = None,
    output: Output = Format.TABLE,
) -> None:
    """Every fix, the newest first, and where it stands."""
    found = _ask(way, _Files(fixes=fixes), estate, state, lambda desk: desk.fixes())
    tell(Report(data=found, rows=[_row(one) for one in found]), output)


def change_of(words: str) -> float | None:
    """ "-30%" -> -0.3; "peers" -> None. Ends the command for what is neither."""
    if words.strip().lower() in PEERS:
        return None
    found = re.fullmatch(r"([+-]?\d{1,4}(?:\.\d{1,3})?) ?%", words.strip(), re.ASCII)
    if found is None:
        fail(f'--expect "{words[:40]}": write -30%, +5%, or peers for as good as the unchanged nodes.', Exit.USAGE)
    return float(found[1]) / 100.0


def when(words: str, now: datetime) -> datetime:
    """A day (its end), a time, or so long from `now`. Ends the command for what is none."""
    if re.fullmatch(r"\d{1,5}[mhdwy]", words.strip().lower(), re.ASCII):
        return now + time_back(words)
    try:
        found = datetime.fromisoformat(words.strip())
    except ValueError:
        fail(f'"{words[:40]}" is no time. Write 2026-12-01, 2026-12-01T18:00Z or 14d.', Exit.USAGE)
    if re.fullmatch(r"\d{4}-?\d{2}-?\d{2}", words.strip()):
        found = datetime.combine(found.date(), time(0), UTC) + timedelta(days=1)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Files:
    """The files that were named; with none of them the store is asked."""

    fixes: Path | None
    facts: Path | None = None
    indicators: Path | None = None
    work: str | None = None

    def check(self) -> None:
        given = [one is not None for one in (self.facts, self.indicators, self.fixes)]
        if any(given) and not all(given):
            fail("--facts, --indicators and --fixes go together: give all three, or none for the store.", Exit.USAGE)
        if not any(given) and self.work:
            fail("--work is for files. Of the store the estate says it (clusters.*.work).", Exit.USAGE)


def _ask(
    way: Way,
    files: _Files,
    estate: Path | None,
    state: Path | None,
    question: Callable[[FixDesk], Awaitable[T]],
    *,
    told: datetime | None = None,
    journal: tuple[ExitStack, str | None] | None = None,
) -> T:
    """The answer of the files that were named; with none, of the server or of the estate's store, whose events go to
    the journal."""
    at = way.server() if files.fixes is None else None
    if at is not None:
        from backstay.cli.served.audit import ask_served

        return ask_served(at, question)
    need("duckdb", "numpy", "scipy")
    if files.fixes is None:
        record = journal_of(*journal) if journal is not None else None
        return ask(lambda: store_desk(estate, state, record=record), question)
    fixes_file, now = files.fixes, datetime.now(UTC)

    def opened() -> FixDesk:
        from backstay.audit.desk.filed import FileDesk
        from backstay.audit.desk.fixfiles import FileFixes

        desk = FileDesk(
            now=now,
            facts=files.facts,
            indicators=files.indicators,
            estate=load_or_fail(estate).estate if estate else None,
            work=files.work,
        )
        return FileFixes(desk, fixes_file, told or now)

    return ask(opened, question)


def _row(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "fix": found["id"],
        "fact": found["fact"],
        "on": ", ".join(found["nodes"]),
        "registered": found["registered"][:16],
        "by": found["by"][:16],
        "outcome": found["outcome"],
        "sentence": found["sentence"],
    }
