"""Every route of the application, asked by everybody: the table of docs/security.md says who may, and it is the truth.

The handlers do not run here: who may is decided before them. A route that the table does not know fails, and so does a
row without its route. To add a route, add its row.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import Response
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts

from access_rig import Browser, Rig, an_app
from backstay.server.access.depends import AgentOfPath, Public, Require
from backstay.server.app import OPENAPI_PATH
from backstay.server.model import Role

PAGE = Path(__file__).parents[4] / "docs" / "security.md"
ROW = re.compile(r"\| `([A-Z]+) (/\S*)` \| (anybody|viewer|operator|admin|agent) \|")
MAY = {
    # who is asked for: who may
    "anybody": {"nobody", "viewer", "operator", "admin", "token", "agent lb1", "agent lb2"},
    "viewer": {"viewer", "operator", "admin", "token"},
    "operator": {"operator", "admin"},
    "admin": {"admin"},
    "agent": {"agent lb1"},
}
FOR_TOKENS = ("/api/v1/", "/metrics")
DONE = 299  # what a handler that was reached answers here


def documented() -> dict[tuple[str, str], str]:
    rows = ROW.findall(PAGE.read_text())
    assert len({row[:2] for row in rows}) == len(rows), "a route is in the table twice"
    return {(method, path): who for method, path, who in rows}


def declared(route: RouteContext) -> str:
    """Who may, as the route's own dependency says."""
    calls = [one.call for one in route.dependant.dependencies]
    found = [call for call in calls if isinstance(call, (Require, AgentOfPath, Public))]
    assert len(found) == 1, f"{route.path} must have one of Viewer, Operator, Admin, AgentOf and Anybody"
    if isinstance(found[0], Require):
        return found[0].role.value
    return "agent" if isinstance(found[0], AgentOfPath) else "anybody"


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with an_app(tmp_path) as rig:
        yield rig


def routes(rig: Rig) -> dict[tuple[str, str], str]:
    found = {("GET", OPENAPI_PATH): "anybody"}  # FastAPI's own
    for route in iter_route_contexts(rig.app.routes):
        if isinstance(route.original_route, APIRoute):
            found |= {(method, str(route.path)): declared(route) for method in route.methods or ()}
        else:
            assert route.path == OPENAPI_PATH, f"{route.path} is no route that says who may"
    return found


async def test_the_table_of_the_documentation_is_what_the_routes_say(rig: Rig) -> None:
    found, table = routes(rig), documented()
    missing = [f"| `{method} {path}` | {who} |" for (method, path), who in found.items() if (method, path) not in table]
    assert not missing, "add to the table of docs/security.md:\n" + "\n".join(missing)
    assert table == found


async def test_every_route_lets_in_whom_the_table_names_and_nobody_else(rig: Rig) -> None:
    for route in iter_route_contexts(rig.app.routes):
        if isinstance(route.original_route, APIRoute):
            route.dependant.call = _done if inspect.iscoroutinefunction(route.endpoint) else _done_in_a_thread
    asking: dict[str, Browser] = {
        "nobody": rig.browser(),
        "viewer": await rig.user("vera", Role.VIEWER),
        "operator": await rig.user("otto", Role.OPERATOR),
        "admin": await rig.user("ada", Role.ADMIN),
        "token": rig.token("monitoring", Role.VIEWER),
        "agent lb1": await rig.agent("lb1"),
        "agent lb2": await rig.agent("lb2"),
    }
    for (method, path), who in documented().items():
        for name, client in asking.items():
            answer = await client.request(method, re.sub(r"\{lb\}", "lb1", re.sub(r"\{(?!lb\})[^}]*\}", "x", path)))
            may = name in MAY[who] and (name != "token" or who == "anybody" or path.startswith(FOR_TOKENS))
            assert _let_in(answer) == may, f"{name}: {method} {path}: {answer.status_code} {answer.text[:300]}"


async def test_every_refusal_of_the_walk_is_journaled(rig: Rig) -> None:
    vera = await rig.user("vera", Role.VIEWER)
    answer = await vera.post("/api/v1/users", json={"name": "mallory", "role": "admin", "reason": "because"})
    assert answer.status_code == 403
    event = rig.journaled("access.refused")[-1]
    assert (event.actor, event.data["what"], event.data["code"]) == ("vera", "POST /api/v1/users", "role")


async def test_a_route_that_does_not_say_who_may_is_found_out(rig: Rig) -> None:
    @rig.app.get("/api/v1/backdoor")
    async def backdoor() -> dict[str, str]:
        return {}

    with pytest.raises(AssertionError, match="/api/v1/backdoor must have one of"):
        routes(rig)


async def _done(**_: Any) -> Response:
    return Response(status_code=DONE)


def _done_in_a_thread(**_: Any) -> Response:
    return Response(status_code=DONE)


def _let_in(answer: Any) -> bool:
    """Was it anything else than a refusal? An empty body is a fault of its own (422), found after the refusal."""
    to_login = answer.status_code == 303 and answer.headers["location"].startswith("/login")
    return answer.status_code not in (401, 403) and not to_login
