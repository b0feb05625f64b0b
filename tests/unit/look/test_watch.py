"""The loop over schedule and prober, with a prober that the test answers for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import pytest

from backstay.look.model import Observation, Outcome, ProbeKind, Target
from backstay.look.shell import Watch

WEB1 = Target(kind=ProbeKind.TCP, address="10.0.0.1", port=80)
WEB2 = Target(kind=ProbeKind.TCP, address="10.0.0.2", port=80)


class HeldProber:
    """Probes wait until the test lets go."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.asked: list[Target] = []
        self.go = asyncio.Event()

    async def probe(self, target: Target, *, timeout_s: float) -> Observation:
        self.asked.append(target)
        self.in_flight += 1
        try:
            await self.go.wait()
        finally:
            self.in_flight -= 1
        return Observation(target=target, time=datetime.now(UTC), outcome=Outcome.ANSWERED, rtt_s=0.001)

    async def close(self) -> None:
        """Nothing is kept open."""


@pytest.fixture
def prober() -> HeldProber:
    return HeldProber()


@pytest.fixture
def seen() -> list[tuple[str, Observation]]:
    return []


@pytest.fixture
async def watch(prober: HeldProber, seen: list[tuple[str, Observation]]) -> AsyncIterator[Watch[str]]:
    made: Watch[str] = Watch(prober, lambda key, observation: seen.append((key, observation)), most_in_flight=5)
    running = asyncio.ensure_future(made.run())
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert prober.in_flight == 0  # ended, it leaves nothing behind


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.002)


async def test_targets_are_probed_and_observations_handed_on(
    watch: Watch[str], prober: HeldProber, seen: list[tuple[str, Observation]]
) -> None:
    prober.go.set()
    watch.put("web1", WEB1, every_s=0.01, timeout_s=1)
    watch.put("web2", WEB2, every_s=0.01, timeout_s=1)
    await until(lambda: len(seen) >= 10)
    assert {(key, observation.target) for key, observation in seen} == {("web1", WEB1), ("web2", WEB2)}


async def test_probes_of_a_burst_overlap_up_to_the_limit(watch: Watch[str], prober: HeldProber) -> None:
    watch.put("web1", WEB1, every_s=0.005, timeout_s=60, at_once=True)
    await until(lambda: prober.in_flight == 5)
    watch.put("web2", WEB2, every_s=0.005, timeout_s=60, at_once=True)
    await until(lambda: prober.in_flight == 10)
    assert prober.asked.count(WEB1) == 5


async def test_what_was_removed_is_cancelled_and_not_handed_on(
    watch: Watch[str], prober: HeldProber, seen: list[tuple[str, Observation]]
) -> None:
    watch.put("web1", WEB1, every_s=0.005, timeout_s=60, at_once=True)
    await until(lambda: prober.in_flight == 5)
    watch.remove("web1")
    watch.remove("unknown")
    await until(lambda: prober.in_flight == 0)
    prober.go.set()
    watch.put("web2", WEB2, every_s=0.005, timeout_s=60)
    await until(lambda: len(seen) >= 2)
    assert {key for key, _ in seen} == {"web2"}


async def test_a_target_can_be_replaced(
    watch: Watch[str], prober: HeldProber, seen: list[tuple[str, Observation]]
) -> None:
    prober.go.set()
    watch.put("web", WEB1, every_s=0.005, timeout_s=1)
    await until(lambda: len(seen) >= 1)
    watch.put("web", WEB2, every_s=0.005, timeout_s=1)
    await until(lambda: seen[-1][1].target == WEB2)


async def test_an_error_of_whoever_listens_is_not_swallowed(prober: HeldProber) -> None:
    def listener(_: str, __: Observation) -> None:
        raise ZeroDivisionError("the listener's own fault")

    prober.go.set()
    watch: Watch[str] = Watch(prober, listener)
    watch.put("web1", WEB1, every_s=0.005, timeout_s=1)
    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.timeout(20):
            await watch.run()
    assert caught.group_contains(ZeroDivisionError)
