"""One pass: collect, then renew what is due, each result kept as soon as it is there. Stops where the lease is lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

from backstay.estate import Estate
from backstay.journal import Event, format_time, parse_time
from backstay.server.audit.desk import DeskRefused
from backstay.server.audit.drawing import drawn
from backstay.server.audit.judge import again_after, announce, is_due, reviewed_before
from backstay.server.audit.model import GRADES, SPANS, TOLD_SPAN, Key, Kind, Plain, Result

COLLECT_S = 240.0  # of all sources; one of them has half of it
EXPLAIN_LIMIT = 12  # findings of a cluster and interval with a chart and a report; the rest stand in the comparison
PROBLEMS_LIMIT = 50
INDICATOR_LIMIT = 300  # characters of a name: tables.py
REPORT = ("series", "sections", "text", "markdown", "html")  # of a fix that was verified
REVIEW_AGAIN = timedelta(hours=6)  # a review is of the seven days up to it
NONE: Plain = {"grade": GRADES[0]}  # where no facts are known, nothing is explained
VERIFY_AGAIN = timedelta(hours=1)
OPEN_OUTCOMES = ("waiting", "too early", "confirmed")  # of a fix: audit.fix.Outcome; the last may be reopened
STATUS = Key(kind=Kind.STATUS)
REVIEW = Key(kind=Kind.REVIEW)


class Asking(Protocol):
    """ChildDesk.ask."""

    def __call__(self, do: str, *, timeout_s: float = ..., **arguments: Any) -> Awaitable[Any]: ...


class Keeping(Protocol):
    """AuditStore.keep as this server, in a thread. Raises LeaseLost, JournalError."""

    def __call__(
        self, results: Sequence[Result], gone: Iterable[Key] = ..., events: Sequence[Event] = ...
    ) -> Awaitable[None]: ...


class Reading(Protocol):
    """AuditStore's reading, in a thread. Raises JournalError."""

    async def find(self, key: Key) -> Result | None: ...
    async def heads(self, kind: Kind, *, cluster: str | None = None, span: str | None = None) -> list[Result]: ...


