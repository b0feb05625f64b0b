"""/api/v1/pools, nodes and parameters: the load-balancer tier as its agents report it. views/ makes what is shown."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from typing_extensions import TypedDict

from backstay.server.access.depends import Viewer
from backstay.server.api.common import After, Limit, Name, page, unknown
from backstay.server.console.rooms.common import TheScene
from backstay.server.views import balance, nodes
from backstay.server.views.balance import BackendRow, Carrier, InPool, PoolRow
from backstay.server.views.composed import NodeState, Parameter, node_state, parameters
from backstay.server.views.nodes import NodeRow

router = APIRouter(prefix="/api/v1", tags=["balance"])

Text = Annotated[str, Query(max_length=100)]


class PoolPage(TypedDict):
    items: list[PoolRow]
    next: str | None


class PoolDetail(TypedDict):
    pool: PoolRow
    load_balancers: tuple[Carrier, ...]
    sentence: str


class BackendPage(TypedDict):
    items: list[BackendRow]
    next: str | None


class NodePage(TypedDict):
    items: list[NodeRow]
    next: str | None


class NodeDetail(TypedDict):
    node: NodeRow
    region: str
    paths: tuple[str, ...]
    pools: tuple[InPool, ...]
    addresses: tuple[str, ...]  # global IPs that it may hold
    shares_fate: str  # who falls with its failure paths


class ParameterPage(TypedDict):
    items: list[Parameter]
    next: str | None


@router.get("/pools", summary="Pools, by name: the sum over the load balancers that carry them.")
async def list_pools(principal: Viewer, scene: TheScene, limit: Limit = 100, after: After = None) -> PoolPage:
    names, more = page(scene.estate.pools, str, after, limit)
    return PoolPage(items=balance.pools(scene, names), next=more)


@router.get("/pools/{pool}", summary="One pool, load balancer by load balancer.")
async def show_pool(principal: Viewer, scene: TheScene, pool: Name) -> PoolDetail:
    shown = _pool(scene, pool)
    return PoolDetail(pool=shown.row, load_balancers=shown.carriers, sentence=shown.sentence)


@router.get("/pools/{pool}/backends", summary="Its backends, by name: state, share with its reason, latency.")
async def list_backends(
    principal: Viewer, scene: TheScene, pool: Name, limit: Limit = 100, after: After = None
) -> BackendPage:
    items, more = page(_pool(scene, pool).backends, lambda row: row.node, after, limit)
    return BackendPage(items=items, next=more)


@router.get("/nodes", summary="Nodes, by name, with how they stand.")
async def list_nodes(
    principal: Viewer,
    scene: TheScene,
    text: Annotated[Text, Query(description="In the name or the address.")] = "",
    zone: Text = "",
    cluster: Text = "",
    state: Annotated[Literal["", "ok", "info", "idle", "warn", "bad"], Query(description="How much it matters.")] = "",
    limit: Limit = 100,
    after: After = None,
) -> NodePage:
    only = nodes.NodeFilter(text=text, zone=zone, cluster=cluster, state=state)
    items, more = page(nodes.rows(scene, only), lambda row: row.node, after, limit)
    return NodePage(items=items, next=more)


@router.get("/nodes/{node}", summary="One node: in which pools, under which changes, on which failure paths.")
async def show_node(principal: Viewer, scene: TheScene, node: Name) -> NodeDetail:
    if node not in scene.estate.nodes:
        raise unknown("node", node, scene.estate.nodes)
    shown = balance.node_page(scene, node)
    return NodeDetail(
        node=shown.row,
        region=shown.region,
        paths=shown.paths,
        pools=shown.pools,
        addresses=shown.addresses,
        shares_fate=shown.shares_fate,
    )


@router.get("/nodes/{node}/state", summary="Its composed state: declared, with all changes in force; its parameters.")
async def show_node_state(principal: Viewer, scene: TheScene, node: Name) -> NodeState:
    """What Puppet and Ansible read of it, and what every agent composes of the same changes."""
    if node not in scene.estate.nodes:
        raise unknown("node", node, scene.estate.nodes)
    return node_state(scene, node)


@router.get("/parameters", summary="Parameters in force, by node and name. One is set by a change.")
async def list_parameters(
    principal: Viewer,
    scene: TheScene,
    node: Annotated[str | None, Query(max_length=63, description="Of this node alone.")] = None,
    limit: Limit = 100,
    after: After = None,
) -> ParameterPage:
    mine = [one for one in parameters(scene) if node in (None, one.node)]
    items, more = page(mine, lambda one: f"{one.node}~{one.name}", after, limit)
    return ParameterPage(items=items, next=more)


def _pool(scene: TheScene, pool: str) -> balance.PoolPage:
    if pool not in scene.estate.pools:
        raise unknown("pool", pool, scene.estate.pools)
    return balance.pool_page(scene, pool)
