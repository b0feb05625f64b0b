"""/healthz: for whoever watches this server, and for a load balancer before several of them."""

from __future__ import annotations

from fastapi import APIRouter, Response
from typing_extensions import TypedDict

from backstay.server.access.depends import Anybody, TheServer

router = APIRouter(tags=["health"])


class Health(TypedDict):
    status: str  # "ok", "degraded": it shows what it knows, and alters nothing; "ending"


@router.get(
    "/healthz", summary="200 while it does all of its work, else 503. The reasons are told to those who log in."
)
async def health(principal: Anybody, server: TheServer, response: Response) -> Health:
    if server.ending or server.away is not None:
        response.status_code = 503
        return Health(status="ending" if server.ending else "degraded")
    return Health(status="ok")
