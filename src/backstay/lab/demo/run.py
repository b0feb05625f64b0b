"""The demo from nothing to a verdict: the example estate up, the chapters, the table."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from backstay.agent.client import AgentError
from backstay.lab import build
from backstay.lab.demo.chapters import chosen
from backstay.lab.demo.scene import Scene, Tempo
from backstay.lab.demo.verdict import Claim, Row, all_right
from backstay.lab.model import LabError

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a demo came to."""

    fabric: str
    why: str
    up_s: float
    took_s: float
    rows: tuple[Row, ...]
    claims: tuple[Claim, ...]
    failure: str | None  # what ended a chapter before its end

    @property
    def passed(self) -> bool:
        return self.failure is None and all_right([*self.rows, *self.claims])


async def play(lab: build.Lab, chapters: Sequence[str], tempo: Tempo, say: Say, started: float) -> Shown:
    """Play the chapters on a lab that is up. A chapter that cannot go on fails the demo, and the next one plays."""
    up_s = time.monotonic() - started
    failures = []
    async with Scene(lab, tempo, say) as scene:
        for name, chapter in chosen(list(chapters)).items():
            try:
                await chapter(scene)
            except (LabError, AgentError) as error:
                failures.append(f"{name}: {error}")
                say(f"  FAILED: {error}")
    record = lab.folder.record
    return Shown(
        fabric=str(record.fabric),
        why=record.why,
        up_s=up_s,
        took_s=time.monotonic() - started,
        rows=tuple(scene.rows),
        claims=tuple(scene.claims),
        failure="; ".join(failures) or None,
    )


async def demo(
    options: build.Options,
    chapters: Sequence[str],
    tempo: Tempo,
    say: Say,
    *,
    then: Callable[[build.Lab, Shown], None],
    stay: bool,
) -> Shown:
    """Bring the estate up, play, call `then` with the result; with `stay`, hold the lab until Ctrl-C. Down at the end.

    The lab dies with this process: it is never detached.
    """
    chosen(list(chapters))
    started = time.monotonic()
    interrupted = asyncio.Event()
    lab = await build.up(options, say)
    try:
        for stage, seconds in lab.stages:
            say(f"  {stage}: {seconds:.1f} s")
        served = lab.folder.record.served
        if served is not None and stay:
            say(f"The console, meanwhile, in this machine's browser: {served.link}")
        shown = await play(lab, chapters, tempo, say, started)
        then(lab, shown)
        if stay:
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, interrupted.set)
            await interrupted.wait()
    finally:
        await lab.down()
    return shown
