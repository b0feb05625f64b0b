"""/api/v1/ips: global IPs. Who holds them and why; move, rearm, freeze. An order is done once; its outcome follows."""

from __future__ import annotations

import hashlib
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field
from typing_extensions import TypedDict

from backstay.change import ChangeInvalid
from backstay.change.durations import DURATION_LIMIT_S
from backstay.estate.model import Name as EstateName
from backstay.journal.store import Filter
from backstay.journal.wire import format_time
from backstay.link.wire import OrderKind
from backstay.server.access.answers import once_by_key
from backstay.server.access.depends import Operator, TheServer, Viewer
from backstay.server.api.common import After, Key, Limit, Name, Reason, page, unknown
from backstay.server.api.journal import EventPage, events_page
from backstay.server.console.rooms.common import TheScene
from backstay.server.model import Principal, ServerOrder
from backstay.server.orders import Ordered
from backstay.server.problem import Problem
from backstay.server.shell import Server
from backstay.server.views import failover
from backstay.server.views.failover import Address, ProbeRow, Trace
from backstay.server.views.scene import Scene

router = APIRouter(prefix="/api/v1", tags=["failover"])


class MoveBody(Reason):
    to: EstateName
    """The load balancer that shall hold it: one of its candidates."""


class RearmBody(Reason):
    lb: EstateName | None = None
    """The candidate that a person has looked at; absent: all of them."""
    false_alarm: bool = False
    """Its last takeover was for nothing: it is more patient from now on."""


class FreezeBody(Reason):
    for_s: Annotated[float, Field(ge=0, le=DURATION_LIMIT_S)]
    """No automatic takeover for so long; 0 ends a freeze."""


class AddressPage(TypedDict):
    items: list[Address]
    next: str | None


class Evidence(TypedDict):
    """Why one candidate holds the others for alive or dead."""

    address: Address
    by: str  # whose view this is; "": no candidate is connected
    watchers: tuple[str, ...]  # whose it could be: `lb`
    probes: tuple[ProbeRow, ...]
    trace: Trace | None  # None: it has suspected nobody since its start


class OrderView(TypedDict):
    id: str
    lb: str  # who carries it out
    kind: str  # "expect", "move", "rearm", "freeze"
    ip: str
    to: str | None
    for_s: float | None
    false_alarm: bool
    actor: str
    reason: str
    created_at: str
    expires_at: str  # not begun by then, it is not done any more
    event: str | None  # the journal's
    done: bool | None  # None: its load balancer has not said yet
    detail: str  # why not; what is so now


class OrderPage(TypedDict):
    items: list[OrderView]  # newest first
    next: str | None


class Orders(TypedDict):
    items: list[OrderView]  # all that were given, as they stand


@router.get("/ips", summary="Global IPs, by name: who holds each, by whose word, and what each candidate is to it.")
async def list_ips(principal: Viewer, scene: TheScene, limit: Limit = 100, after: After = None) -> AddressPage:
    items, more = page(failover.addresses(scene), lambda row: row.name, after, limit)
    return AddressPage(items=items, next=more)


@router.get("/ips/{ip}", summary="One global IP.")
async def show_ip(principal: Viewer, scene: TheScene, ip: Name) -> Address:
    _known(scene, ip)
    return failover.address(scene, ip)


@router.get("/ips/{ip}/explain", summary="Probes and evidence of one candidate.")
async def explain_ip(
    principal: Viewer,
    scene: TheScene,
    ip: Name,
    lb: Annotated[str, Query(max_length=63, description="Whose; absent: who suspected somebody last.")] = "",
) -> Evidence:
    _known(scene, ip)
    if lb and lb not in scene.estate.global_ips[ip].candidates:
        raise Problem(
            404, "unknown", f"{lb} is no candidate of {ip}: {', '.join(scene.estate.global_ips[ip].candidates)}."
        )
    shown = failover.address_page(scene, ip, lb)
    return Evidence(address=shown.address, by=shown.by, watchers=shown.watchers, probes=shown.probes, trace=shown.trace)


