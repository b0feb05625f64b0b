"""`backstay audit facts diff | compare | explain | example`: what is typed."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backstay.cli.options import load_or_fail
from backstay.cli.output import Exit, Format, Output, fail, note
from backstay.cli.report import tell

if TYPE_CHECKING:
    from backstay.cli.audit.files import Chosen

audit = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Who differs among nodes that ought to be alike, and why."
)
facts = typer.Typer(no_args_is_help=True, help="Facts of nodes: diff.")
audit.add_typer(facts, name="facts")

ClusterArgument = Annotated[
    str, typer.Argument(metavar="CLUSTER", help="A cluster of the estate; without --estate: any name for the nodes.")
]
FactsOption = Annotated[
    Path, typer.Option("--facts", metavar="FILE", help="JSON lines, JSON, YAML (.gz too), or a folder of facter JSON.")
]
IndicatorsOption = Annotated[
    Path, typer.Option("--indicators", metavar="FILE", help="CSV (.gz too) or Parquet: time, node, and indicators.")
]
EstateFile = Annotated[
    Path | None,
    typer.Option("-e", "--estate", envvar="BACKSTAY_ESTATE", metavar="FILE", help="Whose clusters. Default: none."),
]
NodesOption = Annotated[
    str,
    typer.Option("--nodes", metavar="A,B,...", help="Only these nodes. Default: the estate's, or all in the files."),
]
WorkOption = Annotated[
    str | None,
    typer.Option("--work", metavar="INDICATOR", help="The unit of work to divide by. Default: what the estate says."),
]
SinceOption = Annotated[
    str, typer.Option("--since", metavar="TIME", help="How much to look at, up to the last sample: 6h, 7d, 4w, 1y.")
]
CounterOption = Annotated[
    list[str] | None,
    typer.Option("--counter", metavar="INDICATOR", help="It only grows; those named ..._total are known. Repeatable."),
]


@facts.command("diff")
def diff(
    cluster: ClusterArgument,
    facts_file: FactsOption,
    estate: EstateFile = None,
    nodes: NodesOption = "",
    everything: Annotated[bool, typer.Option("--all", help="Noise too, and every fact.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """The facts that differ, grouped by how they split the nodes. Exit code 3: some differ that are no noise."""
    _need_libraries()
    from backstay.audit.ports import SourceError
    from backstay.cli.audit.files import NotSo, facts_of
    from backstay.cli.audit.looking import diff_report

    try:
        history = facts_of(facts_file, datetime.now(UTC))
        report = diff_report(history, _chosen(cluster, estate, nodes), output, everything=everything)
    except (SourceError, NotSo) as error:
        fail(str(error))
    tell(report, output)


@audit.command()
def compare(  # noqa: PLR0913, PLR0917 - a parameter is a flag
    cluster: ClusterArgument,
    indicators: IndicatorsOption,
    facts_file: Annotated[
        Path | None, typer.Option("--facts", metavar="FILE", help="With facts: which of them fit best, too.")
    ] = None,
    since: SinceOption = "7d",
    work: WorkOption = None,
    counter: CounterOption = None,
    estate: EstateFile = None,
    nodes: NodesOption = "",
    output: Output = Format.TABLE,
) -> None:
    """Who differs from its peers, in each indicator. Exit code 3: somebody does."""
    _need_libraries()
    from backstay.audit.ports import SourceError
    from backstay.cli.audit.files import NotSo, facts_of, measure, parse_since
    from backstay.cli.audit.looking import compare_report

    now = datetime.now(UTC)
    try:
        chosen = _chosen(cluster, estate, nodes, work)
        history = facts_of(facts_file, now) if facts_file else None
        measured = measure(indicators, chosen, since=parse_since(since), counters=counter or (), now=now)
        report = compare_report(measured, history, chosen)
    except (SourceError, NotSo) as error:
        fail(str(error))
    tell(report, output)


@audit.command()
def explain(  # noqa: PLR0913, PLR0917 - a parameter is a flag
    cluster: ClusterArgument,
    indicator: Annotated[str, typer.Argument(metavar="INDICATOR", help="What to explain: load, drops, ...")],
    facts_file: FactsOption,
    indicators: IndicatorsOption,
    since: SinceOption = "7d",
    work: WorkOption = None,
    counter: CounterOption = None,
    estate: EstateFile = None,
    nodes: NodesOption = "",
    markdown: Annotated[Path | None, typer.Option("--markdown", metavar="FILE", help="Also as Markdown.")] = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Also as one page of HTML.")] = None,
    output: Output = Format.TABLE,
) -> None:
    """Which fact explains a difference, how sure that is, and what would settle it. Exit code 3: there is one."""
    _need_libraries()
    from backstay.audit.ports import SourceError
    from backstay.cli.audit.files import NotSo, facts_of, measure, parse_since
    from backstay.cli.audit.looking import explain_report, write_page

    now = datetime.now(UTC)
    try:
        chosen = _chosen(cluster, estate, nodes, work)
        history = facts_of(facts_file, now)
        measured = measure(
            indicators, chosen, since=parse_since(since), counters=counter or (), now=now, more=history.table.nodes
        )
        report, pages = explain_report(measured, indicator, history, chosen, output)
    except (SourceError, NotSo) as error:
        fail(str(error))
    for path, form in ((markdown, "markdown"), (html, "html")):
        problem = write_page(path, pages[form]) if path else None
        if problem:
            fail(problem)
    tell(report, output)


@audit.command()
def example(folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to; it is made.")]) -> None:
    """Write a small made-up cluster to try the audit on: facts.jsonl and indicators.csv."""
    _need_libraries()
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


def _chosen(cluster: str, estate: Path | None, nodes: str, work: str | None = None) -> Chosen:
    from backstay.cli.audit.files import Chosen

    names = tuple(dict.fromkeys(name.strip() for name in nodes.split(",") if name.strip()))
    loaded = load_or_fail(estate) if estate else None
    return Chosen(cluster=cluster, nodes=names, estate=loaded.estate if loaded else None, work=work)


def _need_libraries() -> None:
    """numpy and scipy come with an extra: an agent needs neither."""
    from importlib.util import find_spec

    missing = [name for name in ("numpy", "scipy") if find_spec(name) is None]
    if missing:
        fail(f'The audit needs {" and ".join(missing)}: pip install "backstay[audit]".', Exit.FAILED)
