"""./run bench balance: who serves unequal backends best? Open-loop arrivals on real nginx and HAProxy.

All policies of a round run at the same time, on an engine of their own, before backends of their own, with the same
arrivals carrying the same work: what disturbs one disturbs all. Ratios are taken within a round, and the median of
the rounds is kept. Requests are POSTs, which no engine sends twice.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import shutil
import socket
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backstay.balance.engines.binary import find, load_engine
from backstay.estate.model import EngineKind
from benches.balance_policies import INNER_LOOPS, POLICIES, Running, an_estate
from benches.balance_world import Report, Result, Role, Stage, Traffic, Weather
from benches.harness import Bench, quantile

SLOTS = 2  # requests that a backend serves at a time
RATE_PER_S = 50.0  # to each policy: the processor must not be what is measured, and time is only a scale
UTILISATION = 0.6  # of what all backends can serve together
WORK_CV = 1.0
LATE_LIMIT_S = 0.020
ATTEMPTS = 3  # at a round that was disturbed by whatever else the machine did
ENGINES = (EngineKind.NGINX, EngineKind.HAPROXY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    speeds: tuple[float, ...]
    failing: tuple[float, ...] = ()  # share of requests that fail at once

    def work_mean_s(self, rate_per_s: float) -> float:
        return UTILISATION * SLOTS * sum(self.speeds) / rate_per_s

    @property
    def weather(self) -> Weather:
        return Weather(speeds=self.speeds, failing=self.failing or (0.0,) * len(self.speeds))


@dataclass(frozen=True, slots=True, kw_only=True)
class Length:
    """Seconds: to settle (shares move), to measure; how often the rescaler steps; and how many rounds."""

    settle_s: float
    measure_s: float
    rescale_every_s: float
    rounds: int


LONG = Length(settle_s=45.0, measure_s=60.0, rescale_every_s=3.0, rounds=3)
SHORT = Length(settle_s=5.0, measure_s=6.0, rescale_every_s=1.0, rounds=1)
Found = dict[tuple[EngineKind, str], list[dict[str, float]]]  # engine, policy -> figures of each round


async def case_a(bench: Bench) -> None:
    """8 backends, two at half speed."""
    await judge_times(bench, "A", Scene(speeds=(1.0,) * 6 + (0.5,) * 2), better=True)


async def case_b(bench: Bench) -> None:
    """12 backends, one at half speed."""
    await judge_times(bench, "B", Scene(speeds=(1.0,) * 11 + (0.5,)), better=True)


async def case_c(bench: Bench) -> None:
    """8 backends, one fails half of its requests at once. errors_at_first: while the policies settle."""
    await measure(bench, "C", Scene(speeds=(1.0,) * 8, failing=(0.0,) * 7 + (0.5,)))
    for engine in ENGINES:
        rate = bench.value("C", f"{engine}: Backstay", "errors_percent")
        plain = bench.value("C", f"{engine}: least connections", "errors_percent")
        bench.check(
            "C", f"{engine}: under 0.2% errors", met=rate < 0.2, measured=f"{rate:.3f}% (least_conn {plain:.1f}%)"
        )


async def case_d(bench: Bench) -> None:
    """3 backends, one at 0.6 of the speed."""
    await judge_times(bench, "D", Scene(speeds=(1.0, 1.0, 0.6)), better=False)


async def judge_times(bench: Bench, case: str, scene: Scene, *, better: bool) -> None:
    found = await measure(bench, case, scene)
    for engine in ENGINES:
        rounds = found[engine, "Backstay"]
        ratios = [
            mine["p99_ms"]
            / min(found[engine, loop][number]["p99_ms"] for loop in INNER_LOOPS if (engine, loop) in found)
            for number, mine in enumerate(rounds)
        ]
        ratio = statistics.median(ratios)
        bench.record(case, f"{engine}: Backstay", p99_to_best_inner_loop=ratio)
        limit = 1.0 if better else 1.05
        goal = f"{engine}: p99 {'better than' if better else 'at most 1.05 of'} the best inner loop's"
        bench.check(case, goal, met=ratio < limit, measured=f"{ratio:.3f}")


async def measure(bench: Bench, case: str, scene: Scene) -> Found:
    length = SHORT if bench.short else LONG
    found: Found = defaultdict(list)
    for number in range(bench.args.rounds or length.rounds):
        for attempt in range(1 if bench.short else ATTEMPTS):
            figures, late_p99_s = await one_round(bench, scene, length, seed=number + 1)
            if late_p99_s <= LATE_LIMIT_S:
                break
            bench.note(
                f"{case}, round {number + 1}, attempt {attempt + 1}: the processor was short (1% of the requests left "
                f"{1e3 * late_p99_s:.0f} ms late or more): these figures say little"
            )
        for key, values in figures.items():
            found[key].append(values)
    for (engine, policy), rounds in found.items():
        medians = {name: statistics.median(values[name] for values in rounds) for name in rounds[0]}
        bench.record(case, f"{engine}: {policy}", **medians)
    return found


async def one_round(
    bench: Bench, scene: Scene, length: Length, *, seed: int
) -> tuple[dict[tuple[EngineKind, str], dict[str, float]], float]:
    """All policies at the same time. Returns the figures of each, and how late requests left (p99, seconds)."""
    policies = [(engine, policy) for engine in ENGINES for policy in POLICIES[engine]]
    groups = [[f"127.77.{group}.{n}" for n in range(1, len(scene.speeds) + 1)] for group in range(len(policies))]
    backend_port, *ports = free_ports(1 + len(policies))
    folder = Path(tempfile.mkdtemp(prefix="backstay-bench-"))
    folder.chmod(0o711)  # the engines' unprivileged workers pass through
    backends, client = Role("backends"), Role("client")
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        await backends.start(Stage(groups=groups, port=backend_port, slots=SLOTS))
        stack.push_async_callback(backends.stop)
        backends.tell(scene.weather)
        running = []
        for number, ((engine, policy), addresses, port) in enumerate(zip(policies, groups, ports, strict=True)):
            version = find(engine, "newest")
            bench.version(str(engine), ".".join(map(str, version.version)))
            home = folder / str(number)
            home.mkdir(mode=0o711)
            adapter = load_engine(engine)(home, version)
            stack.push_async_callback(adapter.stop, grace_s=1.0)
            one = Running(
                policy=policy,
                engine=adapter,
                estate=an_estate(policy, engine, addresses, port, backend_port),
                backends=tuple(f"b{n}" for n in range(1, len(addresses) + 1)),
                rescale_every_s=length.rescale_every_s,
            )
            await one.begin()
            running.append(one)
        targets = {f"{engine}/{policy.name}": port for (engine, policy), port in zip(policies, ports, strict=True)}
        seconds = length.settle_s + length.measure_s
        traffic = Traffic(
            targets=targets,
            rate_per_s=bench.args.rate,
            work_mean_s=scene.work_mean_s(bench.args.rate),
            work_cv=WORK_CV,
            seconds=seconds,
            seed=seed,
        )
        await client.start(traffic)
        stack.push_async_callback(client.stop)
        report = await traffic_and_control(running, client, length)
    found = {}
    for (engine, policy), one in zip(policies, running, strict=True):
        seen = report.results[f"{engine}/{policy.name}"]
        first = sum(not 0 < status < 500 for arrived_s, _, status in seen if arrived_s < length.settle_s)
        figures = figures_of([result for result in seen if result[0] >= length.settle_s])
        found[engine, policy.name] = figures | {"errors_at_first": float(first), "reloads": float(one.reloads)}
    return found, report.late_p99_s


async def traffic_and_control(running: Sequence[Running], client: Role, length: Length) -> Report:
    async with asyncio.TaskGroup() as group:
        controls = [group.create_task(one.control()) for one in running]
        report = await client.report(timeout_s=length.settle_s + length.measure_s + 60.0)
        for control in controls:
            control.cancel()
    return report


def figures_of(results: Sequence[Result]) -> dict[str, float]:
    """Times of the requests that were answered well; one without an answer, or with a 5xx, is an error."""
    times_s = [took_s for _, took_s, status in results if 0 < status < 500]
    return {
        "requests": float(len(results)),
        "errors_percent": 100.0 * (1.0 - len(times_s) / len(results)),
        "p50_ms": 1e3 * quantile(times_s, 0.5),
        "p95_ms": 1e3 * quantile(times_s, 0.95),
        "p99_ms": 1e3 * quantile(times_s, 0.99),
    }


def free_ports(count: int) -> list[int]:
    """Ports that were free on every loopback address a moment ago."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in itertools.repeat(None, count)]
        for one in sockets:
            one.bind(("", 0))
        return [one.getsockname()[1] for one in sockets]


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rate", type=float, default=RATE_PER_S, help="requests a second to each policy (%(default)s)")
    parser.add_argument("--rounds", type=int, help=f"instead of {LONG.rounds} ({SHORT.rounds} with --short)")


def main() -> int:
    bench = Bench(
        "balance",
        "Unequal backends: percentiles and errors of each policy",
        cases={"A": case_a, "B": case_b, "C": case_c, "D": case_d},
        options=options,
    )
    return bench.run()


if __name__ == "__main__":
    sys.exit(main())
