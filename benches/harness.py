"""The frame of every bench: options, tables, ratios, goals, JSON, and the section of docs/benchmarks.md.

    def http(bench: Bench) -> None:                      # a case; `async def` works too
        "5,000 HTTP targets, a new connection each."     # shown above the case's table
        rounds = 2 if bench.short else 10
        bench.record("http", "backstay", probes_per_s=..., cpu_us_per_probe=...)
        bench.record("http", "aiohttp", probes_per_s=..., cpu_us_per_probe=...)
        ratio = bench.ratio("http", "probes_per_s", "backstay", "aiohttp")
        bench.check("http", "at least as fast as aiohttp", met=ratio >= 1.0, measured=f"{ratio:.2f}")

    if __name__ == "__main__":
        sys.exit(Bench("probe", "Probes a second", cases={"http": http}, libraries=("aiohttp",)).run())

Exit status: 0 every goal met, 2 usage, 3 a goal not met.
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import json
import math
import os
import platform
import re
import shlex
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent.parent / "docs" / "benchmarks.md"
DOCS_HEAD = """# Benchmarks

Each section is written by its bench (`./run bench NAME --docs`), with the command, the machine and the versions beside
the figures. Peers run in the same run on the same machine; the ratio is what to compare across machines.
"""

Value = float | int | str | None
Case = Callable[["Bench"], Awaitable[None] | None]


def quantile(values: Sequence[float], q: float) -> float:
    """The `q` quantile (0..1) of `values`, interpolated linearly between order statistics (Hyndman and Fan, type 7).

    Raises ValueError for no values, or a `q` outside 0..1.
    """
    if not values or not 0.0 <= q <= 1.0:
        raise ValueError(f"no quantile {q} of {len(values)} values: give at least one value, and 0 <= q <= 1")
    ordered = sorted(values)
    position = q * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What was measured of one subject (Backstay, or a peer) in one case. Units last in the names of figures."""

    case: str
    subject: str
    figures: Mapping[str, Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    case: str
    figure: str
    subject: str
    peer: str
    ratio: float | None  # subject / peer; None: the peer's figure is zero


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    case: str
    goal: str
    measured: str
    met: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What a reader needs to judge a case's figures."""

    case: str
    text: str


@dataclass(slots=True, kw_only=True)
class Result:
    """Everything that a run found; what `--json` writes."""

    bench: str
    command: str
    time: str  # ISO 8601, UTC
    short: bool
    machine: Mapping[str, Value]
    versions: dict[str, str]
    rows: list[Row] = field(default_factory=list)
    ratios: list[Ratio] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)


def _without_json(argv: Sequence[str]) -> list[str]:
    """The arguments that bear on the figures: where somebody keeps a copy does not, nor in which folder a file lies."""
    kept = [word for at, word in enumerate(argv) if "--json" not in (word, argv[at - 1] if at else "")]
    return [Path(word).name if word.startswith("/") else word for word in kept]