class Pass:
    """Of one estate.

    `between` is awaited between two steps: what people ask for has its turn there. `events`: those of the journal that
    a review names beside what moved.
    """

    def __init__(
        self,
        estate: Estate,
        ask: Asking,
        keep: Keeping,
        read: Reading,
        *,
        clock: Callable[[], datetime],
        between: Callable[[], Awaitable[None]],
        events: Callable[[], Awaitable[list[Plain]]],
        actor: str,
    ) -> None:
        self._estate = estate
        self._declared = estate.audit
        self._ask = ask
        self._keep = keep
        self._read = read
        self._clock = clock
        self._between = between
        self._events = events
        self._actor = actor

    async def run(self, *, everything: bool = False) -> Plain:
        """All that is due; `everything`: facts, too, whatever their age. What was collected (Desk.collect).

        Raises DeskFailed, LeaseLost, JournalError.
        """
        told, facts = await self._collect(everything)
        kept = {one.key: one.at for one in await self._read.heads(Kind.COMPARISON)}
        facts_kept = {one.key.cluster for one in await self._read.heads(Kind.FACTS)}
        every = timedelta(seconds=self._declared.every_s)
        for cluster in self._estate.clusters:
            if facts or cluster not in facts_kept:
                await self._facts(cluster)
            for span in SPANS:
                key = Key(kind=Kind.COMPARISON, cluster=cluster, span=span)
                if everything or is_due(kept.get(key), again_after(span, every), self._clock()):
                    await self._compare(key)
                    await self._between()
        await self._tidy()
        await self._review(everything)
        await self.fixes()
        await self._verify()
        return told

    # --- what is seen -----------------------------------------------------------------------------------------------

    async def _collect(self, everything: bool) -> tuple[Plain, bool]:
        """Keep how it went. The answer, and whether facts were read."""
        before = await self._read.find(STATUS)
        last = parse_time(before.head["facts_at"]) if before and before.head.get("facts_at") else None
        now = self._clock()
        facts = everything or is_due(last, timedelta(seconds=self._declared.facts_every_s), now)
        told = await self._ask("collect", timeout_s=COLLECT_S, facts=facts, indicators=True, each_s=COLLECT_S / 2)
        head = {
            "collected_at": format_time(now),
            "facts_at": format_time(now) if facts else last and format_time(last),
            "seconds": round((self._clock() - now).total_seconds(), 1),
            "facts": told["facts"] if facts else (before.head.get("facts") if before else None),
            "indicators": told["indicators"],
            "problems": told["problems"][:PROBLEMS_LIMIT],
            "trouble": "",
            "by": self._actor,
        }
        await self._keep([Result(key=STATUS, at=self._clock(), head=head)])
        return told, facts

    async def _facts(self, cluster: str) -> None:
        key = Key(kind=Kind.FACTS, cluster=cluster)
        try:
            told = await self._ask("facts_diff", cluster=cluster)
        except DeskRefused as refused:
            await self._keep([Result(key=key, at=self._clock(), head={"problem": str(refused)})])
            return
        head = {"problem": "", "facts": told["facts"], "splits": len(told["splits"]), "noise": told["noise"]}
        await self._keep([Result(key=key, at=self._clock(), head=head, body=told)])

    # --- what is found ----------------------------------------------------------------------------------------------

    async def _compare(self, key: Key) -> None:
        """One cluster and interval: the comparison, and each finding of it."""
        cluster, span = key.cluster, key.span
        before = await self._read.heads(Kind.FINDING, cluster=cluster, span=span)
        since_s = SPANS[span].total_seconds()
        try:
            told = await self._ask("compare", cluster=cluster, since_s=since_s)
        except DeskRefused as refused:
            head: Plain = {"problem": str(refused), "differ": 0, "indicators": 0, "grade": GRADES[0]}
            told, findings = {}, []
        else:
            findings = [await self._finding(key, one, at) for at, one in enumerate(_differing(told))]
            head = {
                "problem": "",
                "differ": len(findings),
                "indicators": len(told["indicators"]),
                "grade": findings[0].head["grade"] if findings else GRADES[0],
                "indicator": findings[0].key.indicator if findings else "",
                "sentence": findings[0].head["sentence"] if findings else "",
                "from": told["from"],
                "to": told["to"],
            }
        there = {one.key for one in findings}
        gone = [one.key for one in before if one.key not in there]
        kept = [Result(key=key, at=self._clock(), head=head, body=told), *findings]
        if span != TOLD_SPAN:
            await self._keep(kept, gone)
            return
        news = announce(findings, await self._read.heads(Kind.OPEN, cluster=cluster), self._clock(), self._actor)
        await self._keep([*kept, *news.results], [*gone, *news.gone], news.events)

    async def _finding(self, key: Key, one: Plain, place: int) -> Result:
        """One finding whole, with its chart where it is among the first; else as the comparison has it."""
        indicator = str(one["indicator"])
        body: Plain = {**one["finding"], "comparison": {name: one[name] for name in one if name != "finding"}}
        if place < EXPLAIN_LIMIT:
            since_s = SPANS[key.span].total_seconds()
            body = await self._ask("explain", cluster=key.cluster, indicator=indicator, since_s=since_s)
            body = {**body, "series": drawn(body["series"], body["comparison"]["differs"])}
        at = Key(kind=Kind.FINDING, cluster=key.cluster, indicator=indicator, span=key.span)
        return Result(key=at, at=self._clock(), head=head_of(body), body=body)

    async def _tidy(self) -> None:
        """Forget what is of clusters that the estate has no longer."""
        gone = [
            one.key
            for kind in (Kind.COMPARISON, Kind.FINDING, Kind.FACTS, Kind.OPEN)
            for one in await self._read.heads(kind)
            if one.key.cluster not in self._estate.clusters
        ]
        if gone:
            await self._keep([], gone)

    # --- what lasts -------------------------------------------------------------------------------------------------

    async def _review(self, everything: bool) -> None:
        """Some hours old at most, and of the estate's own weekday and hour when that has come."""
        before = await self._read.heads(Kind.REVIEW)
        last, now = before[0].at if before else None, self._clock()
        scheduled = reviewed_before(now, self._declared.review)
        if not everything and not is_due(last, REVIEW_AGAIN, now) and last is not None and last >= scheduled:
            return
        try:
            told = await self._ask("review", events=await self._events())
        except DeskRefused as refused:
            await self._keep([Result(key=REVIEW, at=now, head={"problem": str(refused)})])
            return
        await self._keep([Result(key=REVIEW, at=now, head={"problem": ""}, body=told)])

    async def _verify(self) -> None:
        """Look at the fixes that may have come, or gone again, since they were looked at last."""
        for one in await self._read.heads(Kind.FIX):
            verdict = one.head["verdict"]
            last = None if verdict is None else datetime.fromisoformat(verdict["time"])
            if one.head["outcome"] in OPEN_OUTCOMES and is_due(last, VERIFY_AGAIN, self._clock()):
                try:
                    told = await self._ask("verify", fix=one.key.indicator, actor=self._actor)
                except DeskRefused:  # nothing was measured there any more: its page says when it was judged last
                    continue
                await self.fixes(told)
                await self._between()

    async def fixes(self, verified: Plain | None = None) -> None:
        """All fixes as they stand. `verified`: the answer for one of them, with its report, which is kept with it."""
        before = {one.key: one for one in await self._read.heads(Kind.FIX)}
        found = []
        for one in await self._ask("fixes"):
            key = Key(kind=Kind.FIX, cluster=str(one["cluster"]), indicator=str(one["id"]))
            if verified is not None and verified["id"] == one["id"]:
                report: Plain = {name: verified[name] for name in REPORT}
                report = {**report, "series": drawn(verified["series"], verified["nodes"])}
            else:
                kept = await self._read.find(key) if key in before else None
                report = kept.body.get("report", {}) if kept else {}
            found.append(Result(key=key, at=self._clock(), head=one, body={**one, "report": report}))
        there = {one.key for one in found}
        await self._keep(found, [key for key in before if key not in there])


def head_of(finding: Plain) -> Plain:
    """What lists show of a finding."""
    first = next((one for one in finding["hypotheses"] if one["kind"] == "class"), None)
    comparison: Mapping[str, Any] = finding["comparison"]
    return {
        "grade": finding["grade"],
        "sentence": finding["sentence"],
        "differs": comparison["differs"][:20],
        "split": comparison["split"] if len(comparison["nodes"]) <= 20 else [],
        "facts": [fact["fact"] for fact in first["facts"][:20]] if first else [],
        "likely": first["posterior"] if first else None,
        "effect": finding["effect"],
    }


def _differing(told: Plain) -> list[Plain]:
    """The indicators in which somebody differs, the surest first. A name longer than a line is nobody's."""
    found = [
        one
        for one in told["indicators"]
        if one.get("finding", NONE)["grade"] != GRADES[0] and len(one["indicator"]) <= INDICATOR_LIMIT
    ]
    return sorted(found, key=lambda one: -GRADES.index(one["finding"]["grade"]))
