"""What the pages share: the scene of a request, the page of a table, ids of askings, problems in words."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query, Request
from fastapi.responses import RedirectResponse

from backstay.journal import new_id
from backstay.server.console.draw import scene_of
from backstay.server.problem import Problem
from backstay.server.views.scene import Scene

FOUND = 303  # after a form: look at this, with a GET


async def _scene(request: Request) -> Scene:  # async: it does no I/O, and needs no thread (access/depends.py)
    return scene_of(request)


async def _placed(request: Request) -> Scene:
    scene = scene_of(request)
    if scene.snapshot.estate is None:
        raise Problem(404, "no_estate", "This server has no estate to show yet. The overview says what to do first.")
    return scene


AnyScene = Annotated[Scene, Depends(_scene)]
TheScene = Annotated[Scene, Depends(_placed)]  # with an estate, or the request ends here

PageNumber = Annotated[int, Query(alias="page", ge=1, le=1_000_000)]  # of a table's rows: views/scene/paging.py


def ask_id() -> str:
    """Names one asking: a form that is sent twice asks once."""
    return new_id()


def seen_at(path: str) -> RedirectResponse:
    """What was asked for is done, or under way: look there."""
    return RedirectResponse(path, status_code=FOUND)


def unknown(what: str, name: str, where: str) -> Problem:
    return Problem(404, "unknown", f"There is no {what} {name[:64]} in this estate. What there is: {where}")
