"""The model of the lab's machines: cycles, noise, counters since boot, and the same at every call."""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

np = pytest.importorskip("numpy", reason="needs numpy: pip install backstay[audit]")

from prometheus_client.parser import text_string_to_metric_families  # noqa: E402

from backstay.lab.machines import behave, told  # noqa: E402
from backstay.lab.machines.behave import COST, COUNTED, DAY_TICKS, GAUGES, Model, Reading  # noqa: E402
from backstay.lab.machines.expose import exposition  # noqa: E402
from backstay.lab.machines.parts import (  # noqa: E402
    TICK_S,
    UNLIKE,
    Cpu,
    Machine,
    Stand,
    Swap,
    cpu_at,
    facts_of,
    nested,
)

EPOCH = datetime(2026, 3, 2, 10, 20, tzinfo=UTC)  # a Monday; no midnight, as the start of a lab
WEEK = 7 * DAY_TICKS
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MODEL = Model(EPOCH)


def a_machine(seat: int, **altered: object) -> Machine:
    made = {"name": f"queue{seat + 1}", "cluster": "queue", "seat": seat, "work": "messages", "switch": "switch-1"}
    return Machine(**{"cpu": UNLIKE[seat], **made, **altered})  # type: ignore[arg-type]


QUEUE = tuple(a_machine(seat) for seat in range(4))


def series(machine: Machine, field: str, first: int, count: int, model: Model = MODEL) -> Any:
    """A field of the reading at the beginning of each of `count` ticks from `first` on."""
    moments = (model.epoch + timedelta(seconds=TICK_S * (first + at)) for at in range(count))
    return np.array([getattr(model.at(machine, moment), field) for moment in moments])


def per_work(machine: Machine, first: int, count: int, model: Model = MODEL) -> Any:
    return series(machine, "load", first, count, model) / series(machine, "work_rate", first, count, model)


def grown(values: Any) -> float:
    """How much a counter grew, whatever restarts there were."""
    steps = np.diff(values)
    return float(steps[steps > 0.0].sum())


# --- what a CPU does


def test_load_for_the_same_work_follows_from_the_cpu() -> None:
    costs = [float(np.mean(per_work(machine, -WEEK, WEEK))) for machine in QUEUE]
    for machine, cost in zip(QUEUE, costs, strict=True):
        assert cost / costs[3] == pytest.approx(COST[machine.cpu], rel=0.04)


def test_drops_come_with_the_old_cpus_and_all_but_end_with_the_new_one() -> None:
    drops = [grown(series(machine, "drops", -WEEK, WEEK)) for machine in QUEUE]
    assert drops[0] > 1.8 * drops[1]
    assert drops[1] == pytest.approx(drops[2], rel=0.1)
    assert 0 < drops[3] < drops[1] / 50


def test_a_changed_cpu_alters_what_comes_after_and_nothing_before() -> None:
    at = EPOCH - 2 * DAY + timedelta(minutes=35)
    changed = Model(EPOCH, (Swap(machine="queue1", cpu=Cpu.V3, time=at),))
    first, tick = -4 * DAY_TICKS, 2 * DAY_TICKS + 4  # the first tick that begins with it
    for name in (*GAUGES, *COUNTED):
        before, after = (series(QUEUE[0], name, first, tick, model) for model in (MODEL, changed))
        assert np.array_equal(before, after), name
    loads, works = (
        [series(QUEUE[0], name, first + tick, 2 * DAY_TICKS - 4, model) for model in (MODEL, changed)]
        for name in ("load", "work_rate")
    )
    assert np.allclose(loads[1] / loads[0], COST[Cpu.V3] / COST[Cpu.V1])
    assert np.array_equal(works[1], works[0])
    drops = [grown(series(QUEUE[0], "drops", first + tick, 2 * DAY_TICKS - 4, model)) for model in (MODEL, changed)]
    assert drops[1] < drops[0] / 20


def test_another_machines_cpu_alters_nothing_here() -> None:
    changed = Model(EPOCH, (Swap(machine="queue1", cpu=Cpu.V3, time=EPOCH - DAY),))
    assert changed.at(QUEUE[1], EPOCH) == MODEL.at(QUEUE[1], EPOCH)


# --- cycles and noise


def test_work_comes_in_daily_and_weekly_waves() -> None:
    first = -2 * WEEK
    work = series(QUEUE[0], "work_rate", first, 2 * WEEK)
    times = [EPOCH + timedelta(seconds=TICK_S * (first + tick)) for tick in range(2 * WEEK)]
    week = np.array([time.weekday() < 5 for time in times])
    hours = np.array([time.hour for time in times])
    assert work[week & (hours == 14)].mean() > 2.0 * work[week & (hours == 2)].mean()
    assert work[~week].mean() == pytest.approx(0.7 * work[week].mean(), rel=0.06)


