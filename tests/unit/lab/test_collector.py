"""When the lab's collector asks, what it reads then, and how it is told of CPUs that are to be changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from backstay.lab.hosts.collector import EVERY, moments, swap_of
from backstay.lab.machines.parts import Cpu, Swap

START = datetime(2026, 3, 2, 10, 20, tzinfo=UTC)
DAY = timedelta(days=1)


def test_indicators_are_read_all_the_time_and_facts_first_of_all_in_a_day() -> None:
    found = list(moments(START, START + 2 * DAY))
    assert [now for now, _, _ in found] == [START + step * EVERY for step in range(1, 25)]
    assert [now for now, facts, _ in found if facts] == [START + EVERY, START + DAY + EVERY]
    assert [now for now, _, last in found if last] == [START + DAY, START + 2 * DAY]


def test_half_a_day_ends_too() -> None:
    found = list(moments(START, START + DAY / 2))
    assert [last for _, _, last in found] == [False] * 5 + [True]
    assert list(moments(START, START + EVERY / 2)) == []


def test_a_change_of_a_cpu_is_a_node_a_version_and_a_time() -> None:
    swap = Swap(machine="queue1", cpu=Cpu.V3, time=START)
    assert swap_of(f"queue1=V3@{START.isoformat()}") == swap
    for wrong in ("queue1", "queue1=V9@2026-03-01T00:00Z", "queue1=V3@soon"):
        with pytest.raises(ValueError, match=r"."):
            swap_of(wrong)
