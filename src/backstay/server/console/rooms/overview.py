"""The first page; for a new server, what to do first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from backstay.journal.store import Filter
from backstay.server.access.depends import TheServer, TheSettings, Viewer
from backstay.server.console.draw import attention_of, draw
from backstay.server.console.rooms.common import AnyScene, ask_id
from backstay.server.views.journal import entries
from backstay.server.views.overview import overview, promises

if TYPE_CHECKING:
    from backstay.journal import Event
    from backstay.server.shell import Server

router = APIRouter(include_in_schema=False)

EVENTS = 8  # of the journal on the first page
MEASURED_EVENTS = 200  # that are looked through for what was measured
_OF_TAKEOVERS = ("ip.suspected", "ip.takeover_started", "ip.verified")


@router.get("/")
async def first_page(
    request: Request, principal: Viewer, server: TheServer, settings: TheSettings, scene: AnyScene
) -> HTMLResponse:
    if scene.snapshot.adopted is None:
        return draw(request, "first_steps.html", base_url=settings.base_url, secure=settings.secure, ask=ask_id())
    if scene.snapshot.estate is None:
        return draw(request, "estate/unfit.html")
    newest, drains, takeovers = await server.call(_from_journal, server)
    shown = overview(scene, attention_of(request), promises(scene, drains, takeovers), newest)
    return draw(request, "overview.html", shown=shown, events=entries(newest))


def _from_journal(server: Server) -> tuple[list[Event], list[Event], list[Event]]:
    """The newest events; drains that are proven; what happened to addresses. The newest first."""
    journal = server.journal

    def newest(limit: int, kind: str | None = None) -> list[Event]:
        where = Filter(kind=kind) if kind else None
        return [link.event for link in reversed(journal.tail(limit=limit, where=where))]

    takeovers = [event for kind in _OF_TAKEOVERS for event in newest(MEASURED_EVENTS, kind)]
    takeovers.sort(key=lambda event: event.time, reverse=True)
    return newest(EVENTS), newest(1, "drain.done"), takeovers
