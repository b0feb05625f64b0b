"""The policies that the balance bench sets side by side, each on a real engine of its own."""

from __future__ import annotations

import asyncio
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from backstay.balance.desired import View, desired
from backstay.balance.eject import judge
from backstay.balance.health import HealthEvent, PoolHealth, health_of, start
from backstay.balance.model import Applied, Capabilities, Desired, How, Key, Sample, Share
from backstay.balance.pace import Pace, When, when
from backstay.balance.ports import Engine
from backstay.balance.rescale import PoolScale, rescale
from backstay.balance.window import Collector
from backstay.estate.model import Balance, EngineKind, Estate

POOL = "web"
LOOK_EVERY_S = 0.25  # how often the access log is read, as the agent does


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    name: str
    balance: Balance
    control: str = ""  # "pound", "backstay" or nothing


POLICIES = {
    EngineKind.NGINX: (
        Policy(name="round robin", balance=Balance.ROUND_ROBIN),
        Policy(name="least connections", balance=Balance.LEAST_CONNECTIONS),
        Policy(name="least_time", balance=Balance.LEAST_TIME),
        Policy(name="Pound's rule", balance=Balance.ROUND_ROBIN, control="pound"),
        Policy(name="Backstay", balance=Balance.LEAST_TIME, control="backstay"),
    ),
    EngineKind.HAPROXY: (
        Policy(name="round robin", balance=Balance.ROUND_ROBIN),
        Policy(name="least connections", balance=Balance.LEAST_CONNECTIONS),
        Policy(name="Pound's rule", balance=Balance.ROUND_ROBIN, control="pound"),
        Policy(name="Backstay", balance=Balance.LEAST_TIME, control="backstay"),
    ),
}
INNER_LOOPS = ("least connections", "least_time")


@dataclass(slots=True, kw_only=True)
class Running:
    """One policy at work on one engine."""

    policy: Policy
    engine: Engine
    estate: Estate
    backends: tuple[str, ...]
    rescale_every_s: float
    pace: Pace = field(default_factory=Pace)
    applied: Desired | None = None
    reloads: int = 0
    events: list[HealthEvent] = field(default_factory=list)

    async def begin(self) -> None:
        await self._apply(View())

    async def control(self) -> None:
        """Runs until it is cancelled. The inner loops alone have nothing to control, and read no log."""
        if self.policy.control == "pound":
            await self._pound()
        elif self.policy.control == "backstay":
            await self._backstay()

    async def _apply(self, view: View) -> None:
        """Make it run, when the pace allows: the same rule for whoever moves weights."""
        wanted = desired(self.estate, "lb", view, {})
        now_s = asyncio.get_running_loop().time()
        capabilities: Capabilities = self.engine.capabilities()
        if when(self.applied, wanted, self.pace, now_s, runtime_changes=capabilities.runtime_changes) is not When.NOW:
            return
        done: Applied = await self.engine.apply(wanted)
        self.applied = wanted
        if done.how is How.RELOAD:
            self.reloads += 1
            self.pace = self.pace.reloaded(now_s)

    async def _backstay(self) -> None:
        """The agent's loops in short: ejection with every look, a step of the rescaler every `rescale_every_s`."""
        loop = asyncio.get_running_loop()
        pool: PoolHealth = start(self.backends, None, engine_checks=False)
        state, collector, steps = PoolScale(), Collector(), 0
        due_s = loop.time() + self.rescale_every_s
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            samples = await self.engine.samples()
            collector.add(samples)
            pool, events = judge(pool, samples, now_s=loop.time())
            self.events += events
            health = {name: health_of(one) for name, one in pool.items()}
            if loop.time() >= due_s:
                due_s, steps = due_s + self.rescale_every_s, steps + 1
                state, _ = rescale(
                    state,
                    [collector.close("lb", str(steps))],
                    load_balancers=["lb"],
                    backends=self.backends,
                    serving=[name for name, one in health.items() if one.serving],
                    at=datetime.now(UTC),
                )
            shares = {(POOL, name): Share(share=scale.share) for name, scale in state.backends.items()}
            keyed = {(POOL, name): one for name, one in health.items()}
            await self._apply(View(health=keyed, shares=shares, last=self.applied))

    async def _pound(self) -> None:
        """Pound 2.x: every so often, a backend whose mean time is beyond 3 sigma of all loses or wins one priority."""
        priorities = dict.fromkeys(self.backends, 5)
        times: dict[str, list[float]] = defaultdict(list)
        due_s = asyncio.get_running_loop().time() + self.rescale_every_s
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            gather(times, await self.engine.samples())
            if asyncio.get_running_loop().time() < due_s:
                continue
            due_s += self.rescale_every_s
            means = {name: statistics.fmean(seen) for name, seen in times.items() if seen}
            times.clear()
            if len(means) < 2:
                continue
            centre, sigma = statistics.fmean(means.values()), statistics.pstdev(means.values())
            for name, mean in means.items():
                if mean > centre + 3 * sigma:
                    priorities[name] = max(priorities[name] - 1, 1)
                elif mean < centre - 3 * sigma:
                    priorities[name] = min(priorities[name] + 1, 9)
            shares: dict[Key, Share] = {(POOL, name): Share(share=p / 5) for name, p in priorities.items()}
            await self._apply(View(shares=shares))


def gather(times: dict[str, list[float]], samples: Sequence[Sample]) -> None:
    """Pound timed every request, those that failed at once too."""
    for sample in samples:
        times[sample.backend].append(sample.total_time_s)


def an_estate(policy: Policy, kind: EngineKind, addresses: Sequence[str], port: int, backend_port: int) -> Estate:
    names = [f"b{number}" for number in range(1, len(addresses) + 1)]
    nodes = {name: {"zone": "here", "address": address} for name, address in zip(names, addresses, strict=True)}
    return Estate.model_validate(
        {
            "estate": "bench",
            "regions": {"bench": {"zones": {"here": {}}}},
            "nodes": {"lb": {"zone": "here", "address": "127.0.0.1"}, **nodes},
            "clusters": {"web": {"members": names}},
            "tiers": {"front": {"engine": kind, "members": ["lb"], "listen": "node"}},
            "services": {
                "app": {
                    "hostnames": ["app.example.com"],
                    "http_port": port,
                    "redirect_http": False,
                    "routes": [{"path": "/", "pool": POOL}],
                }
            },
            "pools": {POOL: {"cluster": "web", "port": backend_port, "balance": policy.balance, "slow_start_s": 0}},
        }
    )
