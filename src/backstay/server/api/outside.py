"""What other programs read: Puppet's classification of a node, Ansible's inventory. views/outside/ makes them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from backstay.server.access.depends import Viewer
from backstay.server.api.common import unknown
from backstay.server.console.rooms.common import TheScene
from backstay.server.views.composed import node_state
from backstay.server.views.outside import ansible, node_named, puppet

router = APIRouter(prefix="/api/v1", tags=["outside"])

Certname = Annotated[str, Path(max_length=253, description="As the estate names it, or its certname: web2.example.com")]
_YAML: dict[int | str, dict[str, Any]] = {
    200: {"description": "YAML.", "content": {puppet.MEDIA_TYPE: {"schema": {"type": "object"}}}}
}


@router.get(
    "/nodes/{node}/enc",
    summary="Its classes, parameters and environment, for Puppet (an external node classifier's output).",
    response_class=Response,
    responses=_YAML,
)
async def classify_node(principal: Viewer, scene: TheScene, node: Certname) -> Response:
    """The same that `backstay enc` prints."""
    name = node_named(node)
    if name not in scene.estate.nodes:
        raise unknown("node", node, scene.estate.nodes)
    return Response(puppet.as_yaml(puppet.classified(node_state(scene, name))), media_type=puppet.MEDIA_TYPE)


@router.get("/inventory", summary="All nodes in groups, for Ansible (a dynamic inventory's --list).")
async def show_inventory(principal: Viewer, scene: TheScene) -> dict[str, Any]:
    """The same that `backstay inventory --list` prints."""
    return ansible.inventory(node_state(scene, node) for node in scene.estate.nodes)
