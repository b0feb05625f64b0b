"""What goes in and out: bodies, answers, and how results become them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import TypedDict

from backstay.estate.model import Name as EstateName
from backstay.journal import format_time
from backstay.server.api.common import Body, Reason
from backstay.server.audit.model import Ask, Result
from backstay.server.shell import Server

Indicator = Annotated[str, Field(min_length=1, max_length=300)]


class FixBody(Reason):
    """A change that somebody plans to make equal what differs, and what it should do."""

    cluster: EstateName
    indicator: Indicator
    fact: Annotated[str, Field(min_length=1, max_length=300)]
    """The fact that is altered."""
    nodes: Annotated[list[EstateName], Field(min_length=1, max_length=1_000)]
    """Where it is altered."""
    expected: Annotated[float, Field(gt=-1.0, le=1_000.0)] | None = None
    """The effect that is expected, as a share: -0.2 is a fifth less; absent: equal to the peers."""
    by: Annotated[str, Field(max_length=40, json_schema_extra={"format": "date-time"})]
    """When the change will have been made."""
    value: Annotated[str, Field(max_length=300)] | None = None
    """What the fact will be; absent: anything else than it is."""


class QuestionBody(Body):
    """What no pass keeps: any interval, any indicator, as of now."""

    do: Literal["clusters", "facts_diff", "compare", "explain", "review"]
    cluster: EstateName | None = None
    """Whose; of `facts_diff`, `compare` and `explain`."""
    clusters: Annotated[tuple[EstateName, ...], Field(max_length=1_000)] = ()
    """Of `review`; none: all."""
    end: Annotated[str, Field(max_length=40, json_schema_extra={"format": "date-time"})] | None = None
    """Of `review`: of the week up to then; absent: now."""
    indicator: Indicator | None = None
    """Of `explain`."""
    since_s: Annotated[float, Field(gt=0.0, le=10 * 365 * 86_400)] = 7 * 86_400.0
    """How much to look at, up to the last sample."""


class Status(TypedDict):
    """How the audit goes."""

    declared: bool  # by the estate
    collected_at: str | None
    facts_at: str | None
    by: str  # the server that collects
    trouble: str  # "": none
    problems: list[str]  # of sources and nodes, at the last pass
    facts: dict[str, Any] | None  # as audit collect tells of them
    indicators: dict[str, Any] | None


class ClusterView(TypedDict):
    """A cluster, by its worst finding in the interval."""

    cluster: str
    nodes: list[str]
    work: str | None
    grade: str | None  # null: not compared yet
    indicator: str | None  # of the worst finding
    sentence: str
    differ: int  # indicators in which somebody differs
    indicators: int
    at: str | None  # when it was compared
    to: str | None  # the newest sample
    problem: str  # why there is nothing to compare; "": there is


class ClusterPage(TypedDict):
    items: list[ClusterView]
    next: str | None


class FindingRow(TypedDict):
    cluster: str
    indicator: str
    span: str
    grade: str
    sentence: str
    differs: list[str]  # nodes
    facts: list[str]  # of the class that comes first
    likely: float | None  # its posterior probability
    at: str


class FindingPage(TypedDict):
    items: list[FindingRow]
    next: str | None


class Kept(TypedDict):
    """A result as the audit told it, in the form of `backstay audit -o json`."""

    at: str  # when it was computed
    result: dict[str, Any]


class FixPage(TypedDict):
    items: list[dict[str, Any]]  # newest first
    next: str | None


class AskView(TypedDict):
    """What was asked of the server that audits."""

    id: str
    kind: str  # collect, register, verify, question
    at: str
    actor: str
    reason: str
    done: bool | None  # null: not answered yet
    detail: str  # why not
    result: dict[str, Any] | None  # of a question: {"answer": ...}


def cluster_view(server: Server, name: str, nodes: tuple[str, ...], found: Result | None) -> ClusterView:
    assert server.newest.places is not None
    head = found.head if found else {}
    return ClusterView(
        cluster=name,
        nodes=list(nodes),
        work=server.newest.places.estate.clusters[name].work,
        grade=head.get("grade"),
        indicator=head.get("indicator") or None,
        sentence=head.get("sentence", ""),
        differ=head.get("differ", 0),
        indicators=head.get("indicators", 0),
        at=format_time(found.at) if found else None,
        to=head.get("to"),
        problem=head.get("problem", ""),
    )


def finding_row(one: Result) -> FindingRow:
    head = one.head
    return FindingRow(
        cluster=one.key.cluster,
        indicator=one.key.indicator,
        span=one.key.span,
        grade=head["grade"],
        sentence=head["sentence"],
        differs=head["differs"],
        facts=head["facts"],
        likely=head["likely"],
        at=format_time(one.at),
    )


def ask_view(found: Ask) -> AskView:
    answer = found.answer
    result = None if answer is None else answer.get("result")
    return AskView(
        id=found.id,
        kind=found.kind.value,
        at=format_time(found.at),
        actor=found.actor,
        reason=found.reason,
        done=None if answer is None else bool(answer["done"]),
        detail="" if answer is None else str(answer["detail"]),
        result=None if result is None else dict(result),
    )
