"""/api/v1/changes: what is temporary. Put (with the guard's verdict, or a dry run of it), list, look at, undo.

The Idempotency-Key is the id of what is asked for: sent again, also after a crash or to another server, it is the same
change, carried out once.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import Field
from typing_extensions import TypedDict

from backstay.change import ChangeInvalid, ChangeKind, ChangeUnknown, verdict_json
from backstay.change.wire import Line
from backstay.journal.wire import format_time
from backstay.link.views import EndedView
from backstay.server.access.answers import once_by_key
from backstay.server.access.depends import Operator, TheServer, Viewer
from backstay.server.api.common import After, Body, Id, Key, Limit, Reason, page, time_or_none
from backstay.server.console.rooms.common import AnyScene
from backstay.server.model import Principal, ServerChange
from backstay.server.problem import Problem
from backstay.server.shell import Server
from backstay.server.views.changes import DRAINS, Arrival, batch_page
from backstay.server.weigh import Asked, Weighed

router = APIRouter(prefix="/api/v1", tags=["changes"])

Selector = Annotated[
    str,
    Field(
        min_length=1,
        max_length=200,
        description="node/NAME, nodes/GLOB, zone/NAME, region/NAME, cluster/NAME or path/NAME.",
        examples=["node/web2", "zone/wdc01", "cluster/web", "nodes/web*"],
    ),
]
PoolName = Annotated[str, Field(max_length=63)]


class AskedBody(Body):
    """One change of every node that `selector` means; all of them, or none when the guard refuses one."""

    selector: Selector
    kind: ChangeKind
    reason: Line
    pool: PoolName | None = None
    """Only in this pool; absent: in all that a node serves in."""
    factor: float | None = None
    """WEIGHT: on the share, above 0 and at most 4."""
    parameter: Annotated[str, Field(max_length=200)] | None = None
    """PARAMETER: its name, as Puppet knows it."""
    value: Any = None
    """PARAMETER: any JSON."""
    duration_s: float | None = None
    """Absent: until undone."""
    forced: bool = False
    """Override what the guard lets itself be overridden; it is journaled."""
    dry_run: bool = False
    """Weigh it, and alter nothing."""

    def asked(self, key: str) -> Asked:
        return Asked(id=key, **{name: value for name, value in self if name != "dry_run"})


class UndoBody(Reason):
    batch: bool = False
    """All that was asked for in one go with it, instead of this node's alone."""


class UndrainBody(Reason):
    """End every drain and maintenance of the nodes that `selector` means; with `pool`, those of that pool alone."""

    selector: Selector
    pool: PoolName | None = None


class ChangeView(TypedDict):
    id: str
    batch: str  # id of the first change of what was asked for in one go
    selector: str
    kind: str
    node: str
    pool: str | None
    factor: float | None
    parameter: str | None
    value: Any
    actor: str
    reason: str
    created_at: str
    expires_at: str | None  # None: until undone
    forced: bool
    event: str | None  # the journal's
    ended: EndedView | None  # None: in force


class NodeVerdict(TypedDict):
    node: str
    change: str
    verdict: dict[str, Any]  # as `verdict_json` of change/wire.py: allowed, code, sentence, pool, figures, notes


class PlanView(TypedDict):
    """What was asked for, as it was weighed; and put, unless it was a dry run."""

    id: str
    allowed: bool
    already: bool  # it was put before: nothing was altered now
    revision: int
    words: list[str]
    nodes: list[NodeVerdict]
    changes: list[ChangeView]


class ChangeDetail(ChangeView):
    load_balancers: list[Arrival]  # where it arrived, with its proof; none of a parameter, and of what ended long ago


class ChangesPage(TypedDict):
    items: list[ChangeView]
    next: str | None


class EndedChanges(TypedDict):
    items: list[ChangeView]  # as they ended


@router.post(
    "/changes",
    status_code=201,
    summary="Put a change in force, or weigh it (dry_run).",
    responses={200: {"description": "Weighed, or put before: nothing is altered.", "model": PlanView}},
)
@once_by_key
async def put_change(principal: Operator, server: TheServer, key: Key, body: AskedBody, response: Response) -> PlanView:
    try:
        asked = body.asked(key)
        weighed = await (server.weigh(asked, principal) if body.dry_run else server.put(asked, principal))
    except ChangeInvalid as error:
        raise Problem(422, "invalid", str(error)) from None
    if not weighed.allowed and not body.dry_run:
        first = weighed.refused[0]
        detail = " ".join(dict.fromkeys(refused.sentence for refused in weighed.refused[:5]))
        figures = dict(first.figures) | {"refused": len(weighed.refused)}
        raise Problem(409 if weighed.overridable else 422, first.reason.value, detail, figures=figures)
    if body.dry_run or weighed.already:
        response.status_code = 200
    return plan_view(weighed)