class Bench:
    """One bench: its cases, its options (`args`, `short`), and what it found (`result`)."""

    def __init__(
        self,
        name: str,
        title: str,
        *,
        cases: Mapping[str, Case],
        libraries: Sequence[str] = (),
        options: Callable[[argparse.ArgumentParser], None] | None = None,
        argv: Sequence[str] | None = None,
    ) -> None:
        """`libraries`: distributions whose versions matter. `options` adds arguments, found in `args` later."""
        self.name, self.title, self.cases = name, title, cases
        argv = sys.argv[1:] if argv is None else argv
        parser = argparse.ArgumentParser(prog=f"./run bench {name}", description=title)
        parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures, machine and versions")
        parser.add_argument("--short", action="store_true", help="under a minute: the same cases, fewer rounds")
        parser.add_argument("--only", action="append", choices=list(cases), metavar="CASE", help=", ".join(cases))
        parser.add_argument(
            "--docs",
            action="store_true",
            help=f"refresh the section in docs/{DOCS.name}; with --only: these cases of it",
        )
        if options:
            options(parser)
        self.args = parser.parse_args(argv)
        self.short: bool = self.args.short
        self._case = ""  # that is being measured
        self.result = Result(
            bench=name,
            command=shlex.join(["./run", "bench", name, *_without_json(argv)]),
            time=datetime.now(UTC).isoformat(timespec="seconds"),
            short=self.short,
            machine=machine(),
            versions={"python": platform.python_version(), **{lib: metadata.version(lib) for lib in libraries}},
        )

    def version(self, name: str, version: str) -> None:
        """Keep the version of an engine or a peer beside the figures."""
        self.result.versions[name] = version

    def note(self, text: str) -> None:
        """Keep a sentence that a reader needs to judge the case's figures (what was skipped, and why)."""
        self.result.notes.append(Note(case=self._case, text=text))
        progress(text)

    def record(self, case: str, subject: str, **figures: Value) -> None:
        """Keep what was measured of `subject`; recorded again, figures are added to the same row."""
        for position, row in enumerate(self.result.rows):
            if (row.case, row.subject) == (case, subject):
                self.result.rows[position] = Row(case=case, subject=subject, figures={**row.figures, **figures})
                break
        else:
            self.result.rows.append(Row(case=case, subject=subject, figures=figures))
        progress(f"{case}: {subject}: " + ", ".join(f"{name} {show(value)}" for name, value in figures.items()))

    def value(self, case: str, subject: str, figure: str) -> float:
        """A number recorded earlier. Raises KeyError when there is none."""
        for row in self.result.rows:
            if (row.case, row.subject) == (case, subject):
                return float(row.figures[figure])  # type: ignore[arg-type]  # text raises, as it should
        raise KeyError(f"{case}: nothing recorded for {subject}")

    def ratio(self, case: str, figure: str, subject: str, peer: str) -> float:
        """`figure` of `subject` over that of `peer`; infinite when the peer's is zero (1 when both are)."""
        mine, theirs = self.value(case, subject, figure), self.value(case, peer, figure)
        ratio = 1.0 if mine == theirs else mine / theirs if theirs else math.inf
        kept = None if math.isinf(ratio) else ratio  # JSON knows no infinity
        self.result.ratios.append(Ratio(case=case, figure=figure, subject=subject, peer=peer, ratio=kept))
        return ratio

    def check(self, case: str, goal: str, *, met: bool, measured: Value) -> None:
        """Hold a figure against its goal; printed as met or not met, and the exit status."""
        self.result.checks.append(Check(case=case, goal=goal, measured=show(measured), met=met))

    def run(self) -> int:
        """Run the chosen cases, then print, write and judge. Returns the exit status."""
        for case, measure in self.cases.items():
            if self.args.only and case not in self.args.only:
                continue
            progress(f"{self.name}: {case} ...")
            self._case = case
            outcome = measure(self)
            if inspect.iscoroutine(outcome):
                asyncio.run(outcome)
        parts = parts_of(self.result, self.cases)
        print(section(self.name, self.title, parts))
        if self.args.json:
            self.args.json.write_text(json.dumps(asdict(self.result), indent=2) + "\n")
        if self.args.docs:
            DOCS.parent.mkdir(exist_ok=True)
            before = DOCS.read_text() if DOCS.exists() else DOCS_HEAD
            kept = {case: text for case, text in parts_in(before, self.name).items() if case in self.cases}
            merged = {case: {**kept, **parts}[case] for case in self.cases if case in kept or case in parts}
            DOCS.write_text(replace_section(before, self.name, section(self.name, self.title, merged)))
        return 0 if all(check.met for check in self.result.checks) else 3


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def machine() -> dict[str, Value]:
    """CPU model, cores that this process may use, memory, kernel."""
    cpu = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = [int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")]
    return {
        "cpu": cpu[0] if cpu else platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory[0] / 2**20, 1) if memory else None,
        "kernel": platform.release(),
        "load_1min": round(os.getloadavg()[0], 2),
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def show(value: Value) -> str:
    """A figure for people: three significant digits, never a bare exponent."""
    if value is None:
        return "-"
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else value
    if value != value or math.isinf(value):
        return str(value)
    digits = 0 if value == 0 else max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """An aligned Markdown table; columns in the order in which they first appear."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [columns, *([show(row.get(column)) for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def parts_of(result: Result, cases: Mapping[str, Case]) -> dict[str, str]:
    """Case -> what was found, as Markdown: the same text on the terminal and in docs/benchmarks.md."""
    machine_line = ", ".join(f"{name} {show(value)}" for name, value in result.machine.items())
    versions = ", ".join(f"{name} {version}" for name, version in sorted(result.versions.items()))
    parts: dict[str, str] = {}
    for case, measure in cases.items():
        rows = [{"subject": row.subject, **row.figures} for row in result.rows if row.case == case]
        ratios = [
            {"ratio": r.figure, "subject": r.subject, "to": r.peer, "is": r.ratio}
            for r in result.ratios
            if r.case == case
        ]
        checks = [
            {"goal": c.goal, "measured": c.measured, "verdict": "met" if c.met else "NOT MET"}
            for c in result.checks
            if c.case == case
        ]
        notes = "\n".join(f"- {note.text}" for note in result.notes if note.case == case)
        tables = [table(found) for found in (rows, ratios, checks) if found]
        if not tables and not notes:
            continue
        again = f"./run bench {result.bench} --only {case}" if len(cases) > 1 else f"./run bench {result.bench}"
        parts[case] = "\n\n".join([
            f"### {case}",
            f"{inspect.getdoc(measure) or ''}\\\n`{again}`; these figures: `{result.command}`"
            f"{' (short: indicative only)' if result.short else ''}, {result.time}\\\n"
            f"Machine: {machine_line}\\\nVersions: {versions}",
            *tables,
            *([notes] if notes else []),
        ])  # fmt: skip
    return parts


def section(name: str, title: str, parts: Mapping[str, str]) -> str:
    """The section of bench `name`."""
    return "\n\n".join([f"## {name}: {title}", *parts.values()]) + "\n"


def parts_in(document: str, name: str) -> dict[str, str]:
    """Case -> what `document` has of it, as `parts_of` made it."""
    begin, end = _marks(name)
    inside = document.partition(begin)[2].partition(end)[0]
    found = re.split(r"(?m)^### ", inside)[1:]
    return {one.partition("\n")[0].strip(): f"### {one.strip()}" for one in found}


def replace_section(document: str, name: str, text: str) -> str:
    """`document` with the section of bench `name` replaced, or added at its end. Idempotent."""
    begin, end = _marks(name)
    marked = begin + text.rstrip("\n") + "\n" + end
    if begin not in document:
        return document.rstrip("\n") + "\n\n" + marked
    before, _, rest = document.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"docs/{DOCS.name}: {begin.strip()} has no {end.strip()}: put it back, or remove the first")
    return before + marked + after


def _marks(name: str) -> tuple[str, str]:
    return f"<!-- bench {name} -->\n", f"<!-- /bench {name} -->\n"
