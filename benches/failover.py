"""How long users are cut off when a load balancer dies: Backstay beside keepalived, in one lab, by the same faults.

./run bench failover [--runs N] [--short]

Three pairs of load balancers in namespaces of one lab, each behind a global IP of its own that the same provider's API
routes; a witness on each address all the time. One after the other the pairs lose their active (crash: every process of
the host is killed, engine and watcher; hang: they are stopped; isolate: its link is down), in turns; while one is
measured, the one before is brought back. Downtime is the witness's: the sum of the intervals in which requests failed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from backstay.balance.ports import EngineFailed
from backstay.lab.model import LabError
from benches.harness import Bench, progress, quantile
from benches.takeover import cost, limit
from benches.takeover.contenders import PACKAGES, Backstay, Contender, Keepalived, program, which
from benches.takeover.range import TAKEOVER_S, Range

FAULTS = ("crash", "hang", "isolate")
RUNS = 20
SEED = 1
GOAL = 0.4  # of keepalived's median at its defaults
OURS, DEFAULT, FAST = "Backstay", "keepalived, advert_int 1", "keepalived, advert_int 0.1"


@dataclass(slots=True)
class Measured:
    """One contender under one fault."""

    downtimes_s: list[float] = field(default_factory=list)
    stages: list[dict[str, float]] = field(default_factory=list)
    failed: int = 0  # nobody took over within TAKEOVER_S, which counts as so long


@asynccontextmanager
async def contenders(bench: Bench) -> AsyncIterator[tuple[Backstay, Keepalived, Keepalived]]:
    async with Range() as range:
        found = (
            Backstay(range, "ours"),
            Keepalived(range, "vrrp", DEFAULT, "advert_int 1"),
            Keepalived(range, "fast", FAST, "version 3\n    advert_int 0.1"),
        )
        bench.version("nginx", found[0].version)
        await asyncio.gather(*(one.start() for one in found))
        for one in found:
            await one.rest()
        yield found


async def takeovers(bench: Bench, case: str, delay_s: float) -> None:
    async with contenders(bench) as found:
        await found[0].range.answer_after(delay_s)
        runs = 2 if bench.short else bench.args.runs
        measured = {(one.name, fault): Measured() for one in found for fault in FAULTS}
        await _play(bench, found, runs, measured)
    bench.note(f"{case}: the machine's load was {os.getloadavg()[2]:.1f} on average over its last 15 minutes.")
    for one in found:
        if one.strayed:
            bench.note(f"{case}: {one.name} moved the address {one.strayed} times though nothing was wrong.")
    for fault in FAULTS:
        for one in found:
            _record(bench, case, one.name, fault, measured[one.name, fault])
        _compare(bench, case, fault)


async def _play(bench: Bench, found: Sequence[Contender], runs: int, measured: dict[tuple[str, str], Measured]) -> None:
    """Faults and contenders in turns. The one that was broken is brought back while the next is measured."""
    chance = random.Random(SEED)
    restoring: dict[str, asyncio.Task[None]] = {}
    for _ in range(runs):
        for fault in FAULTS:
            for one in found:
                if one.name in restoring:
                    await restoring.pop(one.name)
                try:
                    await one.rest()
                except LabError as error:  # it has a turn less
                    bench.note(f"{one.name} had to be started anew before {fault}: {error}")
                    await one.again()
                    continue
                await asyncio.sleep(chance.random())  # so that no schedule of a watcher is in step with ours
                await _one(one, fault, measured[one.name, fault])
                restoring[one.name] = asyncio.create_task(one.restore(fault))
    await asyncio.gather(*restoring.values())


async def _one(one: Contender, fault: str, into: Measured) -> None:
    try:
        seen = await one.range.takeover(one.ip, fault, one.active, one.standby)
    except LabError as error:
        into.failed += 1
        into.downtimes_s.append(TAKEOVER_S)
        progress(f"{one.name}, {fault}: {error}")
        return
    into.downtimes_s.append(seen.downtime_s)
    progress(f"{one.name}, {fault}: {seen.downtime_s:.2f} s")
    if isinstance(one, Backstay):
        stages = await one.stages(seen.broken_at) | {"moved_s": seen.moved_s}
        progress("  " + ", ".join(f"{stage} {at_s:.2f}" for stage, at_s in stages.items()))
        if len(stages) == 3:
            into.stages.append(stages)


def _record(bench: Bench, case: str, name: str, fault: str, found: Measured) -> None:
    bench.record(
        case,
        f"{fault}: {name}",
        runs=len(found.downtimes_s),
        not_taken=found.failed,
        downtime_s_median=statistics.median(found.downtimes_s),
        downtime_s_p95=quantile(found.downtimes_s, 0.95),
        downtime_s_worst=max(found.downtimes_s),
    )
    if found.stages:
        for stage in ("first_miss_s", "convinced_s", "moved_s"):
            bench.record(case, f"{fault}: {name}", **{stage: statistics.median(one[stage] for one in found.stages)})
        provider_s = statistics.median(one["moved_s"] - one["convinced_s"] for one in found.stages)
        bench.record(case, f"{fault}: {name}", limit_s=limit.wait_s(fault) + limit.burst_s(fault) + provider_s)


def _compare(bench: Bench, case: str, fault: str) -> None:
    ours = f"{fault}: {OURS}"
    for peer in (DEFAULT, FAST):
        ratio = bench.ratio(case, "downtime_s_median", ours, f"{fault}: {peer}")
        if peer == DEFAULT:
            goal = f"{fault}: median at most {GOAL:g} of keepalived's default"
            bench.check(case, goal, met=ratio <= GOAL, measured=f"{ratio:.2f}")


async def instant(bench: Bench) -> None:
    """The provider answers at once. Medians of Backstay's stages, from the fault on: its journal has the first miss and
    the conviction, the lab when the address had moved. limit_s: the mean wait for the first failed probe, the burst
    with every probe on time, and the provider as measured."""
    await takeovers(bench, "instant", 0.0)


async def slow(bench: Bench) -> None:
    """Each answer of the provider's API takes 500 ms. keepalived's script makes one call; Backstay reads the owner,
    compares, and then makes that call."""
    await takeovers(bench, "slow", 0.5)


async def health(bench: Bench) -> None:
    """Nothing goes wrong: what both hosts of a pair spend on watching each other. CPU of Backstay is that of its whole
    agents, which check backends, reconcile and rescale as well; keepalived's has the script, and no engine is asked
    over the network."""
    async with contenders(bench) as found:
        costs = await cost.measure(found, 10.0 if bench.short else 60.0)
    for name, one in costs.items():
        bench.record(
            "health",
            name,
            packets_per_s=one.packets_per_s,
            questions_per_s=one.questions_per_s,
            cpu_s_per_hour=one.cpu_s_per_hour,
        )
    for figure, what in (("packets_per_s", "packets"), ("cpu_s_per_hour", "CPU")):
        ratio = bench.ratio("health", figure, OURS, DEFAULT)
        bench.check("health", f"{what}: no more than keepalived's default", met=ratio <= 1, measured=f"{ratio:.1f} x")


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=int, default=RUNS, metavar="N", help=f"of each fault (default {RUNS})")


if __name__ == "__main__":
    bench = Bench(
        "failover",
        "users cut off when a load balancer dies, beside keepalived",
        cases={"instant": instant, "slow": slow, "health": health},
        options=options,
    )
    if lacking := [f"{name} (package {package})" for name, package in PACKAGES.items() if which(name) is None]:
        sys.exit(f"failover: not on this machine: {', '.join(lacking)}. Debian, Ubuntu: apt install them.")
    said = subprocess.run([program("keepalived"), "--version"], capture_output=True, text=True, check=False)
    bench.version("keepalived", (said.stdout + said.stderr).split()[1].removeprefix("v"))
    try:
        sys.exit(bench.run())
    except (LabError, EngineFailed) as error:
        sys.exit(f"failover: {error}")
