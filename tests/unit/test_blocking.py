"""A library that blocks holds up nobody."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from backstay import blocking
from backstay.blocking import in_thread


async def test_it_returns_what_the_function_returns() -> None:
    assert await in_thread(lambda: 42, timeout_s=10) == 42


async def test_it_raises_what_the_function_raises() -> None:
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 // 0, timeout_s=10)


async def test_one_that_hangs_is_given_up_in_time() -> None:
    release = threading.Event()
    with pytest.raises(TimeoutError):
        await in_thread(lambda: release.wait(60), timeout_s=0.05)
    release.set()


async def test_so_many_that_hang_that_more_are_refused_and_all_is_well_when_they_end() -> None:
    release = threading.Event()
    hanging = [asyncio.create_task(in_thread(lambda: release.wait(60), timeout_s=60)) for _ in range(blocking.LIMIT)]
    await asyncio.sleep(0)  # each has begun
    with pytest.raises(TimeoutError, match="hang already"):
        await in_thread(lambda: None, timeout_s=1)

    release.set()
    await asyncio.gather(*hanging)

    assert await in_thread(lambda: 42, timeout_s=10) == 42


def test_a_program_ends_although_a_thread_hangs() -> None:
    code = (
        "import asyncio, threading\n"
        "from backstay.blocking import in_thread\n"
        "async def main():\n"
        "    try: await in_thread(threading.Event().wait, timeout_s=0.05)\n"
        "    except TimeoutError: print('given up')\n"
        "asyncio.run(main())\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout == "given up\n"
