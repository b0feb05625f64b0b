"""Many nodes at once, each within its time: one that hangs holds up nobody, and what was not had is told a node."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
UNKNOWN = "{node}: it is no node of the estate, so it has no address. Add it under nodes."


class NotAnswered(Exception):
    """One node, or one question, without a usable answer: what, and what next; a sentence without the node's name."""


@dataclass(frozen=True, slots=True)
class Asked(Generic[T]):
    answers: dict[str, T]  # node -> what it said; in the order in which the nodes were given
    problems: tuple[str, ...]  # a line a node that said nothing usable


async def ask_each(
    nodes: Sequence[str], ask: Callable[[str], Awaitable[T]], *, at_once: int, timeout_s: float
) -> Asked[T]:
    """`ask` every node, at most `at_once` of them at a time, for `timeout_s` together.

    `ask` raises NotAnswered for a node's own trouble. What is not done in time is cancelled, and told.
    """
    free = asyncio.Semaphore(at_once)

    async def one(node: str) -> T:
        async with free:
            return await ask(node)

    tasks = {node: asyncio.create_task(one(node)) for node in nodes}
    try:
        if tasks:
            await asyncio.wait(tasks.values(), timeout=timeout_s)
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
    answers: dict[str, T] = {}
    problems: list[str] = []
    for node, task in tasks.items():
        if task.cancelled():
            problems.append(f"{node}: not done within the {timeout_s:g} s for all nodes. Is it up? Give it more time.")
            continue
        error = task.exception()
        if error is None:
            answers[node] = task.result()
        elif isinstance(error, NotAnswered):
            problems.append(f"{node}: {error}")
        else:
            raise error
    return Asked(answers, tuple(problems))