@router.get("/ips/{ip}/history", summary="What happened to it, newest first.")
async def list_ip_history(
    principal: Viewer, server: TheServer, scene: TheScene, ip: Name, limit: Limit = 100, after: After = None
) -> EventPage:
    _known(scene, ip)
    return await events_page(server, Filter(subject=f"ip/{ip}"), after, limit)


@router.get("/ips/{ip}/orders", summary="What people asked for it lately, and what became of it. Newest first.")
async def list_orders(
    principal: Viewer, scene: TheScene, ip: Name, limit: Limit = 100, after: After = None
) -> OrderPage:
    _known(scene, ip)
    mine = [order_view(one) for one in scene.snapshot.orders if one.order.ip == ip]
    items, more = page(mine, lambda one: f"{one['created_at']}~{one['id']}", after, limit, newest=True)
    return OrderPage(items=items, next=more)


@router.post(
    "/ips/{ip}/move",
    status_code=202,
    summary="Move it as planned: the others are told first, for up to 3 s, then the target takes it.",
)
@once_by_key
async def move_ip(
    principal: Operator, server: TheServer, scene: TheScene, key: Key, ip: Name, body: MoveBody
) -> Orders:
    _known(scene, ip)
    try:
        given = await server.move(ip, body.to, principal, body.reason, order_id=_order_id(principal, key))
    except ChangeInvalid as error:
        raise Problem(422, "invalid", str(error)) from None
    return Orders(items=[order_view(one) for one in given])


@router.post("/ips/{ip}/rearm", status_code=202, summary="A person has looked: the candidate may take it over again.")
@once_by_key
async def rearm_ip(
    principal: Operator, server: TheServer, scene: TheScene, key: Key, ip: Name, body: RearmBody
) -> Orders:
    lbs = None if body.lb is None else (body.lb,)
    ordered = Ordered(id=_order_id(principal, key), kind=OrderKind.REARM, ip=ip, lbs=lbs, false_alarm=body.false_alarm)
    return await _order(server, scene, ordered, principal, body.reason)


@router.post("/ips/{ip}/freeze", status_code=202, summary="No automatic takeover for a while, by any candidate.")
@once_by_key
async def freeze_ip(
    principal: Operator, server: TheServer, scene: TheScene, key: Key, ip: Name, body: FreezeBody
) -> Orders:
    ordered = Ordered(id=_order_id(principal, key), kind=OrderKind.FREEZE, ip=ip, for_s=body.for_s)
    return await _order(server, scene, ordered, principal, body.reason)


async def _order(server: Server, scene: Scene, ordered: Ordered, principal: Principal, reason: str) -> Orders:
    _known(scene, ordered.ip)
    try:
        given = await server.order(ordered, principal, reason)
    except ChangeInvalid as error:
        raise Problem(422, "invalid", str(error)) from None
    return Orders(items=[order_view(one) for one in given])


def _order_id(principal: Principal, key: str) -> str:
    """The same for a repetition, another for anybody else who uses the same key: a known order is not given again."""
    return hashlib.sha256(f"{principal.name}/{key}".encode()).hexdigest()[:32]


def order_view(one: ServerOrder) -> OrderView:
    order = one.order
    return OrderView(
        id=order.id,
        lb=one.lb,
        kind=order.kind.value,
        ip=order.ip,
        to=order.to,
        for_s=order.for_s,
        false_alarm=order.false_alarm,
        actor=order.actor,
        reason=order.reason,
        created_at=format_time(one.created_at),
        expires_at=format_time(one.expires_at),
        event=one.event,
        done=None if one.outcome is None else one.outcome.done,
        detail="" if one.outcome is None else one.outcome.detail,
    )


def _known(scene: Scene, ip: str) -> None:
    if ip not in scene.estate.global_ips:
        raise unknown("global IP", ip, scene.estate.global_ips)
