"""What is temporary: in force, ended; a new one with its plan before and its proof after; undo."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from backstay.change import Allowed, ChangeInvalid, ChangeKind, ChangeUnknown
from backstay.journal.store import Filter
from backstay.server.access.depends import Operator, TheServer, Viewer
from backstay.server.console.draw import draw
from backstay.server.console.forms import ChangeForm, Faults, UndoForm, confirm, filled, parse
from backstay.server.console.rooms.common import PageNumber, TheScene, ask_id, seen_at
from backstay.server.problem import Problem
from backstay.server.shell import Server
from backstay.server.views import changes
from backstay.server.views.journal import entries
from backstay.server.views.scene import Scene
from backstay.server.views.scene.paging import page_of
from backstay.server.weigh import Weighed

router = APIRouter(include_in_schema=False)

PLAN_ROWS = 100
EVENTS = 20
NODES_LISTED = 200  # in the list beside the selector; of more, people type the name


@router.get("/changes")
async def in_force(request: Request, principal: Viewer, scene: TheScene, number: PageNumber = 1) -> HTMLResponse:
    found = page_of(changes.in_force(scene), number, "/changes")
    return draw(request, "changes/list.html", found=found, local=changes.local(scene), over=changes.ended(scene)[:20])


# --- a new one ------------------------------------------------------------------------------------------------------


@router.get("/changes/new")
async def plan(request: Request, principal: Operator, server: TheServer, scene: TheScene) -> HTMLResponse:
    """The form; with what was filled in so far, what it would do."""
    given: dict[str, Any] = {key: value[:4_000] for key, value in request.query_params.items()}
    if "kind" not in given:
        return _form(request, scene, {"kind": "drain", "lasts": "30m", **given})
    try:
        form = parse(ChangeForm, given | {"ask": ask_id(), "reason": given.get("reason", "").strip() or "a plan"})
        weighed = await server.weigh(form.asked(), principal)
    except (Faults, ChangeInvalid) as error:
        return _form(request, scene, given, error=error)
    return _form(request, scene, given, weighed)


@router.post("/changes")
async def put(request: Request, principal: Operator, server: TheServer, scene: TheScene) -> Response:
    given = {key: value for key, value in (await request.form()).items() if isinstance(value, str)}
    weighed: Weighed | None = None
    try:
        form = await filled(request, ChangeForm)
        asked = form.asked()
        weighed = await server.weigh(asked, principal)
        if is_dangerous(weighed):
            confirm(form.typed, name_of(form.selector))
        weighed = await server.put(asked, principal)
    except (Faults, ChangeInvalid) as error:
        return _form(request, scene, given, weighed, error, 422)
    if not weighed.allowed:
        return _form(request, scene, given, weighed, status=409)
    return seen_at(f"/changes/{weighed.nodes[0].change.batch}")


def is_dangerous(weighed: Weighed) -> bool:
    """What takes more than one node out of service, or overrides the guard, wants its name typed."""
    takes_out = weighed.asked.kind in (ChangeKind.DRAIN, ChangeKind.MAINTENANCE)
    return weighed.asked.forced or (takes_out and len(weighed.nodes) > 1)


def name_of(selector: str) -> str:
    """What is typed to confirm: "zone/wdc01" -> "wdc01"."""
    return selector.partition("/")[2] or selector


def _form(
    request: Request,
    scene: Scene,
    given: dict[str, Any],
    weighed: Weighed | None = None,
    error: Exception | None = None,
    status: int = 200,
) -> HTMLResponse:
    keys = ("selector", "kind", "pool", "factor", "parameter", "value", "lasts", "reason", "forced")
    faults = error.faults if isinstance(error, Faults) else {} if error is None else {"": str(error)}
    return draw(
        request,
        "changes/new.html",
        status=status,
        given={key: str(given.get(key, "")) for key in keys},
        kinds=list(ChangeKind),
        groups=_groups(scene),
        pools=tuple(scene.estate.pools),
        weighed=weighed,
        rows=weighed.nodes[:PLAN_ROWS] if weighed else (),
        summary=_summary(weighed) if weighed else (),
        dangerous=weighed is not None and is_dangerous(weighed),
        name=name_of(str(given.get("selector", ""))),
        ask=ask_id(),
        faults=faults,
    )


def _summary(weighed: Weighed) -> list[str]:
    """The plan in words, without what the table says of each node."""
    by_node = {note for one in weighed.nodes if isinstance(one.verdict, Allowed) for note in one.verdict.notes}
    return [
        words for words in weighed.words if words not in by_node and not words.startswith(("Refused:", "Overridden:"))
    ]


def _groups(scene: Scene) -> dict[str, tuple[str, ...]]:
    """What a selector may be, by its word."""
    index = scene.index
    paths = sorted({path for node in scene.estate.nodes.values() for path in node.paths})
    return {
        "cluster": tuple(index.members),
        "zone": tuple(index.nodes),
        "region": tuple(index.zones),
        "path": tuple(paths),
        "node": tuple(scene.estate.nodes)[:NODES_LISTED],
    }


# --- one of them ----------------------------------------------------------------------------------------------------


@router.get("/changes/{batch}")
async def one(
    request: Request, principal: Viewer, server: TheServer, scene: TheScene, batch: str, number: PageNumber = 1
) -> HTMLResponse:
    shown = changes.batch_page(scene, batch)
    if shown is None:
        raise _gone(batch)
    nodes = page_of(shown.nodes, number, f"/changes/{shown.row.batch}")
    newest = await server.call(lambda: _events(server, [one.change.id for one in nodes.rows]))
    return draw(request, "changes/batch.html", shown=shown, nodes=nodes, events=entries(newest))


def _events(server: Server, ids: list[str]) -> list[Any]:
    """The newest of the first few changes: of a zone's drain nobody reads them all."""
    found = [link.event for one in ids[:3] for link in server.journal.tail(limit=EVENTS, where=Filter(text=one))]
    unique = {event.id: event for event in found}
    return sorted(unique.values(), key=lambda event: event.time, reverse=True)[:EVENTS]


@router.get("/changes/{batch}/undo")
async def plan_undo(request: Request, principal: Operator, scene: TheScene, batch: str) -> HTMLResponse:
    return _undo_page(request, scene, batch)


@router.post("/changes/{batch}/undo")
async def undo(request: Request, principal: Operator, server: TheServer, scene: TheScene, batch: str) -> Response:
    shown = changes.batch_page(scene, batch)
    if shown is None:
        raise _gone(batch)
    try:
        form = await filled(request, UndoForm)
        if shown.open:
            await server.undo(shown.open, principal, form.reason)
    except Faults as faults:
        return _undo_page(request, scene, batch, faults, 422)
    except ChangeUnknown:
        raise _gone(batch) from None
    return seen_at(f"/changes/{shown.row.batch}")


def _undo_page(
    request: Request, scene: Scene, batch: str, faults: Faults | None = None, status: int = 200
) -> HTMLResponse:
    shown = changes.batch_page(scene, batch)
    if shown is None:
        raise _gone(batch)
    return draw(request, "changes/undo.html", status=status, shown=shown, ask=ask_id(),
                faults=faults.faults if faults else {})  # fmt: skip


def _gone(batch: str) -> Problem:
    known = f"No change {batch[:64]} is in force or ended lately."
    return Problem(404, "unknown", f"{known} The journal may still tell of it: /journal?text={batch[:64]}")
