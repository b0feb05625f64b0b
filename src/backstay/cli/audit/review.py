"""`backstay audit review`: what gets slowly worse, what changed for good and when, and when a limit is reached."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backstay.cli.audit.commands import CounterOption, FactsOption, IndicatorsOption, NodesOption, WorkOption, audit
from backstay.cli.audit.desks import EstateFile, StateOption, ask, need, store_desk
from backstay.cli.audit.looking import PAGES, write_page
from backstay.cli.options import load_or_fail
from backstay.cli.output import Exit, Format, Output, fail
from backstay.cli.report import Report, tell
from backstay.cli.served.way import Way, with_way

if TYPE_CHECKING:
    from backstay.audit.desk.answers import Answer
    from backstay.audit.review import Week


@audit.command()
@with_way
def review(  # noqa: PLR0913, PLR0917 - a parameter is a flag
    way: Way,
    clusters: Annotated[
        list[str] | None, typer.Argument(metavar="CLUSTER", help="Only these. Default: all of the estate.")
    ] = None,
    week: Annotated[
        str | None,
        typer.Option(
            "--week", metavar="2026-W47", help="Which week, ISO 8601. Default: the last seven days there are."
        ),
    ] = None,
    facts_file: FactsOption = None,
    indicators: IndicatorsOption = None,
    work: WorkOption = None,
    counter: CounterOption = None,
    estate: EstateFile = None,
    state: StateOption = None,
    nodes: NodesOption = "",
    markdown: Annotated[Path | None, typer.Option("--markdown", metavar="FILE", help="Also as Markdown.")] = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Also as one page of HTML.")] = None,
    output: Output = Format.TABLE,
) -> None:
    """What gets slowly worse, what changed and when, when a limit is reached. Exit code 3: something moved."""
    need("numpy", "scipy")
    names, chosen = tuple(dict.fromkeys(clusters or ())), _week(week)
    if indicators is not None:
        answer = _of_files(
            names,
            chosen,
            facts=facts_file,
            indicators=indicators,
            nodes=nodes,
            work=work,
            counter=counter,
            estate=estate,
        )
    else:
        for flag, given in (("--facts", facts_file), ("--nodes", nodes), ("--work", work), ("--counter", counter)):
            if given:
                fail(
                    f"{flag} is for files: give --indicators FILE, too, or leave it out to read the store.", Exit.USAGE
                )
        answer = _kept(way, names, chosen, estate, state)
    for path, form in ((markdown, "markdown"), (html, "html")):
        problem = write_page(path, answer[form]) if path else None
        if problem:
            fail(problem)
    data: Any = answer["text"]
    if output is not Format.TABLE:
        data = {key: value for key, value in answer.items() if key not in PAGES}
    tell(Report(data=data, code=Exit.FINDINGS if answer["findings"] else Exit.DONE), output)


def _week(name: str | None) -> Week | None:
    from backstay.audit.review import Week

    try:
        return Week.of(name) if name is not None else None
    except ValueError as error:
        fail(f"--week: {error}", Exit.USAGE)


def _of_files(
    clusters: tuple[str, ...],
    week: Week | None,
    *,
    facts: Path | None,
    indicators: Path,
    nodes: str,
    work: str | None,
    counter: list[str] | None,
    estate: Path | None,
) -> Answer:
    from backstay.audit.desk import FileDesk
    from backstay.audit.desk.reviewing import review_files

    if estate is None and len(clusters) > 1:
        fail("Without --estate all nodes of the files are one cluster: name one, or none.", Exit.USAGE)
    desk = FileDesk(
        now=datetime.now(UTC),
        facts=facts,
        indicators=indicators,
        estate=load_or_fail(estate).estate if estate else None,
        nodes=tuple(dict.fromkeys(name.strip() for name in nodes.split(",") if name.strip())),
        work=work,
        counters=tuple(counter or ()),
    )
    return ask(lambda: desk, lambda asked: review_files(asked, week, clusters))


def _kept(way: Way, clusters: tuple[str, ...], week: Week | None, estate: Path | None, state: Path | None) -> Answer:
    """The answer of the server, or of the estate's store."""
    end = week.end if week else None
    at = way.server()
    if at is not None:
        from backstay.cli.served.audit import ask_served

        return ask_served(at, lambda asked: asked.review(end, clusters))
    need("duckdb")
    return ask(lambda: store_desk(estate, state), lambda asked: asked.review(end, clusters))
