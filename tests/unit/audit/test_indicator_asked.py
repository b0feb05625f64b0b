"""Many nodes at once: a limit of how many, a time for all, and each node's trouble is its own."""

from __future__ import annotations

import asyncio

import pytest

from backstay.audit.ports import SourceError
from backstay.audit.sources.asked import NotAnswered, ask_each


async def test_answers_and_problems_come_in_the_order_of_the_nodes() -> None:
    async def ask(node: str) -> str:
        if node == "b":
            raise NotAnswered("it is down. Start it.")
        return node.upper()

    asked = await ask_each(["c", "b", "a"], ask, at_once=2, timeout_s=30.0)
    assert list(asked.answers.items()) == [("c", "C"), ("a", "A")]
    assert asked.problems == ("b: it is down. Start it.",)


async def test_no_more_than_so_many_are_asked_at_once() -> None:
    under_way, most = 0, 0

    async def ask(node: str) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1

    await ask_each([str(number) for number in range(20)], ask, at_once=3, timeout_s=30.0)
    assert most == 3


async def test_who_hangs_and_who_waits_behind_is_told_when_the_time_is_over() -> None:
    ended = []

    async def ask(node: str) -> str:
        try:
            if node != "good":
                await asyncio.Event().wait()
        finally:
            ended.append(node)
        return node

    asked = await ask_each(["good", "stuck", "behind"], ask, at_once=1, timeout_s=0.05)
    assert asked.answers == {"good": "good"}
    assert [problem.split(":")[0] for problem in asked.problems] == ["stuck", "behind"]
    assert "not done within the 0.05 s for all nodes" in asked.problems[0]
    assert ended == ["good", "stuck"]  # nothing goes on behind our back


async def test_trouble_of_the_source_as_a_whole_ends_it() -> None:
    async def ask(node: str) -> str:
        raise SourceError("no credentials")

    with pytest.raises(SourceError, match="no credentials"):
        await ask_each(["a", "b"], ask, at_once=1, timeout_s=30.0)


async def test_no_nodes_are_no_trouble() -> None:
    async def ask(node: str) -> str:
        raise AssertionError

    assert (await ask_each([], ask, at_once=1, timeout_s=30.0)).answers == {}
