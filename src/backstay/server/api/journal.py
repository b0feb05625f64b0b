"""/api/v1/journal: what happened, who did it, why, and what came of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Annotated, cast

from fastapi import APIRouter, Query
from typing_extensions import TypedDict

from backstay.journal import Event, EventInvalid, Link, event_json, format_time, parse_time
from backstay.journal.chain import GENESIS
from backstay.journal.store import Filter
from backstay.link.views import EventView
from backstay.server.access.depends import TheServer, Viewer
from backstay.server.api.common import After, Id, Limit
from backstay.server.problem import Problem
from backstay.server.shell import Server

SEQ_LIMIT = 2**63 - 1

router = APIRouter(prefix="/api/v1", tags=["journal"])

# Not a datetime: pydantic takes a number for one, as seconds since 1970.
Moment = Annotated[str | None, Query(max_length=40, json_schema_extra={"format": "date-time"})]
Pattern = Annotated[str | None, Query(max_length=200)]


class LinkView(EventView):
    """An event with its place in the hash chain."""

    seq: int
    previous: str
    hash: str


class EventPage(TypedDict):
    items: list[LinkView]
    next: str | None


class StoryView(TypedDict):
    """One event: what led to it (the first cause first), itself, what came of it."""

    link: LinkView
    causes: list[EventView]
    effects: list[EventView]
    cut: bool  # there is more than is shown


class HeadView(TypedDict):
    seq: int  # 0: it is empty
    hash: str


@router.get("/journal", summary="Events, newest first; or, with `since_seq`, in the order in which they came in.")
async def list_events(  # noqa: PLR0913, PLR0917 - a parameter is a filter
    principal: Viewer,
    server: TheServer,
    kind: Annotated[Pattern, Query(description='"drain.started"; * stands for any text.')] = None,
    subject: Annotated[Pattern, Query(description='"node/web2", "ip/*".')] = None,
    actor: Annotated[Pattern, Query(description='"alice", "agent/*".')] = None,
    text: Annotated[Pattern, Query(description="Anywhere in subject, actor, reason or data.")] = None,
    since: Annotated[Moment, Query(description="Not before.")] = None,
    until: Annotated[Moment, Query(description="Before.")] = None,
    since_seq: Annotated[
        int | None, Query(ge=0, le=SEQ_LIMIT, description="Those after this number of the journal, oldest first.")
    ] = None,
    limit: Limit = 100,
    after: After = None,
) -> EventPage:
    where = Filter(kind=kind, subject=subject, actor=actor, text=text, since=_utc(since), until=_utc(until))
    if since_seq is None:
        return await events_page(server, where, after, limit)
    links = await server.call(lambda: server.journal.tail(limit=limit, where=where, after=since_seq))
    items = [link_view(link) for link in links]
    return EventPage(items=items, next=None)  # it goes on with `since_seq` of the last one


@router.get("/journal/head", summary="How far the journal goes: note it, and `backstay journal verify --expect` it.")
async def show_head(principal: Viewer, server: TheServer) -> HeadView:
    newest = await server.call(server.journal.newest)
    links = await server.call(lambda: server.journal.tail(limit=1, after=newest - 1)) if newest else []
    return HeadView(seq=newest, hash=links[0].hash if links else GENESIS)


@router.get("/journal/{id}", summary="One event, what led to it, and what came of it.")
async def show_event(principal: Viewer, server: TheServer, id: Id) -> StoryView:
    story, link = await server.call(lambda: (server.journal.causes(id), server.journal.get(id)))
    if story is None or link is None:
        raise Problem(404, "unknown", f"The journal has no event {id}. Search it: /api/v1/journal?text=")
    return StoryView(
        link=link_view(link),
        causes=[event_view(event) for event in story.causes],
        effects=[event_view(event) for event in story.effects],
        cut=story.cut,
    )


async def events_page(server: Server, where: Filter, after: str | None, limit: int) -> EventPage:
    """The newest that `where` lets through, from cursor `after` on."""
    if after is not None:
        where = replace(where, before=_place(after))
    links = await server.call(lambda: server.journal.tail(limit=limit + 1, where=where))
    shown = links[::-1][:limit]
    more = f"{format_time(shown[-1].event.time)}~{shown[-1].seq}" if len(links) > limit else None
    return EventPage(items=[link_view(link) for link in shown], next=more)


def _place(cursor: str) -> tuple[datetime, int]:
    """Time and number of the event that a page ended with."""
    time, _, seq = cursor.partition("~")
    try:
        place = parse_time(time), int(seq)
    except (EventInvalid, ValueError):
        place = None
    if place is None or not 0 <= place[1] <= SEQ_LIMIT:
        raise Problem(422, "invalid", "after: this is no `next` of a page of the journal. Leave it out to begin anew.")
    return place


def _utc(text: str | None) -> datetime | None:
    """Raises Problem for what is no time with its zone, or of no year that we count in UTC."""
    try:
        return None if text is None else parse_time(text)
    except (EventInvalid, OverflowError):
        raise Problem(422, "invalid", "since, until: an ISO 8601 time with its zone: 2026-11-23T12:00:00Z") from None


def event_view(event: Event) -> EventView:
    return cast(EventView, event_json(event))


def link_view(link: Link) -> LinkView:
    return LinkView(**event_view(link.event), seq=link.seq, previous=link.previous, hash=link.hash)
