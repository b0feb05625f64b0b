"""The agent's post: pages of the failover room, delivered by the channels of the estate, off everybody's path."""

from __future__ import annotations

import asyncio

from backstay.agent.world import World
from backstay.estate.model import Notify
from backstay.notify import Outbox, Page, Post


class Telling:
    """Pages are put at once and delivered by a task of their own; another estate's channels take over what waits."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._outbox = Outbox(world.files.root / "outbox")
        self._post = Post(self._outbox, {}, world.record)
        self._notify: Notify | None = None
        self._running: asyncio.Task[None] | None = None

    def put(self, page: Page) -> None:
        """Have `page` delivered. Returns at once and raises nothing."""
        self._follow()
        self._post.put(page)

    async def turn(self) -> None:
        """See that the post is delivered. Raises what ended it."""
        self._follow()
        if self._running is None or self._running.done():
            ended, self._running = self._running, asyncio.create_task(self._post.run())
            if ended is not None and not ended.cancelled():
                ended.result()
        self._world.warn("pages", self._outbox.fault)

    async def close(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    def _follow(self) -> None:
        notify = self._world.estate.notify
        if self._notify == notify:
            return
        # Each channel brings its library: only an estate that tells somebody pays for it.
        from backstay.notify.channels import configured

        self._post = Post(self._outbox, configured(notify, self._world.adopted.folder), self._world.record)
        self._notify = notify
        if self._running is not None:
            self._running.cancel()
