"""Sources -> store: all of them at once, each within its time. What one could not do is told, and stops nobody."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from backstay.audit.desk.filling.sources import Opened
from backstay.audit.model import FactChange, FactReport, Series
from backstay.audit.ports import FactSource, IndicatorSource, SourceError
from backstay.audit.sources.merge import failed, merge
from backstay.audit.sources.reports import NEEDS_ROOT
from backstay.audit.store import AuditStore

Answer = dict[str, Any]
T = TypeVar("T")
STORE_TIMEOUT_S = 60.0
GRACE_S = 5.0  # a source ends by its timeout itself; one that does not is ended after this
CATCH_UP = timedelta(hours=6)  # how far back a source is asked when it was not asked for long
SAMPLES_AT_ONCE = 10_000_000  # asked of one source: bounds memory
INDICATORS_USUAL = 20  # of a node, to reckon with
SLICE_SHORTEST, SLICE_LONGEST = timedelta(hours=6), timedelta(days=28)
OVERLAP_STEPS = 2  # samples that came late are asked for again; doubled ones count once
MARKS = "collected"  # kind of the records: source -> the last sample that it gave


@dataclass
class Read:
    """What one source did."""

    source: str
    seconds: float = 0.0
    problem: str = ""
    nodes: int = 0
    series: int = 0
    samples: int = 0
    notes: list[str] = field(default_factory=list)  # nodes and things that did not answer; the rest was read
    mended: list[str] = field(default_factory=list)  # samples that were left out or put right


async def collect_facts(
    sources: Sequence[Opened[FactSource]],
    nodes: Sequence[str],
    store: AuditStore,
    *,
    now: datetime,
    timeout_s: float,
) -> tuple[Answer, list[FactChange], list[str]]:
    """Read `nodes` by every source, merge, keep. The answer as Desk.collect's "facts"; what changed; problems.

    Raises StoreError.
    """
    reads = [Read(source=one.label, problem=one.problem) for one in sources]
    found = await asyncio.gather(
        *(_facts_of(one, read, nodes, now, timeout_s) for one, read in zip(sources, reads, strict=True))
    )
    reports = [merged.report for merged in merge(found)]
    changes = list(await store.facts.add(reports, timeout_s=STORE_TIMEOUT_S)) if reports else []
    unreadable = [{"node": one.node, "problem": _named(one.node, one.problem)} for one in reports if one.problem]
    answer: Answer = {
        "sources": [_told(read, "nodes") for read in reads],
        "read": sum(not report.problem for report in reports),
        "half": _half(reports),
        "unreadable": unreadable,
        "changed": len(changes),
    }
    whole = [f"{read.source}: {read.problem}" for read in reads if read.problem]
    told = [] if len(whole) == len(reads) else [one["problem"] for one in unreadable]  # nobody read: said once
    return answer, changes, [*whole, *told, *(store.facts.problems if reports else ())]


async def _facts_of(
    opened: Opened[FactSource], read: Read, nodes: Sequence[str], now: datetime, timeout_s: float
) -> Sequence[FactReport]:
    reports = None
    if opened.source is not None:
        reports = await _within(read, opened.source.read(nodes, timeout_s=timeout_s), timeout_s)
    if reports is None:
        # Without a word from it, its facts would look as if they were gone.
        name = opened.source.name if opened.source is not None else opened.kind
        return failed(name, nodes, read.problem, now)
    read.nodes = sum(bool(report.values) for report in reports)
    return reports


async def _within(read: Read, asked: Awaitable[T], timeout_s: float) -> T | None:
    """The answer of one source, None where it has none; `read` says why."""
    begun = time.monotonic()
    try:
        async with asyncio.timeout(timeout_s + GRACE_S):
            return await asked
    except SourceError as error:
        read.problem = str(error)
    except TimeoutError:
        read.problem = f"no answer within {timeout_s:g} s. Is it up? Give it more time (--timeout)."
    except Exception as error:  # a source may be another package's: its fault is its own
        read.problem = f"failed: {type(error).__name__}: {str(error)[:200]}. Tell who maintains it."
    finally:
        read.seconds += time.monotonic() - begun
    return None


def _half(reports: Sequence[FactReport]) -> list[Answer]:
    """Nodes of which some facts could not be read."""
    return [
        {
            "node": report.node,
            "unread": dict(report.unread),
            "without_root": any(NEEDS_ROOT in why for why in report.unread.values()),
        }
        for report in reports
        if report.unread and report.values
    ]


def _named(node: str, problem: str) -> str:
    return problem if problem.startswith(node) else f"{node}: {problem}"


async def collect_indicators(
    sources: Sequence[Opened[IndicatorSource]],
    nodes: Sequence[str],
    store: AuditStore,
    *,
    now: datetime,
    step_s: float,
    since: timedelta | None,
    timeout_s: float,
) -> tuple[Answer, list[str]]:
    """Read what every source measured since it was last asked, and keep it. As Desk.collect's "indicators"; problems.

    Raises StoreError.
    """
    marks = await store.records.all(MARKS, timeout_s=STORE_TIMEOUT_S)
    reads = [Read(source=one.label, problem=one.problem) for one in sources]
    at_once = _slice(len(nodes), step_s)
    turn = asyncio.Lock()  # the store has one writer
    new = 0

    async def one(opened: Opened[IndicatorSource], read: Read) -> None:
        nonlocal new
        source = opened.source
        if source is None:
            return
        start = _start(marks.get(opened.label), now, step_s, since)
        while start < now and not read.problem:
            end = min(start + at_once, now)
            asked = source.read(nodes, start=start, end=end, step_s=step_s, timeout_s=timeout_s)
            series = await _within(read, asked, timeout_s) or ()
            # It may be another package's: without the list, there is nothing to tell.
            read.notes += [note for note in getattr(source, "problems", ()) if note not in read.notes]
            read.series = max(read.series, len(series))
            read.samples += sum(len(one.times_s) for one in series)
            async with turn:
                new += await store.indicators.add(series, timeout_s=STORE_TIMEOUT_S) if series else 0
                read.mended += [note for note in store.indicators.problems if series and note not in read.mended]
                await _mark(store, opened.label, series)
            if _forgets(series, end):
                break
            start = end

    ended = await asyncio.gather(
        *(one(opened, read) for opened, read in zip(sources, reads, strict=True)), return_exceptions=True
    )
    for error in ended:  # all have come to their end: nobody writes behind our back
        if error is not None:
            raise error
    answer = {
        "sources": [_told(read, "series", "samples") for read in reads],
        "new": new,
        "mended": [f"{read.source}: {note}" for read in reads for note in read.mended],
    }
    problems = [f"{read.source}: {said}" for read in reads for said in (read.problem, *read.notes) if said]
    return answer, problems


def _start(mark: Any, now: datetime, step_s: float, since: timedelta | None) -> datetime:
    """From when on a source is asked: what `since` says, else its last sample, but not further back than CATCH_UP."""
    if since is not None:
        return now - since
    if mark is None:
        return now - CATCH_UP
    last = datetime.fromisoformat(mark["last"]) - OVERLAP_STEPS * timedelta(seconds=step_s)
    return max(min(last, now), now - CATCH_UP)


def _slice(nodes: int, step_s: float) -> timedelta:
    """How long a time is asked for at once."""
    fits = timedelta(seconds=SAMPLES_AT_ONCE * step_s / (nodes * INDICATORS_USUAL))
    return min(max(fits, SLICE_SHORTEST), SLICE_LONGEST)


async def _mark(store: AuditStore, label: str, series: Sequence[Series]) -> None:
    last_s = max((float(one.times_s.max()) for one in series if len(one.times_s)), default=None)
    if last_s is not None:
        last = datetime.fromtimestamp(last_s, UTC)
        await store.records.put(MARKS, label, {"last": last.isoformat()}, timeout_s=STORE_TIMEOUT_S)


def _forgets(series: Sequence[Series], end: datetime) -> bool:
    """Did the source give what is now, whatever was asked? Then earlier times need not be asked for."""
    firsts = [float(one.times_s.min()) for one in series if len(one.times_s)]
    return bool(firsts) and min(firsts) >= end.timestamp()


def _told(read: Read, *figures: str) -> Answer:
    return {
        "source": read.source,
        **{figure: getattr(read, figure) for figure in figures},
        "seconds": round(read.seconds, 3),
        "problem": read.problem or None,
    }
