"""/api/v1/stream: what happens, as it happens (server-sent events). feed.py makes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import StreamingResponse

from backstay.server.access.depends import Viewer, who_now
from backstay.server.api.feed import Feed
from backstay.server.model import Principal
from backstay.server.problem import Problem

CHECK_EVERY_S = 10.0
SEQ_LIMIT = 2**63 - 1

router = APIRouter(prefix="/api/v1", tags=["stream"])


async def _feed(request: Request) -> Feed:
    feed = request.app.state.feed
    assert isinstance(feed, Feed)
    return feed


After = Annotated[
    int | None,
    Query(ge=0, le=SEQ_LIMIT, description="Go on after this number of the journal; Last-Event-ID stands above it."),
]
LastEventId = Annotated[
    str | None, Header(max_length=40, description="The id of the last event that was heard; browsers send it.")
]
_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": (
            "`event: journal` (data: an event of the journal with its number `seq`, which is also its id), "
            '`event: revision` (data: `{"revision": 7}`), `event: report` (data: `{"lb": "lb1"}`), and '
            "`event: alive` after ten seconds in which nothing happened."
        ),
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


@router.get(
    "/stream",
    summary="What happens, as it happens: server-sent events.",
    response_class=StreamingResponse,
    responses=_EVENTS,
)
async def stream(
    request: Request,
    principal: Viewer,
    feed: Annotated[Feed, Depends(_feed)],
    after: After = None,
    last_event_id: LastEventId = None,
) -> StreamingResponse:
    """Ids are places in the journal, so that who comes back with Last-Event-ID has missed nothing of it."""
    start = after
    if last_event_id is not None and last_event_id.isascii() and last_event_id.isdecimal():
        start = min(int(last_event_id), SEQ_LIMIT)
    full = feed.full(principal.name)
    if full:
        raise Problem(503, "too_many", full, headers={"Retry-After": "10"})
    return StreamingResponse(
        _while_let_in(request, principal, feed, start),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},  # nginx: pass on each event at once
    )


async def _while_let_in(request: Request, principal: Principal, feed: Feed, after: int | None) -> AsyncGenerator[bytes]:
    """Until they may no more: who logs out, or is disabled, hears nothing else within CHECK_EVERY_S."""
    loop = asyncio.get_running_loop()
    checked = loop.time()
    async with aclosing(feed.listen(principal.name, after)) as told:
        async for body in told:
            yield body
            if loop.time() - checked >= CHECK_EVERY_S:
                checked = loop.time()
                if await who_now(request) is None:
                    return
