"""Libraries that block, under asyncio: a thread that can hold up nobody.

`asyncio.to_thread` is not enough: its threads are joined at the end of the program, so that one call that hangs keeps
an agent from ending, and enough of them keep every other call waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

LIMIT = 16  # threads at once, those that were given up included

T = TypeVar("T")

_free = threading.BoundedSemaphore(LIMIT)


async def in_thread(function: Callable[[], T], *, timeout_s: float) -> T:
    """What `function` returns or raises; TimeoutError after `timeout_s`, or when `LIMIT` calls hang already.

    A thread cannot be ended: one that was given up goes on by itself, and its result is dropped. So `function` should
    set timeouts of its own, and do one thing that takes long, not two: the second must not begin after the caller left.
    """
    if not _free.acquire(blocking=False):
        raise TimeoutError(f"{LIMIT} calls hang already")
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(result)  # type: ignore[arg-type]

    def work() -> None:
        result, error = None, None
        try:
            result = function()
        except BaseException as caught:
            error = caught
        finally:
            _free.release()
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=work, name="blocking", daemon=True).start()
    async with asyncio.timeout(timeout_s):
        return await answer
