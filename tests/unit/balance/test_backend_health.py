"""Checks with rise and fall, a backend's own words, and the schedule of probes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from backstay.balance.health import (
    JITTER,
    BackendHealth,
    HealthEventKind,
    Port,
    Tally,
    Traffic,
    checked,
    from_json,
    health_of,
    interval_s,
    said,
    start,
    targets,
    to_json,
)
from backstay.balance.model import Backend, HealthState
from backstay.estate.model import Check
from backstay.look.model import ProbeKind

CASES = json.loads((Path(__file__).parents[2] / "cases" / "balance" / "health.json").read_text())
CHECK = Check(path="/healthz", port=8001, rise=1, fall=1)
WEB1 = Backend(name="web1", address="10.0.0.1", port=8000)


@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
def test_rise_and_fall(case: dict[str, Any]) -> None:
    check = Check(rise=case["rise"], fall=case["fall"])
    pool: Any = start(["web1"], check, engine_checks=False)
    assert health_of(pool["web1"]).state is HealthState.UNCHECKED
    seen = ""
    for result in case["results"]:
        pool, _ = checked(pool, "web1", Port.HEALTH, ok=result == "+", detail="refused", check=check)
        seen += {HealthState.UP: "U", HealthState.DOWN: "D"}[health_of(pool["web1"]).state]
    assert seen == case["states"]


def test_a_backend_that_serves_leaves_the_rotation_when_its_health_port_fails() -> None:
    pool: Any = start(["web1"], CHECK, engine_checks=False)
    pool, first = checked(pool, "web1", Port.HEALTH, ok=True, detail="", check=CHECK)
    pool, _ = checked(pool, "web1", Port.SERVING, ok=True, detail="", check=CHECK)
    pool, second = checked(pool, "web1", Port.HEALTH, ok=False, detail="status 503", check=CHECK)

    assert [(event.kind, event.reason) for event in first + second] == [
        (HealthEventKind.UP, "first check passed"),
        (HealthEventKind.DOWN, "health port: status 503"),
    ]
    assert health_of(pool["web1"]).reason == "health port: status 503"


def test_a_backend_whose_health_port_lies_leaves_when_its_serving_port_is_dead() -> None:
    pool: Any = start(["web1"], CHECK, engine_checks=False)
    pool, _ = checked(pool, "web1", Port.HEALTH, ok=True, detail="", check=CHECK)
    pool, events = checked(pool, "web1", Port.SERVING, ok=False, detail="refused", check=CHECK)
    assert [event.reason for event in events] == ["serving port: refused"]
    assert not health_of(pool["web1"]).serving


@pytest.mark.parametrize(("check", "engine_checks"), [(None, False), (CHECK, True)])
def test_without_a_check_of_the_agents_a_backend_is_up(check: Check | None, engine_checks: bool) -> None:
    assert health_of(start(["web1"], check, engine_checks=engine_checks)["web1"]).state is HealthState.UP


def test_under_maintenance_health_is_folded_in_and_its_events_are_not_told() -> None:
    pool: Any = start(["web1"], CHECK, engine_checks=False)
    pool, events = checked(pool, "web1", Port.HEALTH, ok=False, detail="x", check=CHECK, quiet={"web1"})
    pool, words = said(pool, "web1", draining=True, factor=1.0, quiet={"web1"})
    assert events == words == []
    assert health_of(pool["web1"]).state is HealthState.DOWN


def test_what_a_backend_says_counts_and_is_told_when_it_changes() -> None:
    pool: Any = start(["web1"], None, engine_checks=False)
    pool, half = said(pool, "web1", draining=False, factor=0.5)
    pool, again = said(pool, "web1", draining=False, factor=0.5)
    assert [event.reason for event in half + again] == ["its health port says 50%"]
    assert health_of(pool["web1"]).factor == 0.5

    pool, drain = said(pool, "web1", draining=True, factor=1.0)
    assert [event.reason for event in drain] == ["its health port says drain"]
    assert health_of(pool["web1"]).draining


def test_a_backend_that_left_the_pool_is_ignored() -> None:
    assert checked({}, "web9", Port.HEALTH, ok=True, detail="", check=CHECK) == ({}, [])
    assert said({}, "web9", draining=True, factor=1.0) == ({}, [])


def test_the_health_port_and_the_serving_port_are_probed_apart() -> None:
    both = targets(CHECK, WEB1)
    assert [(port, target.kind, target.port) for port, target in both.items()] == [
        (Port.HEALTH, ProbeKind.HTTP, 8001),
        (Port.SERVING, ProbeKind.TCP, 8000),
    ]
    assert list(targets(Check(path="/healthz"), WEB1)) == [Port.HEALTH]
    assert targets(Check(), WEB1)[Port.HEALTH].kind is ProbeKind.TCP


def test_the_schedule_is_jittered_bounded_and_the_same_each_time() -> None:
    check = Check(interval_s=2.0)
    times = [interval_s(check, "lb1/web/web1", count) for count in range(1, 200)]
    assert times == [interval_s(check, "lb1/web/web1", count) for count in range(1, 200)]
    assert all(2.0 * (1 - JITTER) <= time <= 2.0 * (1 + JITTER) for time in times)
    assert max(times) - min(times) > 2.0 * JITTER
    assert len({round(interval_s(check, f"lb1/web/web{n}", 0), 3) for n in range(20)}) > 15


def test_health_survives_a_restart_on_another_clock() -> None:
    before = {
        "web1": BackendHealth(
            health_port=Tally(up=True, streak=1, detail="refused"), draining=True, factor=0.5, traffic=Traffic(good=3)
        ),
        "web2": BackendHealth(traffic=Traffic(ejections=2, ejected_until_s=1_010.0, suspicion=3.0)),
    }
    after = from_json(json.loads(json.dumps(to_json(before, now_s=1_000.0))), now_s=5.0)
    assert after["web1"] == before["web1"]
    assert after["web2"].traffic.ejected_until_s == 15.0
