"""Run now: what was run on which nodes, how it goes, what was printed; and a new one, from its plan."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from backstay.server.access.depends import Operator, TheServer, Viewer
from backstay.server.api.runs import TheRuns, find
from backstay.server.console.draw import draw
from backstay.server.console.forms import Faults, RunForm, filled
from backstay.server.console.rooms.common import PageNumber, TheScene, ask_id, seen_at, unknown
from backstay.server.runs.model import RunRefused
from backstay.server.runs.shell import Runs
from backstay.server.views.outside.runs import node_rows, row
from backstay.server.views.scene.paging import page_of

router = APIRouter(include_in_schema=False)

RUNS_SHOWN = 50


@router.get("/runs")
async def newest(request: Request, principal: Viewer, server: TheServer, runs: TheRuns) -> HTMLResponse:
    found = await server.call(runs.store.newest, RUNS_SHOWN)
    return draw(request, "runs/list.html", rows=[row(run) for run in found], enabled=runs.enabled)


@router.get("/runs/new")
async def plan(request: Request, principal: Operator, runs: TheRuns, scene: TheScene) -> HTMLResponse:
    """The form; with a selector, which nodes it means. Nothing is run yet."""
    return _form(request, runs, request.query_params.get("selector", "")[:200].strip())


@router.post("/runs")
async def begin(request: Request, principal: Operator, runs: TheRuns, scene: TheScene) -> Response:
    given = str((await request.form()).get("selector", ""))[:200].strip()
    try:
        form = await filled(request, RunForm)
        run = await runs.begin(form.ask, form.selector, form.reason, principal)
    except Faults as faults:
        return _form(request, runs, given, faults.faults, 422)
    except RunRefused as refused:
        return _form(request, runs, given, {"": str(refused)}, 409)
    return seen_at(f"/runs/{run.id}")


def _form(
    request: Request, runs: Runs, selector: str, faults: dict[str, str] | None = None, status: int = 200
) -> HTMLResponse:
    told = dict(faults or {})
    names: tuple[str, ...] = ()
    if selector:
        try:
            names = tuple(place.node for place in runs.nodes(selector))
        except RunRefused as refused:
            told.setdefault("selector", str(refused))
    return draw(
        request, "runs/new.html", status=status, selector=selector, names=names, command=runs.command,
        enabled=runs.enabled, faults=told, ask=ask_id(),
    )  # fmt: skip


@router.get("/runs/{run_id}")
async def one(
    request: Request, principal: Viewer, server: TheServer, runs: TheRuns, run_id: str, number: PageNumber = 1
) -> HTMLResponse:
    run = await find(server, runs, run_id[:64])
    nodes = page_of(node_rows(run, server.now()), number, f"/runs/{run.id}")
    return draw(request, "runs/one.html", shown=row(run), nodes=nodes)


@router.get("/runs/{run_id}/{node}")
async def printed(
    request: Request, principal: Operator, server: TheServer, runs: TheRuns, run_id: str, node: str
) -> HTMLResponse:
    run = await find(server, runs, run_id[:64])
    each = next((one for one in node_rows(run, server.now()) if one.node == node), None)
    if each is None:
        raise unknown("node", node, f"/runs/{run.id}")
    output = await server.call(runs.store.printed, run.id, node)
    return draw(request, "runs/output.html", shown=row(run), each=each, output=output)
