"""The journal: search, one event with what led to it and what came of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from backstay.change import ChangeInvalid, parse_duration
from backstay.journal import EventInvalid, parse_time
from backstay.journal.store import Filter
from backstay.server.access.depends import TheServer, Viewer
from backstay.server.console.draw import draw
from backstay.server.problem import Problem
from backstay.server.shell import Server
from backstay.server.views.journal import JournalPage, Search, journal_page, story_page
from backstay.server.views.scene.paging import ROWS

router = APIRouter(include_in_schema=False)

Text = Annotated[str, Query(max_length=200)]
SKIP_LIMIT = 5_000


@router.get("/journal")
async def journal(  # noqa: PLR0913, PLR0917 - the fields of the search
    request: Request,
    principal: Viewer,
    server: TheServer,
    text: Text = "",
    kind: Text = "",
    subject: Text = "",
    actor: Text = "",
    since: Text = "",
    until: Text = "",
    skip: Annotated[int, Query(ge=0, le=SKIP_LIMIT)] = 0,
) -> HTMLResponse:
    search = Search(
        text=text.strip(),
        kind=kind.strip(),
        subject=subject.strip(),
        actor=actor.strip(),
        since=since.strip(),
        until=until,
        skip=skip,
    )
    try:
        begin, end = moment_of(search.since, server.now()), moment_of(search.until, server.now())
    except ValueError as error:
        shown = journal_page(search, [], None)
        return draw(request, "journal/list.html", status=422, shown=shown, fault=str(error))
    shown = await server.call(_search, server, search, begin, end)
    return draw(request, "journal/list.html", shown=shown, fault="")


def _search(server: Server, search: Search, begin: datetime | None, end: datetime | None) -> JournalPage:
    where = Filter(
        kind=search.kind or None,
        subject=search.subject or None,
        actor=search.actor or None,
        text=search.text or None,
        since=begin,
        until=end,
    )
    links = server.journal.tail(limit=ROWS + 1 + search.skip, where=where)
    events = [link.event for link in reversed(links)][search.skip :]
    return journal_page(search, events, end)


def moment_of(text: str, now: datetime) -> datetime | None:
    """ "2h" ago, or an ISO 8601 time, in UTC unless it says otherwise. None for "". Raises ValueError in words."""
    if not text:
        return None
    try:
        return now - timedelta(seconds=parse_duration(text))
    except ChangeInvalid:
        pass  # no duration: then it is a time
    try:
        return parse_time(text)
    except EventInvalid:
        pass
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        raise ValueError(f'"{text[:40]}" is no time. Write how long ago (2h, 1d), or 2026-11-23T12:00.') from None


@router.get("/journal/{event_id}")
async def event(request: Request, principal: Viewer, server: TheServer, event_id: str) -> HTMLResponse:
    story, link = await server.call(lambda: (server.journal.causes(event_id), server.journal.get(event_id)))
    if story is None or link is None:
        raise Problem(404, "unknown", f"The journal has no event {event_id[:64]}. Search it: /journal")
    return draw(request, "journal/event.html", shown=story_page(story, link.seq, link.hash))
