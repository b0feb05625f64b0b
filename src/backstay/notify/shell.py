"""The post: takes pages, and delivers them, a worker a channel.

put -> outbox -> (channel) send -> delivered
                      ^      \\-> failed -> wait -> again
                      |              \\-> tried too often -> given up, and said
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace

import structlog

from backstay.notify.model import Delivery, Fate, Letter, Page
from backstay.notify.outbox import Outbox, Put
from backstay.notify.ports import Notifier, Record, SendFailed, SendRefused
from backstay.notify.render import harmless, one_line
from backstay.notify.schedule import Schedule

SEND_TIMEOUT_S = 20.0
IDLE_S = 60.0  # between looks at a disk that was full

log = structlog.get_logger()


class Post:
    """`channels`: by name, as the estate declares them. `record` hears what became of each page."""

    def __init__(
        self,
        outbox: Outbox,
        channels: Mapping[str, Notifier],
        record: Record,
        *,
        schedule: Schedule | None = None,
        send_timeout_s: float = SEND_TIMEOUT_S,
    ) -> None:
        self._outbox = outbox
        self._channels = dict(channels)
        self._record = record
        self._schedule = schedule or Schedule()
        self._send_timeout_s = send_timeout_s
        self._not_before_s: dict[tuple[str, str], float] = {}  # (key, channel) -> CLOCK_MONOTONIC
        self._news = {channel: asyncio.Event() for channel in channels}

    def put(self, page: Page) -> Put:
        """Have `page` delivered. Returns at once, and raises nothing: a takeover does not wait for it."""
        page = harmless(page)
        if not self._channels:
            self._say("page.unaddressed", page, "the estate names nobody to tell. Add `notify`.")
        put = self._outbox.put(page, self._channels)
        if put is Put.FULL:
            self._say("page.dropped", page, "too many pages wait already. See why no channel takes them.")
        if self._outbox.fault:
            log.error("pages are not durable", fault=self._outbox.fault)
        for news in self._news.values():
            news.set()
        return put

    async def run(self) -> None:
        """Deliver until cancelled. What was left from before a restart goes first."""
        while self._outbox.damaged:  # said once, also when another post takes the outbox over
            damaged = self._outbox.damaged.pop()
            log.error("a page was damaged on disk", file=damaged)
            self._record("page.damaged", "notify", damaged)
        self._give_up_absent()
        async with asyncio.TaskGroup() as workers:
            for name, channel in self._channels.items():
                workers.create_task(self._serve(name, channel))
            await asyncio.Event().wait()  # also without a channel: ended only by being cancelled

    # --- one channel ------------------------------------------------------------------------------------------------

    async def _serve(self, name: str, channel: Notifier) -> None:
        while True:
            self._news[name].clear()
            self._outbox.flush()
            letter, wait_s = self._next(name)
            if letter is not None:
                await self._try(name, channel, letter)
                continue
            try:
                async with asyncio.timeout(wait_s):
                    await self._news[name].wait()
            except TimeoutError:
                continue

    def _next(self, name: str) -> tuple[Letter | None, float]:
        """The oldest page whose time has come, or how long there is none."""
        now_s, soonest_s = time.monotonic(), time.monotonic() + IDLE_S
        for letter in self._outbox.waiting(name):
            at_s = self._not_before_s.get((letter.page.key, name), 0.0)
            if at_s <= now_s:
                return letter, 0.0
            soonest_s = min(soonest_s, at_s)
        return None, soonest_s - now_s

    async def _try(self, name: str, channel: Notifier, letter: Letter) -> None:
        page, before = letter.page, letter.deliveries[name]
        try:
            said = await channel.send(page, timeout_s=self._send_timeout_s)
        except SendFailed as error:
            self._failed(name, page, before, error)
        except Exception as error:  # a fault of ours or of a library must not end the worker: the page would be lost
            self._failed(name, page, before, SendFailed(f"{type(error).__name__}: {error}"))
        else:
            self._note(name, page, replace(before, fate=Fate.DELIVERED, said=one_line(said)))
            self._say("page.delivered", page, f"{name} took it {said}".rstrip(), channel=name)

    def _failed(self, name: str, page: Page, before: Delivery, error: SendFailed) -> None:
        now = replace(
            before,
            failures=before.failures + 1,
            refusals=before.refusals + isinstance(error, SendRefused),
            said=one_line(str(error)),
        )
        wait_s = self._schedule.next_s(now, error.retry_after_s)
        log.warning(
            "page not delivered", channel=name, page=page.key, error=now.said, tries=now.failures, wait_s=wait_s
        )
        if wait_s is None:
            self._note(name, page, replace(now, fate=Fate.GAVE_UP))
            self._say("page.gave_up", page, f"{name}: {now.failures} tries, the last: {now.said}", channel=name)
            return
        self._not_before_s[page.key, name] = time.monotonic() + wait_s
        self._note(name, page, now)
        if now.failures == 1:  # once a page and channel: the journal is no log
            self._say("page.delayed", page, f"{name}: {now.said}", channel=name)

    def _give_up_absent(self) -> None:
        """Pages of before a restart, for channels that the estate has no more."""
        for letter in self._outbox.letters():
            for name, delivery in letter.deliveries.items():
                if delivery.fate is Fate.WAITING and name not in self._channels:
                    self._note(name, letter.page, replace(delivery, fate=Fate.GAVE_UP, said="no longer declared"))
                    reason = f"{name} is no longer in the estate"
                    self._say("page.gave_up", letter.page, reason, channel=name)

    def _note(self, name: str, page: Page, delivery: Delivery) -> None:
        if delivery.fate is not Fate.WAITING:
            self._not_before_s.pop((page.key, name), None)
        self._outbox.note(page.key, name, delivery)

    def _say(self, kind: str, page: Page, reason: str, *, channel: str = "") -> None:
        data = {"page": page.key, "summary": one_line(page.summary)} | ({"channel": channel} if channel else {})
        event, _, _ = page.key.partition("/")
        self._record(kind, page.subject, reason, data=data, cause=event)
