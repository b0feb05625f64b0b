"""Pools, one pool, nodes, one node."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from backstay.journal.store import Filter
from backstay.server.access.depends import TheServer, Viewer
from backstay.server.console.draw import draw
from backstay.server.console.rooms.common import PageNumber, TheScene, unknown
from backstay.server.views import balance, nodes
from backstay.server.views.journal import entries
from backstay.server.views.scene.paging import page_of

router = APIRouter(include_in_schema=False)

EVENTS = 20
Text = Annotated[str, Query(max_length=100)]


@router.get("/balance")
async def pools(request: Request, principal: Viewer, scene: TheScene, number: PageNumber = 1) -> HTMLResponse:
    names = page_of(tuple(scene.estate.pools), number, "/balance")
    return draw(request, "balance/pools.html", pools=balance.pools(scene, names.rows), names=names)


@router.get("/balance/{pool}")
async def pool(request: Request, principal: Viewer, scene: TheScene, pool: str, number: PageNumber = 1) -> HTMLResponse:
    if pool not in scene.estate.pools:
        raise unknown("pool", pool, "/balance")
    shown = balance.pool_page(scene, pool)
    backends = page_of(shown.backends, number, f"/balance/{pool}")
    return draw(request, "balance/pool.html", shown=shown, backends=backends)


@router.get("/nodes")
async def node_list(
    request: Request,
    principal: Viewer,
    scene: TheScene,
    text: Text = "",
    zone: Text = "",
    cluster: Text = "",
    state: Literal["", "ok", "info", "idle", "warn", "bad"] = "",
    number: PageNumber = 1,
) -> HTMLResponse:
    only = nodes.NodeFilter(text=text.strip().lower(), zone=zone, cluster=cluster, state=state)
    found = page_of(nodes.rows(scene, only), number, "/nodes", only.query())
    return draw(
        request, "balance/nodes.html", only=only, found=found, zones=scene.index.nodes, clusters=scene.index.members
    )


@router.get("/nodes/{node}")
async def node(request: Request, principal: Viewer, server: TheServer, scene: TheScene, node: str) -> HTMLResponse:
    if node not in scene.estate.nodes:
        raise unknown("node", node, "/nodes")
    newest = await server.call(lambda: server.journal.tail(limit=EVENTS, where=Filter(subject=f"node/{node}")))
    events = entries([link.event for link in reversed(newest)])
    return draw(request, "balance/node.html", shown=balance.node_page(scene, node), events=events)
