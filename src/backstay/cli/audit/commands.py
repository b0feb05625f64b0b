"""`backstay audit facts diff | compare | explain | example`: what is typed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backstay.cli.audit.desks import Asked, EstateFile, SinceOption, StateOption, ask, need, store_desk, time_back
from backstay.cli.options import load_or_fail
from backstay.cli.output import Exit, Format, Output, fail, note
from backstay.cli.report import tell
from backstay.cli.served.way import Way, with_way

if TYPE_CHECKING:
    from backstay.audit.desk.answers import Answer

audit = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Who differs among nodes that ought to be alike, and why."
)
facts = typer.Typer(no_args_is_help=True, help="Facts of nodes: diff.")
audit.add_typer(facts, name="facts")

ClusterArgument = Annotated[
    str, typer.Argument(metavar="CLUSTER", help="A cluster of the estate; from files alone: any name for the nodes.")
]
FactsOption = Annotated[
    Path | None,
    typer.Option(
        "--facts",
        metavar="FILE",
        help="From files alone: JSON lines, JSON, YAML (.gz too), or a folder of facter JSON.",
    ),
]
IndicatorsOption = Annotated[
    Path | None,
    typer.Option(
        "--indicators", metavar="FILE", help="From files alone: CSV (.gz too) or Parquet: time, node, and indicators."
    ),
]
NodesOption = Annotated[
    str,
    typer.Option("--nodes", metavar="A,B,...", help="Files: only these nodes. Default: the estate's, or all there."),
]
WorkOption = Annotated[
    str | None,
    typer.Option("--work", metavar="INDICATOR", help="Files: the unit of work to divide by. Default: the estate's."),
]
CounterOption = Annotated[
    list[str] | None,
    typer.Option("--counter", metavar="INDICATOR", help="It only grows; those named ..._total are known. Repeatable."),
]


@facts.command("diff")
@with_way
def diff(
    cluster: ClusterArgument,
    way: Way,
    facts_file: FactsOption = None,
    estate: EstateFile = None,
    state: StateOption = None,
    nodes: NodesOption = "",
    everything: Annotated[bool, typer.Option("--all", help="Noise too, and every fact.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """The facts that differ, grouped by how they split the nodes. Exit code 3: some differ that are no noise."""
    from backstay.cli.audit.looking import diff_report

    asking = _asking(way, estate, state, facts=facts_file, nodes=nodes)
    tell(diff_report(asking(lambda asked: asked.facts_diff(cluster)), output, everything=everything), output)


@audit.command()
@with_way
def compare(  # noqa: PLR0913, PLR0917 - a parameter is a flag
    cluster: ClusterArgument,
    way: Way,
    indicators: IndicatorsOption = None,
    facts_file: FactsOption = None,
    since: SinceOption = "7d",
    work: WorkOption = None,
    counter: CounterOption = None,
    estate: EstateFile = None,
    state: StateOption = None,
    nodes: NodesOption = "",
    output: Output = Format.TABLE,
) -> None:
    """Who differs from its peers, in each indicator, and with facts what fits best. Exit code 3: somebody does."""
    from backstay.cli.audit.looking import compare_report

    if facts_file is not None and indicators is None:
        fail("--facts without --indicators: give both files, or neither to read the store.", Exit.USAGE)
    back = time_back(since)
    asking = _asking(
        way, estate, state, facts=facts_file, indicators=indicators, nodes=nodes, work=work, counters=counter
    )
    tell(compare_report(asking(lambda asked: asked.compare(cluster, back))), output)


@audit.command()
@with_way
def explain(  # noqa: PLR0913, PLR0917 - a parameter is a flag
    cluster: ClusterArgument,
    indicator: Annotated[str, typer.Argument(metavar="INDICATOR", help="What to explain: load, drops, ...")],
    way: Way,
    facts_file: FactsOption = None,
    indicators: IndicatorsOption = None,
    since: SinceOption = "7d",
    work: WorkOption = None,
    counter: CounterOption = None,
    estate: EstateFile = None,
    state: StateOption = None,
    nodes: NodesOption = "",
    markdown: Annotated[Path | None, typer.Option("--markdown", metavar="FILE", help="Also as Markdown.")] = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Also as one page of HTML.")] = None,
    output: Output = Format.TABLE,
) -> None:
    """Which fact explains a difference, how sure that is, and what would settle it. Exit code 3: there is one."""
    from backstay.cli.audit.looking import explain_report, write_page

    if (facts_file is None) is not (indicators is None):
        fail("--facts and --indicators go together: give both files, or neither to read the store.", Exit.USAGE)
    back = time_back(since)
    asking = _asking(
        way, estate, state, facts=facts_file, indicators=indicators, nodes=nodes, work=work, counters=counter
    )
    answer = asking(lambda asked: asked.explain(cluster, indicator, back))
    for path, form in ((markdown, "markdown"), (html, "html")):
        problem = write_page(path, answer[form]) if path else None
        if problem:
            fail(problem)
    tell(explain_report(answer, output), output)


@audit.command()
def example(folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to; it is made.")]) -> None:
    """Write a small made-up cluster to try the audit on: facts.jsonl and indicators.csv."""
    need("numpy", "scipy")
    from backstay.cli.audit.example import facts_lines, indicator_lines

    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, lines in (("facts.jsonl", facts_lines()), ("indicators.csv", indicator_lines())):
            with (folder / name).open("x", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in lines)
    except OSError as error:
        fail(f"{error.filename}: not written: {error.strerror}. Name a new folder.")
    given = f"--facts {folder}/facts.jsonl --indicators {folder}/indicators.csv --work messages"
    note(f"Written. Try: backstay audit explain queue load {given}")


def _asking(
    way: Way,
    estate: Path | None,
    state: Path | None,
    *,
    facts: Path | None,
    indicators: Path | None = None,
    nodes: str = "",
    work: str | None = None,
    counters: list[str] | None = None,
) -> Callable[[Callable[[Asked], Awaitable[Answer]]], Answer]:
    """How to ask the desk of the files that are named; where none is, the server's or that of the store."""
    names = tuple(dict.fromkeys(name.strip() for name in nodes.split(",") if name.strip()))
    if facts is None and indicators is None:
        for flag, given in (("--nodes", names), ("--work", work), ("--counter", counters)):
            if given:
                fail(f"{flag} is for files. Of the store the estate says it (clusters.*.members, .work).", Exit.USAGE)
        at = way.server()
        if at is not None:
            from backstay.cli.served.audit import ask_served

            return lambda question: ask_served(at, question)
        need("duckdb", "numpy", "scipy")
        return lambda question: ask(lambda: store_desk(estate, state), question)
    need("duckdb", "numpy", "scipy")
    from backstay.audit.desk import FileDesk

    desk = FileDesk(
        now=datetime.now(UTC),
        facts=facts,
        indicators=indicators,
        estate=load_or_fail(estate).estate if estate else None,
        nodes=names,
        work=work,
        counters=tuple(counters or ()),
    )
    return lambda question: ask(lambda: desk, question)
