"""A module of ours in a process of its own: vendors' libraries are large (boto3: 33 MB), and an agent stays small.

    in the agent    Child(module, begin).ask(question) -> answer
    in the child    serve(begun): the module's own `python -m`

One JSON line a question, one an answer. What the child begins with, secrets too, goes to it by its pipe: not by argv,
not by disk. It lives as long as its standard input is open, so it never outlives its agent.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

LINE_LIMIT_BYTES = 1024 * 1024
BEGIN_LIMIT_BYTES = 16 * LINE_LIMIT_BYTES  # the nodes of a large estate are in the first line

Answer = Callable[[dict[str, Any]], Awaitable[Mapping[str, Any]]]


class ChildGone(Exception):
    """It ended, or did not answer in time and was ended: what it did is not known."""


class Child:
    """Started when first asked, and again when it has ended. Questions may overlap."""

    def __init__(self, module: str, begin: Mapping[str, Any], *, answer_limit_bytes: int = LINE_LIMIT_BYTES) -> None:
        """`begin`: JSON values that `serve` gives to the child's `begun`. A longer answer is as none: ChildGone."""
        self._module = module
        self._answer_limit_bytes = answer_limit_bytes
        self._begin = json.dumps(begin).encode() + b"\n"
        self._process: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._asked: dict[int, asyncio.Future[dict[str, Any] | None]] = {}
        self._count = 0

    async def ask(self, question: Mapping[str, Any], *, timeout_s: float) -> dict[str, Any]:
        """The child's answer. Raises ChildGone; may be cancelled, and ends the child then: what was not begun must
        not begin when nobody waits any more."""
        self._count += 1
        number, answer = self._count, asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        try:
            async with asyncio.timeout(timeout_s):
                process = await self._running()
                assert process.stdin is not None
                process.stdin.write(json.dumps({"number": number, "question": dict(question)}).encode() + b"\n")
                await process.stdin.drain()
                told: dict[str, Any] | None = await answer
        except TimeoutError:
            await self.close()
            raise ChildGone(f"no answer in {timeout_s:g} s") from None
        except asyncio.CancelledError:
            await self.close()
            raise
        except OSError as gone:
            raise ChildGone(str(gone)) from gone
        finally:
            self._asked.pop(number, None)
        if told is None:
            raise ChildGone("its process ended")
        return told

    async def close(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()
        if process is not None and process.stdin is not None:
            process.stdin.close()
            with contextlib.suppress(OSError):  # else its end is left to the garbage collector, when no loop runs
                await process.stdin.wait_closed()
        if self._listening is not None:
            await asyncio.gather(self._listening, return_exceptions=True)

    async def _running(self) -> asyncio.subprocess.Process:
        async with self._starting:
            if self._process is None or self._process.returncode is not None:
                self._process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", self._module),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    limit=self._answer_limit_bytes,
                )
                assert self._process.stdin is not None
                self._process.stdin.write(self._begin)
                self._listening = asyncio.create_task(self._listen(self._process))
            return self._process

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        with contextlib.suppress(ValueError):  # a line beyond the limit: no child of ours
            while line := await process.stdout.readline():
                told = json.loads(line)
                waiting = self._asked.get(told["number"])
                if waiting is not None and not waiting.done():
                    waiting.set_result(told["answer"])
        for waiting in self._asked.values():
            if not waiting.done():
                waiting.set_result(None)


async def serve(begun: Callable[[dict[str, Any]], Answer]) -> None:
    """The child's life: `begun` makes, of the first line, what answers all others. Ends with standard input."""
    reader = asyncio.StreamReader(limit=BEGIN_LIMIT_BYTES)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
    first = await reader.readline()
    if not first:
        return
    answer = begun(json.loads(first))
    questions: set[asyncio.Task[None]] = set()

    async def one(line: bytes) -> None:
        asked = json.loads(line)
        told = {"number": asked["number"], "answer": dict(await answer(asked["question"]))}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()

    while line := await reader.readline():
        task = asyncio.create_task(one(line))
        questions.add(task)
        task.add_done_callback(questions.discard)
