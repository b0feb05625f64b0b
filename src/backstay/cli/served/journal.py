"""The server's journal, as `journal tail` and `journal show` read one: what JournalStore is without a server."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from backstay.cli.served.client import ServerAt, ServerClient, ServerError, ServerSaid, part
from backstay.journal import JournalError, Link, event_from_json, format_time

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from backstay.journal.store import Filter
    from backstay.journal.store.query import Story

T = TypeVar("T")

PAGE = 500


class ServedJournal:
    """Synchronous, as the store. Raises JournalError."""

    def __init__(self, at: ServerAt) -> None:
        self._at = at

    @property
    def where(self) -> str:
        return self._at.url

    def tail(self, *, limit: int = 50, where: Filter | None = None, after: int | None = None) -> list[Link]:
        """The newest `limit` links, oldest of them first; or those after link number `after`."""
        asked = _query(where)
        if after is not None:
            asked |= {"since_seq": str(after), "limit": str(min(limit, PAGE))}
            return [_link(one) for one in self._ask(lambda server: server.get("/journal", asked))["items"]]
        return [_link(one) for one in reversed(self._ask(lambda server: _newest(server, asked, limit)))]

    def newest(self) -> int:
        """Number of the link that was stored last; 0 when there is none."""
        found = self._ask(lambda server: server.get("/journal/head"))
        return int(found["seq"])

    def get(self, event_id: str) -> Link | None:
        story = self._story(event_id)
        return None if story is None else _link(story["link"])

    def causes(self, event_id: str) -> Story | None:
        from backstay.journal.store.query import Story

        story = self._story(event_id)
        if story is None:
            return None
        return Story(
            causes=tuple(event_from_json(one) for one in story["causes"]),
            event=event_from_json(story["link"]),
            effects=tuple(event_from_json(one) for one in story["effects"]),
            cut=story["cut"],
        )

    def _story(self, event_id: str) -> dict[str, Any] | None:
        async def ask(server: ServerClient) -> dict[str, Any] | None:
            try:
                found: dict[str, Any] = await server.get(f"/journal/{part(event_id)}")
            except ServerSaid as error:
                if error.status in (404, 422):  # 422: no id at all
                    return None
                raise
            return found

        return self._ask(ask)

    def _ask(self, work: Callable[[ServerClient], Awaitable[T]]) -> T:
        async def ask() -> T:
            async with ServerClient(self._at) as server:
                return await work(server)

        try:
            return asyncio.run(ask())
        except ServerError as error:
            raise JournalError(f"{self._at.url}: {error}") from error


async def _newest(server: ServerClient, asked: Mapping[str, str], limit: int) -> list[Any]:
    """Newest first."""
    found: list[Any] = []
    onward: dict[str, str] = {}
    while len(found) < limit:
        page = await server.get("/journal", {**asked, **onward, "limit": str(min(PAGE, limit - len(found)))})
        found += page["items"]
        if page["next"] is None:
            break
        onward = {"after": str(page["next"])}
    return found


def _query(where: Filter | None) -> dict[str, str]:
    if where is None:
        return {}
    texts = {"kind": where.kind, "subject": where.subject, "actor": where.actor, "text": where.text}
    times = {"since": where.since, "until": where.until}
    asked = {key: value for key, value in texts.items() if value is not None}
    return asked | {key: format_time(value) for key, value in times.items() if value is not None}


def _link(plain: Mapping[str, Any]) -> Link:
    return Link(seq=plain["seq"], event=event_from_json(plain), previous=plain["previous"], hash=plain["hash"])
