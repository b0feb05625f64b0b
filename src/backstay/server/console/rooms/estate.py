"""The estate in force, its revisions, and a new one: plan, then adopt. And the agents that follow it."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from backstay.estate import EstateFaults
from backstay.server.access.depends import Admin, TheServer, TheSettings, Viewer
from backstay.server.console.draw import draw
from backstay.server.console.forms import AdoptForm, Faults, PlanForm, confirm, filled
from backstay.server.console.rooms.common import AnyScene, PageNumber, ask_id, seen_at
from backstay.server.estates import EstatePlan, EstateStale
from backstay.server.views.agents import agents
from backstay.server.views.estate import lines
from backstay.server.views.scene.paging import page_of

router = APIRouter(include_in_schema=False)

REVISIONS = 20


@router.get("/estate")
async def in_force(
    request: Request, principal: Viewer, server: TheServer, scene: AnyScene, number: PageNumber = 1
) -> HTMLResponse:
    adopted = scene.snapshot.adopted
    shown = lines(adopted.text, number) if adopted is not None else None
    revisions = await server.call(server.store.estates, REVISIONS)
    return draw(request, "estate/file.html", adopted=adopted, shown=shown, revisions=revisions)


@router.get("/estate/new")
async def edit(request: Request, principal: Admin, scene: AnyScene) -> HTMLResponse:
    adopted = scene.snapshot.adopted
    return draw(request, "estate/new.html", text=adopted.text if adopted else "", faults={})


@router.post("/estate/plan")
async def plan(request: Request, principal: Admin, server: TheServer, scene: AnyScene) -> HTMLResponse:
    """What it would alter. Alters nothing."""
    try:
        form = await filled(request, PlanForm)
    except Faults as faults:
        return draw(request, "estate/new.html", status=422, text="", faults=faults.faults)
    text = _as_a_file(form.estate)
    planned = await server.plan_estate(text)
    return _plan_page(request, text, planned)


@router.post("/estate/adopt")
async def adopt(request: Request, principal: Admin, server: TheServer, scene: AnyScene) -> Response:
    text = ""
    try:
        form = await filled(request, AdoptForm)
        text = _as_a_file(form.estate)
        if scene.snapshot.estate is not None:
            confirm(form.typed, scene.snapshot.estate.estate)
        await server.adopt(text, form.against or None, principal, form.reason)
    except Faults as faults:
        if "estate" in faults.faults or not text:
            return draw(request, "estate/new.html", status=422, text=text, faults=faults.faults)
        return _plan_page(request, text, await server.plan_estate(text), faults.faults, 422)
    except (EstateFaults, EstateStale) as error:
        return _plan_page(request, text, await server.plan_estate(text), {"": str(error)}, 409)
    return seen_at("/estate")


def _as_a_file(text: str) -> str:
    """Forms send lines as CR LF (HTML, 4.10.22); a file has LF, and its hash is over that."""
    return text.replace("\r\n", "\n")


def _plan_page(
    request: Request, text: str, planned: EstatePlan, faults: dict[str, str] | None = None, status: int = 200
) -> HTMLResponse:
    return draw(
        request, "estate/plan.html", status=status, text=text, planned=planned, ask=ask_id(), faults=faults or {}
    )  # fmt: skip


@router.get("/agents")
async def every_agent(
    request: Request, principal: Viewer, settings: TheSettings, scene: AnyScene, number: PageNumber = 1
) -> HTMLResponse:
    found = page_of(agents(scene), number, "/agents")
    return draw(request, "agents.html", found=found, revision=scene.snapshot.revision, base_url=settings.base_url)