def test_noise_is_autoregressive_across_midnight_too() -> None:
    noise = np.log(per_work(QUEUE[0], -4 * WEEK, 4 * WEEK))
    noise -= noise.mean()
    assert noise.std() == pytest.approx(0.05, rel=0.15)
    assert np.corrcoef(noise[:-1], noise[1:])[0, 1] == pytest.approx(0.8, abs=0.05)
    ends = np.arange(DAY_TICKS - 1, len(noise) - 1, DAY_TICKS)
    assert np.corrcoef(noise[ends], noise[ends + 1])[0, 1] > 0.6


def test_what_a_cluster_shares_cancels_and_what_is_a_nodes_own_does_not() -> None:
    logs = np.array([np.log(series(machine, "work_rate", -WEEK, WEEK)) for machine in QUEUE])
    beside = logs - np.median(logs, axis=0)
    assert beside.std() < 0.2 * logs.std()
    assert beside.std() > 0.02


def test_alike_machines_are_alike_but_not_the_same() -> None:
    one, two = (np.mean(np.log(per_work(QUEUE[seat], -2 * WEEK, 2 * WEEK))) for seat in (1, 2))
    assert 0.0 < abs(one - two) < 0.03


# --- determinism


def test_the_same_moment_is_the_same_at_every_call_and_in_every_order() -> None:
    moments = [EPOCH - 3 * DAY, EPOCH + 5 * HOUR, EPOCH - 20 * DAY]
    forth = [MODEL.at(QUEUE[2], moment) for moment in moments]
    behave._day.cache_clear()
    back = [MODEL.at(QUEUE[2], moment) for moment in reversed(moments)]
    assert forth == back[::-1]


def test_the_noise_follows_the_epoch_and_the_waves_the_calendar() -> None:
    later, by_night = Model(EPOCH + 7 * DAY), Model(EPOCH + 12 * HOUR)
    works = [series(QUEUE[0], "work_rate", -DAY_TICKS, DAY_TICKS, model) for model in (MODEL, later, by_night)]
    costs = [per_work(QUEUE[0], -DAY_TICKS, DAY_TICKS, model) for model in (MODEL, later, by_night)]
    assert np.allclose(works[0], works[1])
    assert not np.allclose(works[0], works[2])
    assert np.allclose(costs[0], costs[1])
    assert np.allclose(costs[0], costs[2])


# --- counters


def test_counters_add_up_to_the_rates_and_never_fall_while_a_machine_runs() -> None:
    begin = EPOCH - 2 * DAY
    readings = [MODEL.at(QUEUE[2], begin + timedelta(minutes=7 * step)) for step in range(200)]
    assert len({reading.booted for reading in readings}) == 1
    for name in COUNTED:
        assert (np.diff([getattr(reading, name) for reading in readings]) >= 0.0).all(), name
    done = MODEL.at(QUEUE[2], begin + DAY).work - readings[0].work
    assert done == pytest.approx(series(QUEUE[2], "work_rate", -2 * DAY_TICKS, DAY_TICKS).sum() * TICK_S)


@pytest.mark.parametrize("machine", QUEUE, ids=lambda machine: machine.name)
def test_a_machine_restarts_once_a_month_and_its_counters_with_it(machine: Machine) -> None:
    boots = sorted({MODEL.at(machine, EPOCH - timedelta(hours=6 * step)).booted for step in range(4 * 30)})
    assert len(boots) == 2
    before, after = (MODEL.at(machine, boots[1] + timedelta(minutes=minutes)) for minutes in (-1, 1))
    assert before.work > 1_000_000 > 10_000 > after.work > 0


def test_a_changed_cpu_shows_at_once() -> None:
    at = EPOCH - DAY + timedelta(minutes=33)
    changed = Model(EPOCH, (Swap(machine="queue1", cpu=Cpu.V3, time=at),))
    just_before, now = (changed.at(QUEUE[0], at + timedelta(seconds=seconds)) for seconds in (-1, 0))
    assert just_before == MODEL.at(QUEUE[0], at - timedelta(seconds=1))
    assert now.load == pytest.approx(just_before.load * COST[Cpu.V3] / COST[Cpu.V1])
    assert now.work == now.drops == 0.0


