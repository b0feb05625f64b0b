"""/metrics, in Prometheus's text format. It wants a token as everything does (docs/decisions/0147)."""

from __future__ import annotations

import os
import time
from pathlib import Path

from fastapi import APIRouter, Request, Response

from backstay.exposition import CONTENT_TYPE, render
from backstay.journal import JournalError
from backstay.server.access.depends import TheServer, Viewer
from backstay.server.api.feed import Feed
from backstay.server.console.draw import attention_of
from backstay.server.console.rooms.common import AnyScene
from backstay.server.ports import StoreError
from backstay.server.runs.shell import Runs
from backstay.server.shell import Server
from backstay.server.watch.count import Counts
from backstay.server.watch.metrics import Figures, families

router = APIRouter(tags=["health"])


@router.get(
    "/metrics",
    summary="Figures for Prometheus.",
    response_class=Response,
    responses={200: {"description": "Prometheus's text format.", "content": {"text/plain": {}}}},
)
async def metrics(principal: Viewer, request: Request, server: TheServer, scene: AnyScene) -> Response:
    state = request.app.state
    counts, feed, runs = state.counts, state.feed, state.runs
    assert isinstance(counts, Counts) and isinstance(feed, Feed) and isinstance(runs, Runs)
    database_s, journal = await _asked(server)
    figures = Figures(
        started_at=counts.started_at,
        resident_bytes=_resident_bytes(),
        database_s=database_s,
        journal=journal,
        polls=server.polling.total(),
        listeners=feed.listeners,
        runs=runs.under_way,
        under_way=counts.under_way,
        ended=counts.ended,
        taken_s=counts.taken_s,
    )
    return Response(render(families(scene, attention_of(request), figures)), media_type=CONTENT_TYPE)


async def _asked(server: Server) -> tuple[float | None, int | None]:
    """How long the database took to answer, in seconds, and the journal's newest number. None: it did not."""
    if server.away is not None:
        return None, None
    began = time.monotonic()
    try:
        journal = await server.call(server.journal.newest)
    except (JournalError, StoreError):
        return None, None
    return time.monotonic() - began, journal


def _resident_bytes() -> int:
    """Of this process (proc(5), statm)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