@router.get("/changes", summary="What is in force, oldest first; or what ended lately, newest first.")
async def list_changes(
    principal: Viewer,
    server: TheServer,
    ended: Annotated[bool, Query(description="What ended lately instead.")] = False,
    node: Annotated[str | None, Query(max_length=63, description="Of this node alone.")] = None,
    kind: Annotated[ChangeKind | None, Query(description="Of this kind alone.")] = None,
    batch: Annotated[str | None, Query(max_length=64, description="Asked for in one go with this one.")] = None,
    limit: Limit = 100,
    after: After = None,
) -> ChangesPage:
    snapshot = server.snapshot()
    chosen = [
        change
        for change in (snapshot.ended if ended else snapshot.changes)
        if node in (None, change.node) and kind in (None, change.kind) and batch in (None, change.batch)
    ]
    items, more = page(chosen, _place, after, limit, newest=ended)
    return ChangesPage(items=[change_view(change) for change in items], next=more)


def _place(change: ServerChange) -> str:
    """Its place in a list: by time, then by id."""
    time = change.created_at if change.ended is None else change.ended.at
    return f"{format_time(time)}~{change.id}"


@router.get("/changes/{id}", summary="One change, in force or ended; where it arrived, with its proof.")
async def show_change(principal: Viewer, server: TheServer, scene: AnyScene, id: Id) -> ChangeDetail:
    change = await _find(server, id)
    shown = batch_page(scene, id)
    arrivals = next((one.arrivals for one in shown.nodes if one.change.id == id), ()) if shown else ()
    return ChangeDetail(**change_view(change), load_balancers=list(arrivals))


@router.post("/changes/{id}/undo", summary="End a change; one that ended already stays as it ended.")
@once_by_key
async def undo_change(principal: Operator, server: TheServer, key: Key, id: Id, body: UndoBody) -> EndedChanges:
    change = await _find(server, id)
    group = await server.call(server.store.batch, change.batch) if body.batch else [change]
    return await _end(server, [one.id for one in group], principal, body.reason)


@router.post("/changes/drains/end", summary="End every drain and maintenance of some nodes. Slow start follows.")
@once_by_key
async def undrain(principal: Operator, server: TheServer, key: Key, body: UndrainBody) -> EndedChanges:
    places = server.newest.places
    if places is None:
        raise Problem(409, "no_estate", "This server has no estate yet. Adopt one first.")
    try:
        nodes = set(places.nodes(body.selector))
    except ChangeInvalid as error:
        raise Problem(422, "invalid", str(error)) from None
    drains = [one for one in server.snapshot().changes if one.node in nodes and one.kind in DRAINS]
    wider = [one for one in drains if body.pool is not None and one.pool is None]
    if wider:
        detail = f"{wider[0].node} is drained in all of its pools, not in {body.pool} alone. Undrain it without `pool`."
        raise Problem(409, "wider", detail)
    ids = [one.id for one in drains if body.pool in (None, one.pool)]
    return await _end(server, ids, principal, body.reason)


async def _find(server: Server, id: str) -> ServerChange:
    found = await server.call(server.store.find_changes, [id])
    if not found:
        raise Problem(404, "unknown", f"No change {id} here. What there is: /api/v1/changes")
    return found[0]


async def _end(server: Server, ids: list[str], principal: Principal, reason: str) -> EndedChanges:
    try:
        ended = await server.undo(ids, principal, reason)
    except ChangeUnknown as error:
        raise Problem(404, "unknown", str(error)) from None
    return EndedChanges(items=[change_view(one) for one in ended])


def plan_view(weighed: Weighed) -> PlanView:
    return PlanView(
        id=weighed.asked.id,
        allowed=weighed.allowed,
        already=weighed.already,
        revision=weighed.revision,
        words=list(weighed.words),
        nodes=[
            NodeVerdict(node=node.change.node, change=node.change.id, verdict=verdict_json(node.verdict))
            for node in weighed.nodes
        ],
        changes=[change_view(node.change) for node in weighed.nodes],
    )


def change_view(change: ServerChange) -> ChangeView:
    ended = change.ended
    return ChangeView(
        id=change.id,
        batch=change.batch,
        selector=change.selector,
        kind=change.kind.value,
        node=change.node,
        pool=change.pool,
        factor=change.factor,
        parameter=change.parameter,
        value=change.value,
        actor=change.actor,
        reason=change.reason,
        created_at=format_time(change.created_at),
        expires_at=time_or_none(change.expires_at),
        forced=change.forced,
        event=change.event,
        ended=None
        if ended is None
        else EndedView(by=ended.by.value, at=format_time(ended.at), actor=ended.actor, reason=ended.reason),
    )
