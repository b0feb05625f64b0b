"""Global IPs: who holds them and why; move, rearm, freeze."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, Response

from backstay.change import ChangeInvalid, parse_duration
from backstay.journal.store import Filter
from backstay.link.wire import OrderKind
from backstay.server.access.depends import Operator, TheServer, Viewer
from backstay.server.console.draw import draw
from backstay.server.console.forms import Faults, FreezeForm, MoveForm, RearmForm, confirm, filled
from backstay.server.console.rooms.common import TheScene, ask_id, seen_at, unknown
from backstay.server.orders import Ordered
from backstay.server.views.failover import address, address_page, addresses, move_plan
from backstay.server.views.journal import entries
from backstay.server.views.scene import Scene
from backstay.server.views.scene.paging import page_of

router = APIRouter(include_in_schema=False)

EVENTS = 50
PageNumber = Annotated[int, Query(alias="page", ge=1, le=1_000_000)]
Name = Annotated[str, Query(max_length=64)]


def _known(scene: Scene, ip: str) -> None:
    if ip not in scene.estate.global_ips:
        raise unknown("global IP", ip, "/failover")


@router.get("/failover")
async def every_address(request: Request, principal: Viewer, scene: TheScene, number: PageNumber = 1) -> HTMLResponse:
    names = page_of(tuple(scene.estate.global_ips), number, "/failover", rows=20)
    return draw(request, "failover/addresses.html", addresses=addresses(scene, names.rows), names=names)


@router.get("/failover/{ip}")
async def one_address(
    request: Request, principal: Viewer, server: TheServer, scene: TheScene, ip: str, by: Name = ""
) -> HTMLResponse:
    _known(scene, ip)
    newest = await server.call(lambda: server.journal.tail(limit=EVENTS, where=Filter(subject=f"ip/{ip}")))
    events = entries([link.event for link in reversed(newest)])
    return draw(request, "failover/address.html", shown=address_page(scene, ip, by), events=events)


# --- move -----------------------------------------------------------------------------------------------------------


@router.get("/failover/{ip}/move")
async def plan_move(request: Request, principal: Operator, scene: TheScene, ip: str, to: Name = "") -> HTMLResponse:
    _known(scene, ip)
    return _move_page(request, scene, ip, to)


@router.post("/failover/{ip}/move")
async def move(request: Request, principal: Operator, server: TheServer, scene: TheScene, ip: str) -> Response:
    _known(scene, ip)
    try:
        form = await filled(request, MoveForm)
        confirm(form.typed, ip)
        await server.move(ip, form.to, principal, form.reason, order_id=form.ask)
    except (Faults, ChangeInvalid) as error:
        to = str((await request.form()).get("to", ""))[:64]
        return _move_page(request, scene, ip, to, error, 422)
    return seen_at(f"/failover/{ip}")


def _move_page(
    request: Request, scene: Scene, ip: str, to: str, error: Exception | None = None, status: int = 200
) -> HTMLResponse:
    plan = move_plan(scene, ip, to) if to in scene.estate.global_ips[ip].candidates else None
    shown = address(scene, ip)
    return draw(request, "failover/move.html", status=status, ip=shown, to=to, plan=plan, ask=ask_id(),
                faults=_faults(error))  # fmt: skip


# --- rearm ----------------------------------------------------------------------------------------------------------


@router.get("/failover/{ip}/rearm")
async def plan_rearm(request: Request, principal: Operator, scene: TheScene, ip: str, lb: Name = "") -> HTMLResponse:
    _known(scene, ip)
    return _rearm_page(request, scene, ip, lb)


@router.post("/failover/{ip}/rearm")
async def rearm(request: Request, principal: Operator, server: TheServer, scene: TheScene, ip: str) -> Response:
    _known(scene, ip)
    try:
        form = await filled(request, RearmForm)
        ordered = Ordered(
            id=form.ask, kind=OrderKind.REARM, ip=ip, lbs=(form.lb,), false_alarm=form.false_alarm
        )  # fmt: skip
        await server.order(ordered, principal, form.reason)
    except (Faults, ChangeInvalid) as error:
        lb = str((await request.form()).get("lb", ""))[:64]
        return _rearm_page(request, scene, ip, lb, error, 422)
    return seen_at(f"/failover/{ip}")


def _rearm_page(
    request: Request, scene: Scene, ip: str, lb: str, error: Exception | None = None, status: int = 200
) -> HTMLResponse:
    return draw(request, "failover/rearm.html", status=status, ip=address(scene, ip), lb=lb, ask=ask_id(),
                faults=_faults(error))  # fmt: skip


# --- freeze ---------------------------------------------------------------------------------------------------------


@router.get("/failover/{ip}/freeze")
async def plan_freeze(request: Request, principal: Operator, scene: TheScene, ip: str) -> HTMLResponse:
    _known(scene, ip)
    return _freeze_page(request, scene, ip)


@router.post("/failover/{ip}/freeze")
async def freeze(request: Request, principal: Operator, server: TheServer, scene: TheScene, ip: str) -> Response:
    _known(scene, ip)
    try:
        form = await filled(request, FreezeForm)
        if not form.end and not form.lasts:
            raise Faults({"lasts": "Say for how long: 1h, 30m."})  # noqa: TRY301 - shown on the form, as any other
        for_s = 0.0 if form.end else float(parse_duration(form.lasts))
        ordered = Ordered(id=form.ask, kind=OrderKind.FREEZE, ip=ip, for_s=for_s)
        await server.order(ordered, principal, form.reason)
    except (Faults, ChangeInvalid) as error:
        return _freeze_page(request, scene, ip, error, 422)
    return seen_at(f"/failover/{ip}")


def _freeze_page(
    request: Request, scene: Scene, ip: str, error: Exception | None = None, status: int = 200
) -> HTMLResponse:
    shown = address(scene, ip)
    return draw(request, "failover/freeze.html", status=status, ip=shown, ask=ask_id(), faults=_faults(error))


def _faults(error: Exception | None) -> dict[str, str]:
    """By the field that they are of; of the whole: ""."""
    if isinstance(error, Faults):
        return error.faults
    return {} if error is None else {"": str(error)}