def test_a_changed_cpu_takes_the_power_off() -> None:
    swap = Swap(machine="queue1", cpu=Cpu.V3, time=EPOCH - DAY)
    reading = Model(EPOCH, (swap,)).at(QUEUE[0], EPOCH - DAY + HOUR)
    assert reading.booted == swap.time
    assert reading.work < 3600 * 40


def test_there_is_a_reading_for_every_name() -> None:
    names = {one.name for one in fields(Reading)}
    assert names == {"booted", *GAUGES, *COUNTED}


# --- what is told


def test_the_exposition_is_one_that_prometheus_reads() -> None:
    reading = MODEL.at(QUEUE[0], EPOCH)
    families = {family.name: family for family in text_string_to_metric_families(exposition(QUEUE[0], reading, EPOCH))}
    assert families["node_load1"].samples[0].value == pytest.approx(reading.load, abs=0.01)
    drops = families["node_network_receive_drop"]
    assert (drops.type, drops.samples[0].labels) == ("counter", {"device": "eth0"})
    assert families["app_messages"].samples[0].value == pytest.approx(reading.work_rate, rel=1e-3)
    seconds = sum(sample.value for sample in families["node_cpu_seconds"].samples)
    assert seconds == pytest.approx(4 * (EPOCH - reading.booted).total_seconds(), rel=1e-3)


def test_a_unit_of_work_that_counts_is_a_counter() -> None:
    machine = a_machine(0, work="messages_total")
    reading = MODEL.at(machine, EPOCH)
    text = exposition(machine, reading, EPOCH)
    family = next(one for one in text_string_to_metric_families(text) if one.name == "app_messages")
    assert (family.type, family.samples[0].value) == ("counter", int(reading.work))


def test_a_file_of_a_time_has_what_a_scraper_would_have_kept() -> None:
    columns = {"messages": "work_rate", "load": "load", "rx_drops_total": "drops"}
    times = [EPOCH - 2 * HOUR, EPOCH - HOUR]
    lines = list(told.indicator_lines(MODEL, QUEUE, columns, times))
    assert lines[0] == "time,node,messages,load,rx_drops_total"
    assert len(lines) == 1 + 2 * len(QUEUE)
    time, node, *values = lines[1 + len(QUEUE)].split(",")  # queue1, the second row
    assert (time, node) == ("2026-03-02T09:20:00Z", "queue1")
    reading = MODEL.at(QUEUE[0], times[1])
    assert [float(value) for value in values] == pytest.approx(
        [reading.work_rate, reading.load, reading.drops], rel=1e-3
    )


# --- parts


def test_machines_that_are_alike_differ_in_names_numbers_and_places_alone() -> None:
    one, two = (facts_of(a_machine(seat, cpu=Cpu.V2), Cpu.V2) for seat in (0, 3))
    differing = {name for name in one if one[name] != two[name]}
    assert differing == {"hostname", "system.serial number", "eth0.mac address"}


def test_a_cpu_takes_its_facts_along() -> None:
    before, after = (facts_of(QUEUE[0], cpu) for cpu in (Cpu.V1, Cpu.V3))
    assert {name for name in before if before[name] != after[name]} == {
        "cpu.version",
        "cpu.model name",
        "cpu.signature",
        "cpu.microcode",
        "cpu.mitigations.mds",
    }


def test_facts_as_facter_prints_them_hold_the_same() -> None:
    from backstay.audit.sources.values import flatten

    facts = facts_of(QUEUE[1], Cpu.V2)
    assert flatten(json.loads(json.dumps(nested(facts)))) == facts


def test_a_stand_remembers_which_cpu_was_where_and_when() -> None:
    stand = Stand(epoch=EPOCH).with_cpu(QUEUE[0], Cpu.V3, EPOCH).with_cpu(QUEUE[0], Cpu.V1, EPOCH + DAY)
    assert [cpu_at(QUEUE[0], stand.swaps, EPOCH + hours * HOUR) for hours in (-1, 1, 25)] == [Cpu.V1, Cpu.V3, Cpu.V1]
    assert stand.with_cpu(QUEUE[0], Cpu.V1, EPOCH + 2 * DAY) == stand
    assert Stand.of_json(stand.as_json()) == stand


def test_a_clock_that_was_stopped_stands_still() -> None:
    assert Stand(epoch=EPOCH).now(EPOCH + DAY) == EPOCH + DAY
    stopped = Stand(epoch=EPOCH, stopped_at=EPOCH - DAY)
    assert stopped.now(EPOCH + DAY) == EPOCH - DAY
    assert Stand.of_json(stopped.as_json()) == stopped
