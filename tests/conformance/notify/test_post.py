"""The post over every channel: retried, bounded, once, and there after a kill -9."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from notify_pages import PAGE
from notify_servers import Rig, rig_of

from backstay.lab.provider import Answer
from backstay.notify import Notifier, Outbox, Post, Put, Schedule

LONG_S = 30.0
SOON = Schedule(first_s=0.02, longest_s=0.05, tries=4, refused_tries=2, retry_after_limit_s=0.1)


class Journal:
    def __init__(self) -> None:
        self.kinds: list[str] = []
        self.reasons: list[str] = []

    def __call__(
        self,
        kind: str,
        _subject: str,
        reason: str,
        *,
        data: Mapping[str, Any] | None = None,
        cause: str | None = None,
    ) -> None:
        assert cause in (PAGE.key, None)
        self.kinds.append(kind)
        self.reasons.append(reason)


@asynccontextmanager
async def posting(
    outbox: Path, channels: Mapping[str, Notifier], schedule: Schedule = SOON
) -> AsyncIterator[tuple[Post, Journal]]:
    journal = Journal()
    post = Post(Outbox(outbox), channels, journal, schedule=schedule, send_timeout_s=5.0)
    running = asyncio.create_task(post.run())
    try:
        yield post, journal
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(LONG_S):
        while not holds():
            await asyncio.sleep(0.01)


async def test_a_page_that_fails_twice_is_delivered_once(rig: Rig, tmp_path: Path) -> None:
    for answer in (Answer.DOWN, Answer.RATE_LIMITED):
        rig.faults.set(answer, times=2)
        got = len(rig.inbox.got)
        async with posting(tmp_path / answer, {rig.name: rig.channel()}) as (post, journal):
            post.put(PAGE)
            await until(lambda: "page.delivered" in journal.kinds)
        assert journal.kinds == ["page.delayed", "page.delivered"]
        assert len(rig.inbox.got) == got + 1


async def test_a_page_that_nobody_takes_is_given_up_and_that_is_said(rig: Rig, tmp_path: Path) -> None:
    rig.faults.set(Answer.DOWN)
    async with posting(tmp_path / "outbox", {rig.name: rig.channel()}) as (post, journal):
        post.put(PAGE)
        await until(lambda: "page.gave_up" in journal.kinds)
    assert journal.kinds == ["page.delayed", "page.gave_up"]
    assert f"{rig.name}: 4 tries" in journal.reasons[-1]
    assert rig.inbox.asked == 4


async def test_a_page_that_is_refused_is_given_up_sooner(rig: Rig, tmp_path: Path) -> None:
    rig.faults.set(Answer.DENIED)
    async with posting(tmp_path / "outbox", {rig.name: rig.channel()}) as (post, journal):
        post.put(PAGE)
        await until(lambda: "page.gave_up" in journal.kinds)
    assert rig.inbox.asked == 2


async def test_the_same_page_is_sent_once_also_after_a_restart(rig: Rig, tmp_path: Path) -> None:
    async with posting(tmp_path / "outbox", {rig.name: rig.channel()}) as (post, journal):
        assert [post.put(PAGE), post.put(PAGE)] == [Put.NEW, Put.KNOWN]
        await until(lambda: "page.delivered" in journal.kinds)
        assert post.put(PAGE) is Put.KNOWN
    async with posting(tmp_path / "outbox", {rig.name: rig.channel()}) as (post, journal):
        assert post.put(PAGE) is Put.KNOWN
    assert rig.inbox.asked == 1


async def test_a_page_is_delivered_after_a_kill_and_a_restart(rig: Rig, tmp_path: Path) -> None:
    rig.faults.set(Answer.HANG)
    process = subprocess.Popen(
        [
            sys.executable,
            str(Path(__file__).with_name("posting_process.py")),
            str(rig.folder),
            str(tmp_path / "outbox"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdin is not None
        process.stdin.write(rig.notify.model_dump_json().encode())
        process.stdin.close()
        await until(lambda: rig.inbox.asked > 0 or process.poll() is not None)  # it is in the middle of sending
    finally:
        process.kill()
        assert process.wait() == -signal.SIGKILL
        assert process.stdout is not None
        process.stdout.close()
    rig.faults.heal()
    assert rig.inbox.got == []

    async with posting(tmp_path / "outbox", {rig.name: rig.channel()}) as (post, journal):
        await until(lambda: "page.delivered" in journal.kinds)
        assert post.put(PAGE) is Put.KNOWN  # the agent resumes its takeover and pages again

    assert len(rig.inbox.got) == 1


async def test_a_channel_that_hangs_holds_up_no_other(rig: Rig, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        names = [name for name in ("pagerduty", "alertmanager", "slack", "smtp") if name != rig.name]
        others = [await stack.enter_async_context(rig_of(name, tmp_path)) for name in names]
        rig.faults.set(Answer.HANG)
        channels = {one.name: one.channel() for one in (rig, *others)}
        async with posting(tmp_path / "outbox", channels) as (post, _):
            post.put(PAGE)
            await until(lambda: all(len(other.inbox.got) == 1 for other in others))
        assert rig.inbox.got == []


async def test_a_channel_that_left_the_estate_is_given_up_and_that_is_said(rig: Rig, tmp_path: Path) -> None:
    Outbox(tmp_path / "outbox").put(PAGE, [rig.name, "gone"])
    async with posting(tmp_path / "outbox", {rig.name: rig.channel()}) as (_, journal):
        await until(lambda: len(journal.kinds) == 2)
    assert sorted(journal.kinds) == ["page.delivered", "page.gave_up"]
    assert "gone is no longer in the estate" in journal.reasons


async def test_a_damaged_page_is_said_once_and_the_others_are_delivered(rig: Rig, tmp_path: Path) -> None:
    outbox = tmp_path / "outbox"
    Outbox(outbox).put(PAGE, [rig.name])
    (outbox / "0000.json").write_text("{")
    async with posting(outbox, {rig.name: rig.channel()}) as (_, journal):
        await until(lambda: "page.delivered" in journal.kinds)
    assert journal.kinds == ["page.damaged", "page.delivered"]


async def test_an_estate_that_names_nobody_is_said(tmp_path: Path) -> None:
    async with posting(tmp_path / "outbox", {}) as (post, journal):
        post.put(PAGE)
    assert journal.kinds == ["page.unaddressed"]
