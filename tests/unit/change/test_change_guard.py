"""May this change be made? A table (tests/cases/change/guard.yaml), and what must hold for any estate."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from backstay.change import (
    Allowed,
    BackendLoad,
    Change,
    ChangeKind,
    ClockReading,
    Deadline,
    Refused,
    Verdict,
    decide_guard,
    effect_on,
    verdict_json,
)
from backstay.estate.model import Estate

CASES: list[dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parents[2] / "cases" / "change" / "guard.yaml").read_text()
)
NOW = ClockReading(wall=datetime(2026, 11, 22, 12, 0, tzinfo=UTC), boot_id="one", boottime_s=1_000.0)


def estate(clusters: dict[str, tuple[list[str], int]], extra_nodes: tuple[str, ...] = ()) -> Estate:
    """An estate with a cluster and a pool of each name: its members and its spare."""
    nodes = [*dict.fromkeys(node for members, _ in clusters.values() for node in members), *extra_nodes]
    return Estate.model_validate(
        {
            "estate": "test",
            "regions": {"r": {"zones": {"z": {}}}},
            "nodes": {node: {"zone": "z", "address": f"10.0.0.{number}"} for number, node in enumerate(nodes, 1)},
            "clusters": {name: {"members": members, "spare": spare} for name, (members, spare) in clusters.items()},
            "pools": {name: {"cluster": name, "port": 80} for name in clusters},
        }
    )


ESTATE = estate(
    {"web": (["web1", "web2", "web3", "web4"], 1), "api": (["web1", "web2"], 1), "solo": (["db1"], 1)}, ("idle1",)
)


def change(number: int = 0, *, due_in_s: float | None = None, kind: str = "drain", **fields: Any) -> Change:
    deadline = None
    if due_in_s is not None:
        deadline = Deadline(
            wall=NOW.wall + timedelta(seconds=due_in_s), boot_id="one", boottime_s=NOW.boottime_s + due_in_s
        )
    base: dict[str, Any] = {"id": f"change-{number}", "node": "web3", "actor": "alice", "reason": "kernel"}
    return Change(kind=ChangeKind(kind), created_at=NOW.wall, deadline=deadline, **(base | fields))


def key(text: str) -> tuple[str, str]:
    pool, node = text.split("/")
    return pool, node


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_guard(case: dict[str, Any]) -> None:
    verdict = decide_guard(
        ESTATE,
        [change(number, **there) for number, there in enumerate(case.get("there", []), 100)],
        {key(out): False for out in case.get("out", [])},
        {
            key(name): BackendLoad(utilisation=used, error_ratio=case.get("errors", {}).get(name))
            for name, used in case.get("load", {}).items()
        },
        change(**case["change"]),
        NOW,
    )
    check(verdict, case["expect"])


def check(verdict: Verdict, expect: dict[str, Any]) -> None:
    said = verdict_json(verdict)
    assert said["code"] == expect["code"], said
    assert said["allowed"] is (expect["code"] in ("allowed", "already"))
    assert said.get("pool") == expect.get("pool")
    assert [one["code"] for one in said.get("overridden", [])] == expect.get("overridden", [])
    for word in expect.get("words", []):
        assert word in said.get("sentence", "") + " ".join(said.get("notes", [])), said
    for name, figure in expect.get("figures", {}).items():
        assert said["figures"][name] == pytest.approx(figure), said


@given(
    size=st.integers(1, 12),
    spare=st.integers(0, 12),
    down=st.sets(st.integers(0, 11)),
    drained=st.lists(st.integers(0, 11), max_size=4),
    target=st.integers(0, 11),
)
def test_whatever_is_asked_the_promise_is_kept(
    size: int, spare: int, down: set[int], drained: list[int], target: int
) -> None:
    """After an allowed drain the pool has a backend, and its members minus spare; unless it had fewer before."""
    members = [f"n{number}" for number in range(size)]
    declared = estate({"p": (members, spare)})
    there = [change(number, node=f"n{node}") for number, node in enumerate(drained, 100)]
    health = {("p", f"n{number}"): number not in down for number in range(size)}
    asked = change(node=f"n{target % size}")

    def active(changes: list[Change]) -> int:
        return sum(health[("p", node)] and not effect_on(changes, "p", node).draining for node in members)

    before, after = active(there), active([*there, asked])
    verdict = decide_guard(declared, there, health, {}, asked, NOW)
    kept = after == before or (after >= 1 and after >= size - spare)
    assert isinstance(verdict, Allowed) is kept
    if isinstance(verdict, Refused):
        assert verdict.overridable
        forced = change(node=asked.node, forced=True)
        overridden = decide_guard(declared, there, health, {}, forced, NOW)
        assert isinstance(overridden, Allowed)
        assert overridden.overridden == (verdict,)
