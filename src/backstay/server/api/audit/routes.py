"""/api/v1/audit: what the audit found, kept by its passes; fixes, and what a person may ask of it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from backstay.estate.select import members
from backstay.journal import EventInvalid, format_time, parse_time
from backstay.server.access.answers import once_by_key
from backstay.server.access.depends import AskedId, Operator, TheServer, Viewer
from backstay.server.api.audit.shapes import (
    AskView,
    ClusterPage,
    FindingPage,
    FixBody,
    FixPage,
    Kept,
    QuestionBody,
    Status,
    ask_view,
    cluster_view,
    finding_row,
)
from backstay.server.api.common import After, Id, Key, Limit, Name, Reason, page, unknown
from backstay.server.audit.model import GRADES, SPANS, TOLD_SPAN, Ask, AskKind, Kind, Result
from backstay.server.audit.model import Key as ResultKey
from backstay.server.audit.passes import REVIEW, STATUS
from backstay.server.audit.shell import Auditing
from backstay.server.model import Principal
from backstay.server.problem import Problem
from backstay.server.shell import Server

router = APIRouter(prefix="/api/v1/audit", tags=["audit"])

WAIT_S = 12.0  # for an answer of the server that audits; after that: look again
_OFF = "The estate has no `audit`: nothing is collected. docs/audit.md, On the server, says what to write into it."


async def _auditing(request: Request) -> Auditing:
    auditing = request.app.state.audit
    assert isinstance(auditing, Auditing)
    return auditing


TheAudit = Annotated[Auditing, Depends(_auditing)]
Span = Annotated[str, Query(max_length=4, description=f"How far back: {', '.join(SPANS)}.", examples=list(SPANS))]
IndicatorPath = Annotated[str, Path(min_length=1, max_length=300, description="As its source names it.")]
FixId = Annotated[str, Path(min_length=1, max_length=400)]


@router.get("/status", summary="How the audit goes: when it collected what, and what went wrong.")
async def show_audit_status(principal: Viewer, audit: TheAudit) -> Status:
    found = await audit.find(STATUS)
    head = found.head if found else {}
    return Status(
        declared=audit.declared,
        collected_at=head.get("collected_at"),
        facts_at=head.get("facts_at"),
        by=head.get("by", ""),
        trouble=head.get("trouble", ""),
        problems=list(head.get("problems", [])),
        facts=head.get("facts"),
        indicators=head.get("indicators"),
    )


@router.get("/clusters", summary="Every cluster, by name, with its worst finding.")
async def list_audit_clusters(
    principal: Viewer,
    server: TheServer,
    audit: TheAudit,
    span: Span = TOLD_SPAN,
    limit: Limit = 100,
    after: After = None,
) -> ClusterPage:
    _known_span(span)
    members = _members(server)
    kept = {one.key.cluster: one for one in await audit.heads(Kind.COMPARISON, span=span)}
    names, more = page(members, lambda name: name, after, limit)
    return ClusterPage(items=[cluster_view(server, name, members[name], kept.get(name)) for name in names], next=more)


@router.get("/clusters/{cluster}/facts", summary="The facts in which its nodes differ, by how they split them.")
async def show_audit_facts(principal: Viewer, server: TheServer, audit: TheAudit, cluster: Name) -> Kept:
    _known_cluster(server, cluster)
    return _kept(await audit.find(ResultKey(kind=Kind.FACTS, cluster=cluster)), f"facts of {cluster}")


@router.get("/clusters/{cluster}/comparison", summary="Who differs from its peers, in each indicator.")
async def show_audit_comparison(
    principal: Viewer, server: TheServer, audit: TheAudit, cluster: Name, span: Span = TOLD_SPAN
) -> Kept:
    _known_span(span)
    _known_cluster(server, cluster)
    key = ResultKey(kind=Kind.COMPARISON, cluster=cluster, span=span)
    return _kept(await audit.find(key), f"comparison of {cluster}")


@router.get("/findings", summary="What differs, by cluster and indicator.")
async def list_audit_findings(
    principal: Viewer,
    server: TheServer,
    audit: TheAudit,
    span: Span = TOLD_SPAN,
    cluster: Annotated[str | None, Query(max_length=63, description="Of this cluster alone.")] = None,
    grade: Annotated[str, Query(max_length=12, description=f"At least: {', '.join(GRADES[1:])}.")] = GRADES[1],
    limit: Limit = 100,
    after: Annotated[str | None, Query(min_length=1, max_length=500)] = None,
) -> FindingPage:
    _known_span(span)
    if grade not in GRADES[1:]:
        raise Problem(422, "invalid", f'"{grade}" is no grade of a finding. There is: {", ".join(GRADES[1:])}.')
    if cluster is not None:
        _known_cluster(server, cluster)
    least = GRADES.index(grade)
    found = await audit.heads(Kind.FINDING, cluster=cluster, span=span)
    rows = [finding_row(one) for one in found if GRADES.index(one.head["grade"]) >= least]
    items, more = page(rows, lambda row: f"{row['cluster']}/{row['indicator']}", after, limit)
    return FindingPage(items=items, next=more)


@router.get(
    "/findings/{cluster}/{indicator:path}", summary="One finding whole: grade, evidence, experiment, series, report."
)
async def show_audit_finding(
    principal: Viewer,
    server: TheServer,
    audit: TheAudit,
    cluster: Name,
    indicator: IndicatorPath,
    span: Span = TOLD_SPAN,
) -> Kept:
    _known_span(span)
    _known_cluster(server, cluster)
    key = ResultKey(kind=Kind.FINDING, cluster=cluster, indicator=indicator, span=span)
    return _kept(await audit.find(key), f"finding on {indicator[:60]} of {cluster} within {span}")


@router.get("/review", summary="The review of the week: what gets slowly worse, what changed, what comes next.")
async def show_audit_review(principal: Viewer, audit: TheAudit) -> Kept:
    return _kept(await audit.find(REVIEW), "review")


@router.post(
    "/questions", summary="Ask what no pass keeps: any interval, any indicator, as of now. Nothing is altered.",
    responses={202: {"description": "Not answered yet: see /api/v1/audit/asks/{id}.", "model": AskView}},
)  # fmt: skip
@once_by_key
async def ask_audit(
    principal: Viewer,
    server: TheServer,
    audit: TheAudit,
    key: Key,
    id: AskedId,
    body: QuestionBody,
    response: Response,
) -> AskView:
    asked: dict[str, Any] = {"do": body.do, "since_s": body.since_s}
    if body.do == "review":
        for cluster in body.clusters:
            _known_cluster(server, cluster)
        asked |= {"clusters": list(body.clusters), "end": None if body.end is None else _time(body.end, "end")}
    elif body.do != "clusters":
        if body.cluster is None or (body.do == "explain" and body.indicator is None):
            raise Problem(422, "invalid", f"{body.do} wants a cluster, and explain an indicator.")
        _known_cluster(server, body.cluster)
        asked |= {"cluster": body.cluster, "indicator": body.indicator}
    return await _carried_out(audit, id, AskKind.QUESTION, asked, principal, body.do, response)


# --- fixes ----------------------------------------------------------------------------------------------------------


@router.get("/fixes", summary="Registered fixes, the newest first.")
async def list_audit_fixes(principal: Viewer, audit: TheAudit, limit: Limit = 100, after: After = None) -> FixPage:
    heads = [dict(one.head) for one in await audit.heads(Kind.FIX)]
    items, more = page(heads, lambda one: str(one["id"]), after, limit, newest=True)
    return FixPage(items=items, next=more)


@router.get("/fixes/{id:path}", summary="One fix: what was expected, and what was measured before and after.")
async def show_audit_fix(principal: Viewer, audit: TheAudit, id: FixId) -> Kept:
    return _kept(await find_fix(audit, id), "fix")


@router.post(
    "/fixes", status_code=201, summary="Register a planned fix with the effect that is expected of it.",
    responses={202: {"description": "Not answered yet: see /api/v1/audit/asks/{id}.", "model": AskView}},
)  # fmt: skip
@once_by_key
async def register_audit_fix(
    principal: Operator, server: TheServer, audit: TheAudit, key: Key, id: AskedId, body: FixBody, response: Response
) -> AskView:
    _known_cluster(server, body.cluster)
    asked = body.model_dump(exclude={"reason"}) | {"by": _time(body.by, "by")}
    return await _carried_out(audit, id, AskKind.REGISTER, asked, principal, body.reason, response)


@router.post(
    "/verify/{id:path}", summary="Measure whether it did what was expected.",
    responses={202: {"description": "Not answered yet: see /api/v1/audit/asks/{id}.", "model": AskView}},
)  # fmt: skip
@once_by_key
async def verify_audit_fix(
    principal: Operator, audit: TheAudit, key: Key, id: FixId, ask: AskedId, body: Reason, response: Response
) -> AskView:
    await find_fix(audit, id)
    return await _carried_out(audit, ask, AskKind.VERIFY, {"fix": id}, principal, body.reason, response)


@router.post("/collect", status_code=202, summary="Collect everything now, and look at it anew.")
@once_by_key
async def collect_audit(
    principal: Operator, audit: TheAudit, key: Key, id: AskedId, body: Reason, response: Response
) -> AskView:
    _declared(audit)
    asked = await audit.ask(id, AskKind.COLLECT, {}, principal, body.reason, wait_s=0.0)
    return ask_view(asked)


@router.get("/asks/{id}", summary="What became of what was asked of the audit.")
async def show_audit_ask(principal: Viewer, server: TheServer, audit: TheAudit, id: Id) -> AskView:
    found = await server.call(audit.store.asked, id)
    if found is None:
        raise Problem(404, "unknown", f"Nothing was asked as {id[:64]} in the last 30 days.")
    return ask_view(found)


# --- shared with the console ------------------------------------------------------------------------------------------


async def find_fix(audit: Auditing, fix_id: str) -> Result:
    """Raises Problem."""
    heads = {one.key.indicator: one.key for one in await audit.heads(Kind.FIX)}
    found = await audit.find(heads[fix_id]) if fix_id in heads else None
    if found is None:
        raise unknown("registered fix", fix_id, heads)
    return found


async def _carried_out(
    audit: Auditing,
    ask_id: str,
    kind: AskKind,
    asked: dict[str, Any],
    principal: Principal,
    reason: str,
    response: Response,
) -> AskView:
    """The answer, or that there is none yet. Raises Problem."""
    _declared(audit)
    found = await audit.ask(ask_id, kind, asked, principal, reason, wait_s=WAIT_S)
    raise_refused(found)
    if found.answer is None:
        response.status_code = 202
    return ask_view(found)


def raise_refused(found: Ask) -> None:
    """Raises Problem for what was asked and not done."""
    if found.answer is not None and not found.answer["done"]:
        code = str(found.answer["code"])
        raise Problem(422 if code == "invalid" else 503, code, str(found.answer["detail"]))


def _time(words: str, field: str) -> str:
    """As it is kept. Raises Problem."""
    try:
        return format_time(parse_time(words))
    except EventInvalid as error:
        raise Problem(422, "invalid", f"{field}: {error}") from None


def _declared(audit: Auditing) -> None:
    if not audit.declared:
        raise Problem(409, "no_audit", _OFF)


def _known_span(span: str) -> None:
    if span not in SPANS:
        raise Problem(422, "invalid", f'"{span}" is no interval that the server keeps. There is: {", ".join(SPANS)}.')


def _members(server: Server) -> dict[str, tuple[str, ...]]:
    """Cluster -> its nodes; nothing while there is no estate."""
    places = server.newest.places
    if places is None:
        return {}
    return {name: tuple(members(places.estate, name)) for name in places.estate.clusters}


def _known_cluster(server: Server, cluster: str) -> None:
    known = _members(server)
    if cluster not in known:
        raise unknown("cluster", cluster, known)


def _kept(found: Result | None, what: str) -> Kept:
    if found is None:
        there = "/api/v1/audit/clusters, /api/v1/audit/findings"
        raise Problem(404, "unknown", f"There is no {what}. What there is: {there}")
    if found.head.get("problem"):
        raise Problem(404, "no_data", str(found.head["problem"]))
    return Kept(at=format_time(found.at), result=dict(found.body))
