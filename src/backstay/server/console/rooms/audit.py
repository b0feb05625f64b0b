"""The audit: who differs and why, as its passes kept it. Nothing is computed here; what a person asks is carried out
by the server that holds the audit's store."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, Response
from pydantic import StringConstraints

from backstay.change import ChangeInvalid, parse_duration
from backstay.journal import format_time
from backstay.server.access.depends import Operator, TheServer, Viewer
from backstay.server.api.audit import TheAudit, find_fix, raise_refused
from backstay.server.audit.model import SPANS, TOLD_SPAN, AskKind, Key, Kind, Plain
from backstay.server.audit.passes import REVIEW, STATUS
from backstay.server.audit.shell import Auditing
from backstay.server.console.draw import draw
from backstay.server.console.forms import Faults, Filled, Lasts, Short, filled
from backstay.server.console.rooms.common import PageNumber, TheScene, ask_id, seen_at, unknown
from backstay.server.problem import Problem
from backstay.server.views.audit.clusters import cluster_page, cluster_rows, passed
from backstay.server.views.audit.finding import finding_page
from backstay.server.views.audit.fixes import fix_page, fix_plan, fix_rows
from backstay.server.views.audit.review import review_page
from backstay.server.views.audit.words import spans
from backstay.server.views.scene import Scene
from backstay.server.views.scene.paging import page_of

router = APIRouter(include_in_schema=False)

Interval = Annotated[str, Query(alias="span", max_length=4)]
Name = Annotated[str, Query(max_length=300)]
Long = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=300)]
REPORTS = {"html": "text/html; charset=utf-8", "markdown": "text/markdown; charset=utf-8"}


WAIT_S = 10.0  # of a form, for the answer of the server that audits
EXPECTED = re.compile(r"^([+-]?\d{1,4}(?:\.\d{1,3})?) ?%?$")


class CollectForm(Filled):
    """Collect everything now."""


class FixForm(Filled):
    """A planned fix, with what it should do."""

    cluster: Short
    indicator: Long
    span: Short = TOLD_SPAN
    fact: Long
    nodes: Annotated[str, StringConstraints(max_length=20_000)]  # names, with blanks between
    value: Short = ""  # that the fact will have; "": any other
    expected: Short = ""  # "-20%"; "": equal to the peers
    within: Lasts

    def share(self) -> float | None:
        """Raises Faults."""
        if self.expected in ("", "equal"):
            return None
        found = EXPECTED.match(self.expected)
        if found is None or float(found[1]) <= -100.0:
            raise Faults({"expected": "Write percent: -20%, +5%. Empty: equal to its peers."})
        return float(found[1]) / 100.0


class VerifyForm(Filled):
    """Measure whether a fix did what was expected."""


@router.get("/audit")
async def every_cluster(
    request: Request,
    principal: Viewer,
    audit: TheAudit,
    scene: TheScene,
    span: Interval = TOLD_SPAN,
    number: PageNumber = 1,
) -> HTMLResponse:
    _known_span(span)
    kept = await audit.heads(Kind.COMPARISON, span=span)
    rows = cluster_rows(scene.estate, scene.index.members, kept, span)
    links = spans("/audit", span)
    return draw(
        request,
        "audit/list.html",
        declared=audit.declared,
        passed=passed(await audit.find(STATUS)),
        rows=page_of(rows, number, "/audit", {"span": span}),
        spans=links,
        span=next(one for one in links if one.current),
        fixes=len(await audit.heads(Kind.FIX)),
    )


@router.get("/audit/collect")
async def plan_collect(request: Request, principal: Operator, audit: TheAudit, scene: TheScene) -> HTMLResponse:
    return _collect_form(request, audit, scene)


@router.post("/audit/collect")
async def collect(request: Request, principal: Operator, audit: TheAudit, scene: TheScene) -> Response:
    try:
        form = await filled(request, CollectForm)
    except Faults as faults:
        return _collect_form(request, audit, scene, faults.faults, 422)
    if not audit.declared:
        return _collect_form(request, audit, scene, {"": "The estate has no audit: there is nothing to collect."}, 409)
    await audit.ask(form.ask, AskKind.COLLECT, {}, principal, form.reason, wait_s=0.0)
    return seen_at("/audit")


def _collect_form(
    request: Request, audit: Auditing, scene: Scene, faults: dict[str, str] | None = None, status: int = 200
) -> HTMLResponse:
    return draw(
        request, "audit/collect.html", status=status, declared=scene.estate.audit, clusters=len(scene.estate.clusters),
        faults=faults or {}, ask=ask_id(),
    )  # fmt: skip


# --- fixes ----------------------------------------------------------------------------------------------------------


@router.get("/audit/fixes")
async def every_fix(
    request: Request, principal: Viewer, audit: TheAudit, scene: TheScene, number: PageNumber = 1
) -> HTMLResponse:
    rows = fix_rows(await audit.heads(Kind.FIX))
    return draw(request, "audit/fixes.html", rows=page_of(rows, number, "/audit/fixes"))


@router.get("/audit/fixes/new")
async def plan_fix(
    request: Request,
    principal: Operator,
    audit: TheAudit,
    scene: TheScene,
    cluster: Name,
    indicator: Name,
    span: Interval = TOLD_SPAN,
    fact: Name = "",
) -> HTMLResponse:
    """The plan of a fix: nothing is registered yet."""
    about = Key(kind=Kind.FINDING, cluster=cluster, indicator=indicator, span=span)
    return await _fix_form(request, audit, about, fact, request.query_params.getlist("nodes")[:1_000])


@router.post("/audit/fixes")
async def register(
    request: Request, principal: Operator, server: TheServer, audit: TheAudit, scene: TheScene
) -> Response:
    given = {name: str(value)[:20_000] for name, value in (await request.form()).items()}
    about = Key(
        kind=Kind.FINDING,
        cluster=given.get("cluster", ""),
        indicator=given.get("indicator", ""),
        span=given.get("span", TOLD_SPAN),
    )
    chosen = given.get("nodes", "").split()[:1_000]
    try:
        form = await filled(request, FixForm)
        by = server.now() + timedelta(seconds=float(parse_duration(form.within)))
        asked = {
            "cluster": form.cluster, "indicator": form.indicator, "fact": form.fact, "nodes": chosen,
            "expected": form.share(), "by": format_time(by), "value": form.value or None,
        }  # fmt: skip
        found = await audit.ask(form.ask, AskKind.REGISTER, asked, principal, form.reason, wait_s=WAIT_S)
        raise_refused(found)
    except (Faults, ChangeInvalid, Problem) as error:
        return await _fix_form(request, audit, about, given.get("fact", ""), chosen, given, error)
    told = (found.answer or {}).get("result")
    return seen_at(f"/audit/fixes/{quote(told['id'])}" if told else "/audit/fixes")


async def _fix_form(
    request: Request,
    audit: Auditing,
    about: Key,
    fact: str,
    chosen: list[str],
    given: dict[str, str] | None = None,
    error: Exception | None = None,
) -> HTMLResponse:
    found = await audit.find(about)
    if found is None:
        raise unknown("finding", f"{about.indicator} of {about.cluster}", "/audit")
    plan = fix_plan(about.cluster, about.indicator, about.span, found, fact, chosen)
    kept = {name: (given or {}).get(name, "") for name in ("value", "expected", "within", "reason")}
    return draw(
        request, "audit/fix_new.html", status=200 if error is None else 422, plan=plan, given=kept,
        faults=_faults(error), ask=ask_id(),
    )  # fmt: skip


@router.get("/audit/fixes/{fix_id:path}")
async def one_fix(request: Request, principal: Viewer, audit: TheAudit, scene: TheScene, fix_id: str) -> HTMLResponse:
    return await _fix_page(request, audit, fix_id)


@router.post("/audit/fixes/{fix_id:path}/verify")
async def verify(request: Request, principal: Operator, audit: TheAudit, scene: TheScene, fix_id: str) -> Response:
    await find_fix(audit, fix_id)
    reason = str((await request.form()).get("reason", ""))[:500]
    try:
        form = await filled(request, VerifyForm)
        asked = await audit.ask(form.ask, AskKind.VERIFY, {"fix": fix_id}, principal, form.reason, wait_s=WAIT_S)
        raise_refused(asked)
    except (Faults, Problem) as error:
        return await _fix_page(request, audit, fix_id, reason, error)
    return seen_at(f"/audit/fixes/{quote(fix_id)}")


async def _fix_page(
    request: Request, audit: Auditing, fix_id: str, reason: str = "", error: Exception | None = None
) -> HTMLResponse:
    shown = fix_page(await find_fix(audit, fix_id))
    return draw(
        request, "audit/fix.html", status=200 if error is None else 422, shown=shown, reason=reason,
        faults=_faults(error), ask=ask_id(),
    )  # fmt: skip


def _faults(error: Exception | None) -> dict[str, str]:
    """By the field that they are of; of the whole: ""."""
    if isinstance(error, Faults):
        return error.faults
    return {} if error is None else {"": error.detail if isinstance(error, Problem) else str(error)}


# --- clusters and findings ------------------------------------------------------------------------------------------


@router.get("/audit/review")
async def week(request: Request, principal: Viewer, audit: TheAudit, scene: TheScene) -> HTMLResponse:
    found = await audit.find(REVIEW)
    shown = review_page(found) if found is not None and found.body else None
    problem = str(found.head["problem"]) if found is not None else ""
    return draw(request, "audit/review.html", shown=shown, problem=problem, declared=audit.declared)


@router.get("/audit/report")
async def report(
    principal: Viewer,
    audit: TheAudit,
    cluster: Name,
    indicator: Name,
    span: Interval = TOLD_SPAN,
    form: Annotated[str, Query(alias="format", max_length=10)] = "html",
) -> Response:
    """The report of a finding as a file: one page that needs no server."""
    found = await audit.find(Key(kind=Kind.FINDING, cluster=cluster, indicator=indicator, span=span))
    if found is None or form not in REPORTS or not found.body.get(form):
        raise Problem(404, "unknown", "There is no such report. The finding's page says what there is: /audit")
    name = f"{cluster}-{''.join(one if one.isalnum() else '-' for one in indicator[:80])}"
    ending = {"html": "html", "markdown": "md"}[form]
    headers = {"Content-Disposition": f'attachment; filename="{name.encode("ascii", "replace").decode()}.{ending}"'}
    return Response(str(found.body[form]), media_type=REPORTS[form], headers=headers)


@router.get("/audit/{cluster}")
async def one_cluster(
    request: Request, principal: Viewer, audit: TheAudit, scene: TheScene, cluster: str, span: Interval = TOLD_SPAN
) -> HTMLResponse:
    _known(scene, cluster, span)
    shown = cluster_page(
        cluster,
        scene.estate.clusters[cluster].work,
        span,
        await audit.heads(Kind.COMPARISON, cluster=cluster),
        await audit.find(Key(kind=Kind.COMPARISON, cluster=cluster, span=span)),
        await audit.find(Key(kind=Kind.FACTS, cluster=cluster)),
    )
    return draw(request, "audit/cluster.html", shown=shown)


@router.get("/audit/{cluster}/{indicator:path}")
async def one_finding(
    request: Request,
    principal: Viewer,
    audit: TheAudit,
    scene: TheScene,
    cluster: str,
    indicator: str,
    span: Interval = TOLD_SPAN,
) -> HTMLResponse:
    _known(scene, cluster, span)
    indicator = indicator[:300]
    found = await audit.find(Key(kind=Kind.FINDING, cluster=cluster, indicator=indicator, span=span))
    row: Plain | None = None
    if found is None:
        row = await _compared(audit, cluster, indicator, span)
        known = any(one.key.indicator == indicator for one in await audit.heads(Kind.FINDING, cluster=cluster))
        if row is None and not known:
            raise unknown("indicator", f"{indicator} of {cluster}", f"/audit/{cluster}")
    kept = await audit.heads(Kind.FINDING, cluster=cluster)
    return draw(
        request, "audit/finding.html", shown=finding_page(cluster, indicator, span, found, kept, row)
    )  # fmt: skip


async def _compared(audit: Auditing, cluster: str, indicator: str, span: str) -> Plain | None:
    """The indicator's row of the comparison."""
    found = await audit.find(Key(kind=Kind.COMPARISON, cluster=cluster, span=span))
    rows = found.body.get("indicators", ()) if found else ()
    return next((one for one in rows if one["indicator"] == indicator), None)


def _known(scene: Scene, cluster: str, span: str) -> None:
    _known_span(span)
    if cluster not in scene.estate.clusters:
        raise unknown("cluster", cluster, "/audit")


def _known_span(span: str) -> None:
    if span not in SPANS:
        raise Problem(404, "unknown", f"There is no interval {span}. There is: {', '.join(SPANS)}.")
