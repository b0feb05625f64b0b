"""What a machine measures at any moment: a function of the moment and of the CPUs that it had, nothing else. Pure.

Time goes in ticks of TICK_S since the lab's epoch. Work comes in daily and weekly waves, which a cluster shares, and
each machine takes a little more or less of it. Load and drops follow from the work and the CPU. The noise is
autoregressive of order 1 (what a moment was, the next one is likely to be), as a moving average of seeded shocks that
is cut where it has faded: so any day can be had without those before it, and the same day is the same at every call.
The waves follow the calendar; the noise follows the epoch alone.

A counter grows from its machine's boot: once a month, and when somebody changes the CPU, which takes the power off.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from functools import lru_cache

import numpy as np

from backstay.audit.model import Floats
from backstay.lab.machines.parts import TICK_S, Cpu, Machine, Swap, cpu_at

DAY_TICKS = 86_400 // TICK_S
SEED = 20260302
DAYS_BEFORE_MAX = 100_000  # seeds are not negative, days before the epoch are
FADED = 96  # ticks after which a shock is forgotten

# Load for the same work, and packets dropped of a thousand units of it: the older, the worse.
COST = {Cpu.V1: 2.4, Cpu.V2: 1.6, Cpu.V3: 1.0}
DROPPED = {Cpu.V1: 9.0, Cpu.V2: 4.0, Cpu.V3: 0.05}
CPUS = 4
WORK_PER_S = 800.0 / 60.0
LOAD_OF_WORK = 0.09  # load of one unit of work a second on the best CPU
OWN = 0.005  # log: how machines differ that are alike in everything known
BYTES_OF_WORK = 9_200.0
RETRANSMITS_OF_WORK = 0.0004
SWITCHES_OF_WORK = 210.0
MEMORY_BYTES = 68_719_476_736
BOOTS_EVERY_TICKS = 30 * DAY_TICKS
BOOT_TICKS = (-750, 300, 1480, 2610)  # by seat: machines are not restarted all at once


@dataclass(frozen=True, slots=True)
class Reading:
    """One machine at one moment. What it counts, it counts since its boot, as node_exporter has it."""

    booted: datetime
    load: float
    work_rate: float  # units a second
    memory_used: float  # bytes
    work: float  # from here on: counts
    drops: float
    received: float  # bytes
    sent: float
    retransmits: float
    switches: float
    user_s: float
    system_s: float
    softirq_s: float
    idle_s: float

    @property
    def busy_s(self) -> float:
        return self.user_s + self.system_s + self.softirq_s


GAUGES = ("load", "work_rate", "memory_used")
COUNTED = tuple(one.name for one in fields(Reading) if one.name not in ("booted", *GAUGES))


Day = tuple[Floats, Floats]  # gauges (len(GAUGES), DAY_TICKS), counts of each tick (len(COUNTED), DAY_TICKS)


@dataclass(frozen=True, slots=True)
class Model:
    """Every moment of a lab's machines. `swaps`: oldest first."""

    epoch: datetime
    swaps: tuple[Swap, ...] = ()

    def at(self, machine: Machine, time: datetime) -> Reading:
        """What the machine would tell whoever asks at `time`."""
        if self.swaps and self.swaps[-1].time > time:
            return Model(self.epoch, tuple(swap for swap in self.swaps if swap.time <= time)).at(machine, time)
        tick, into = divmod((time - self.epoch).total_seconds(), TICK_S)
        now = int(tick)
        booted = self._booted(machine, time)
        first, share = divmod((booted - self.epoch).total_seconds(), TICK_S)
        counted = self._between(machine, int(first), now)
        # Of the tick that runs and of the one in which it booted only a part counts.
        for at, part in ((now, into / TICK_S), (int(first), -share / TICK_S)):
            counted = counted + part * self._tick(machine, at)[1]
        gauges = self._tick(machine, now)[0]
        return Reading(booted, *gauges.tolist(), *np.maximum(counted, 0.0).tolist())

    def _booted(self, machine: Machine, time: datetime) -> datetime:
        phase = BOOT_TICKS[machine.seat % len(BOOT_TICKS)] + 37 * (machine.seat // len(BOOT_TICKS))
        ticks = (time - self.epoch).total_seconds() / TICK_S
        last = phase + math.floor((ticks - phase) / BOOTS_EVERY_TICKS) * BOOTS_EVERY_TICKS
        swapped = [swap.time for swap in self.swaps if swap.machine == machine.name]
        return max([self.epoch + timedelta(seconds=last * TICK_S), *swapped])

    def _between(self, machine: Machine, first: int, end: int) -> Floats:
        """Counts of the ticks in [first, end), (len(COUNTED),)."""
        (begin, skipped), (last, upto) = divmod(first, DAY_TICKS), divmod(end, DAY_TICKS)
        if begin == last:
            return _sum(self.day(machine, begin)[1][:, skipped:upto])
        ends = _sum(self.day(machine, begin)[1][:, skipped:]) + _sum(self.day(machine, last)[1][:, :upto])
        return _whole_days(self, machine, begin + 1, last) + ends

    def _tick(self, machine: Machine, tick: int) -> tuple[Floats, Floats]:
        day, offset = divmod(tick, DAY_TICKS)
        gauges, counts = self.day(machine, day)
        return gauges[:, offset], counts[:, offset]

    def day(self, machine: Machine, day: int) -> Day:
        """Day `day` since the epoch; the one before it is -1.

        A tick in which the CPU was changed has the new one: what it counted before that went with the power.
        """
        start = self.epoch + timedelta(days=day)
        changed = any(
            swap.machine == machine.name and start < swap.time < start + timedelta(days=1) for swap in self.swaps
        )
        step = timedelta(seconds=TICK_S)
        ends = [start + step * (tick + 1) - timedelta.resolution for tick in range(DAY_TICKS)] if changed else [start]
        cpus = tuple(cpu_at(machine, self.swaps, end) for end in ends)
        return _day(machine, day, start, cpus)


@lru_cache(maxsize=1024)
def _whole_days(model: Model, machine: Machine, first: int, end: int) -> Floats:
    """Counts of the days in [first, end), (len(COUNTED),)."""
    total = np.zeros(len(COUNTED))
    for day in range(first, end):
        total += _sum(model.day(machine, day)[1])
    return total


def _sum(counts: Floats) -> Floats:
    """(len(COUNTED), ticks) -> (len(COUNTED),)."""
    total: Floats = counts.sum(axis=1)
    return total


@lru_cache(maxsize=1024)
def _day(machine: Machine, day: int, start: datetime, cpus: tuple[Cpu, ...]) -> Day:
    """One day of a machine. `cpus`: one for the whole day, or one a tick. Arrays are shared: read them only."""
    cost = np.array([COST[cpu] for cpu in cpus])
    dropped = np.array([DROPPED[cpu] for cpu in cpus])
    wave = _wave(start)
    shared = wave * np.exp(_noise(f"{machine.cluster}/shared", day, 0.9, 0.06))
    own = np.exp(OWN * _draws(f"{machine.name}/own", 0, 1)[0])
    rate = WORK_PER_S * shared * np.exp(_noise(f"{machine.name}/work", day, 0.7, 0.04))
    load = LOAD_OF_WORK * rate * cost * own * np.exp(_noise(f"{machine.name}/load", day, 0.8, 0.05))
    work = rate * TICK_S
    # Drawn one after the other: what comes before a change of the CPU is not altered by it.
    drops = _generator(f"{machine.name}/drops", day).poisson(dropped * work / 1000.0 * wave)
    busy = np.minimum(load / CPUS, 0.97)
    memory = MEMORY_BYTES * (0.45 + 0.05 * shared) * np.exp(_noise(f"{machine.name}/memory", day, 0.97, 0.01))
    seconds = CPUS * TICK_S
    softirq = 0.06 * busy
    counts = np.array(
        [
            work,
            drops,
            work * BYTES_OF_WORK * np.exp(_noise(f"{machine.name}/received", day, 0.7, 0.03)),
            work * 0.4 * BYTES_OF_WORK * np.exp(_noise(f"{machine.name}/sent", day, 0.7, 0.03)),
            _generator(f"{machine.name}/retransmits", day).poisson(work * RETRANSMITS_OF_WORK),
            work * SWITCHES_OF_WORK * np.exp(_noise(f"{machine.name}/switches", day, 0.7, 0.03)),
            0.76 * busy * seconds,
            0.18 * busy * seconds,
            softirq * seconds,
            (1.0 - busy) * seconds,
        ]
    )
    return np.array([load, rate, memory]), counts


def _wave(start: datetime) -> Floats:
    """How much work there is, about 1: busy in the afternoon, quiet at night and at the weekend. (DAY_TICKS,)"""
    seconds = start.timestamp() + TICK_S * np.arange(DAY_TICKS)
    hours = seconds / 3600.0 % 24.0
    days = (seconds / 86_400.0 + 3.0) % 7.0  # 1970-01-01 was a Thursday: Monday is 0
    daily = 1.0 + 0.45 * np.sin(2.0 * np.pi * (hours - 9.0) / 24.0) + 0.1 * np.sin(4.0 * np.pi * hours / 24.0)
    wave: Floats = np.where(days >= 5.0, 0.7, 1.0) * daily
    return wave


def _noise(stream: str, day: int, rho: float, sigma: float) -> Floats:
    """Autoregressive, coefficient `rho` a tick, standard deviation `sigma`. (DAY_TICKS,)"""
    fading = rho ** np.arange(FADED)
    shocks = np.concatenate([_draws(stream, day - 1, DAY_TICKS), _draws(stream, day, DAY_TICKS)])
    fading = fading * sigma / math.sqrt(float((fading**2).sum()))
    found: Floats = np.convolve(shocks, fading)[DAY_TICKS : 2 * DAY_TICKS]
    return found


def _draws(stream: str, day: int, count: int) -> Floats:
    return _generator(stream, day).standard_normal(count)


def _generator(stream: str, day: int) -> np.random.Generator:
    return np.random.default_rng([SEED, zlib.crc32(stream.encode()), day + DAYS_BEFORE_MAX])
