"""What the server decides before anything is stored: which nodes, the guard over all of them, in what words. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backstay.change import Change, ChangeInvalid, ChangeKind, Refusal, Refused
from backstay.estate import load_text
from backstay.link.wire import Report
from backstay.server.model import AgentRecord, EndedBy, EndedChange, Snapshot
from backstay.server.weigh import Asked, Weighed, as_change, index, repeats, weigh
from server_agents import report_for
from server_rig import SERVERDENSITY

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ESTATE = load_text(SERVERDENSITY, "estate", Path()).estate
PLACES = index(ESTATE)
EMPTY = Snapshot(at=NOW, server="server-1", revision=7, estate=ESTATE)


def asked(selector: str = "node/web2", kind: ChangeKind = ChangeKind.DRAIN, **more: Any) -> Asked:
    given: dict[str, Any] = {"id": "asked-0001", "selector": selector, "kind": kind, "reason": "kernel"}
    return Asked(**given | more)


def plan(what: Asked, snapshot: Snapshot = EMPTY, now: datetime = NOW) -> Weighed:
    return weigh(what, "alice", snapshot, PLACES, now)


def in_force(*weighed: Weighed) -> Snapshot:
    return replace(EMPTY, changes=tuple(node.change for one in weighed for node in one.nodes))


def seen_by(*reports: Report, at: datetime = NOW) -> Snapshot:
    agents = {
        report.lb: AgentRecord(lb=report.lb, enrolled_at=NOW, report=report, reported_at=at, seen_at=at)
        for report in reports
    }
    return replace(EMPTY, agents=agents)


def nodes(weighed: Weighed) -> list[str]:
    return [node.change.node for node in weighed.nodes]


# --- which nodes -----------------------------------------------------------------------------------------------------

SELECTED = [
    ("node/web2", ["web2"]),
    ("nodes/web[12]", ["web1", "web2"]),
    ("nodes/queue*", ["queue1", "queue2", "queue3", "queue4"]),
    ("zone/wdc01", ["lb1", "lb2", "web1", "web2", "queue1", "queue2"]),
    ("region/toronto", ["lb5", "lb6", "web5", "web6", "web7", "web8"]),
    ("cluster/queue", ["queue1", "queue2", "queue3", "queue4"]),
    ("path/power-a", ["lb1", "web1", "queue1"]),
    ("path/wdc01/power-a", ["lb1", "web1", "queue1"]),
]


@pytest.mark.parametrize(("selector", "expected"), SELECTED, ids=[selector for selector, _ in SELECTED])
def test_a_selector_means_these_nodes(selector: str, expected: list[str]) -> None:
    assert list(PLACES.nodes(selector)) == expected


@pytest.mark.parametrize(
    "selector", ["web2", "node/", "node/web9", "nodes/x*", "zone/x", "region/x", "cluster/x", "path/x", "rack/a", "/a"]
)
def test_a_selector_that_means_nothing_says_what_there_is(selector: str) -> None:
    with pytest.raises(ChangeInvalid, match="selector"):
        PLACES.nodes(selector)


def test_of_a_zone_only_the_backends_are_drained_and_the_others_are_named() -> None:
    weighed = plan(asked("zone/wdc01"))
    assert nodes(weighed) == ["web1", "web2"]
    assert {name for name, _ in weighed.left_out} == {"lb1", "lb2", "queue1", "queue2"}
    assert any("Left out: lb1, lb2 (are load balancers" in line for line in weighed.words)


def test_a_group_to_which_it_applies_nowhere_is_an_error() -> None:
    with pytest.raises(ChangeInvalid, match="serve in no pool"):
        plan(asked("cluster/queue"))


def test_a_load_balancer_is_not_drained_but_its_address_moved() -> None:
    (refused,) = plan(asked("node/lb1")).refused
    assert refused.reason is Refusal.LOAD_BALANCER
    assert "backstay ip move www" in refused.sentence


# --- the guard over several ------------------------------------------------------------------------------------------


def test_each_node_is_weighed_with_those_before_it_out() -> None:
    """Spare is 4 of 8: the fifth is one too many, so nothing of it is allowed."""
    weighed = plan(asked("cluster/web"))
    refused = [isinstance(node.verdict, Refused) for node in weighed.nodes]
    assert refused == [False] * 4 + [True] * 4
    assert not weighed.allowed and weighed.overridable


def test_what_is_drained_already_counts() -> None:
    before = in_force(plan(asked("nodes/web[1-3]")))
    assert plan(asked("node/web4"), before).allowed
    assert [one.reason for one in plan(asked("nodes/web[45]"), before).refused] == [Refusal.SPARE]


def test_a_drain_that_somebody_put_without_the_server_counts_too() -> None:
    drains = [
        Change(id=f"by-hand-{n}", kind=ChangeKind.DRAIN, node=f"web{n}", actor="bob", reason="disk", created_at=NOW)
        for n in (1, 2, 3, 4)
    ]
    (refused,) = plan(asked("node/web5"), seen_by(report_for(ESTATE, "lb1", changes=drains))).refused
    assert refused.reason is Refusal.SPARE


def test_a_drain_that_the_server_ended_does_not_count_until_its_agents_say_so() -> None:
    drains = [node.change for node in plan(asked("nodes/web[1-4]")).nodes]
    still = seen_by(report_for(ESTATE, "lb1", changes=[as_change(one) for one in drains]))
    over = EndedChange(by=EndedBy.UNDONE, at=NOW, actor="alice", reason="done")
    after = replace(still, ended=tuple(replace(one, ended=over) for one in drains))
    assert plan(asked("nodes/web[1-4]"), still).nodes[0].verdict.notes  # type: ignore[union-attr]
    assert plan(asked("nodes/web[1-5]"), after).words == plan(asked("nodes/web[1-5]")).words


def test_force_overrides_what_may_be_overridden_and_says_so() -> None:
    weighed = plan(asked("cluster/web", forced=True))
    assert weighed.allowed
    assert any(line.startswith("Overridden: ") for line in weighed.words)


def test_a_node_that_is_down_for_one_load_balancer_counts_as_out_for_the_others_sake() -> None:
    """Four may be out. Each of two load balancers has two out, others than the other has: that makes four."""
    split = seen_by(
        report_for(ESTATE, "lb1", down={"web1", "web2"}), report_for(ESTATE, "lb2", down={"web3", "web4"})
    )  # fmt: skip
    (refused,) = plan(asked("node/web5"), split).refused
    assert refused.reason is Refusal.SPARE


def test_a_node_that_is_down_for_one_load_balancer_is_still_missed_by_the_others() -> None:
    split = seen_by(report_for(ESTATE, "lb1", down={"web1", "web2", "web3", "web4"}), report_for(ESTATE, "lb2"))
    assert not plan(asked("nodes/web[15]"), split).allowed


def test_an_old_report_says_nothing_about_now() -> None:
    stale = seen_by(report_for(ESTATE, "lb1", down={"web1", "web2", "web3", "web4"}), at=NOW - timedelta(minutes=10))
    assert plan(asked("node/web5"), stale).allowed


def test_a_parameter_needs_no_guard_and_applies_to_every_node() -> None:
    weighed = plan(asked("zone/wdc01", ChangeKind.PARAMETER, parameter="nginx::workers", value=4))
    assert weighed.allowed and nodes(weighed) == ["lb1", "lb2", "web1", "web2", "queue1", "queue2"]


def test_who_sets_a_parameter_hears_of_the_one_that_it_stands_above() -> None:
    first = plan(asked("node/web1", ChangeKind.PARAMETER, parameter="x", value=1))
    again = plan(asked("node/web1", ChangeKind.PARAMETER, parameter="x", value=2, id="asked-0002"), in_force(first))
    assert any("stands above" in line for line in again.words)


def test_a_parameter_drains_nobody() -> None:
    parameters = in_force(plan(asked("cluster/web", ChangeKind.PARAMETER, parameter="x", value=1)))
    assert plan(asked("nodes/web[1-4]", id="asked-0002"), parameters).allowed


# --- what comes of it ------------------------------------------------------------------------------------------------


def test_the_same_request_makes_the_same_ids_at_any_server() -> None:
    one, other = plan(asked("zone/wdc01")), plan(asked("zone/wdc01"), now=NOW + timedelta(seconds=5))
    assert [node.change.id for node in one.nodes] == [node.change.id for node in other.nodes]
    assert one.nodes[0].change.id == "asked-0001"
    assert {node.change.batch for node in one.nodes} == {"asked-0001"}


def test_an_id_that_was_used_for_something_else_is_told_apart() -> None:
    stored = [node.change for node in plan(asked()).nodes]
    assert repeats(asked(reason="told differently"), stored)
    assert not repeats(asked("node/web3"), stored)
    assert not repeats(asked(kind=ChangeKind.MAINTENANCE), stored)


def test_the_end_of_a_change_is_by_the_wall_clock() -> None:
    change = plan(asked(duration_s=60)).nodes[0].change
    assert change.expires_at == NOW + timedelta(minutes=1)
    deadline = as_change(change).deadline
    assert deadline is not None and deadline.boot_id == ""


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("an id that is none", {"id": "short"}),
    ("no reason", {"reason": "  "}),
    ("a reason of two lines", {"reason": "a\nb"}),
    ("a reason without end", {"reason": "x" * 501}),
    ("over before it began", {"duration_s": 0}),
    ("longer than a month", {"duration_s": 31 * 86_400.0}),
    ("a drain with a parameter", {"parameter": "x"}),
    ("a drain with a value", {"value": 1}),
    ("a parameter without a name", {"kind": ChangeKind.PARAMETER}),
    ("a parameter of a pool", {"kind": ChangeKind.PARAMETER, "parameter": "x", "pool": "web"}),
    ("a parameter that is no JSON", {"kind": ChangeKind.PARAMETER, "parameter": "x", "value": float("inf")}),
]


@pytest.mark.parametrize(("what", "more"), WRONG, ids=[what for what, _ in WRONG])
def test_what_no_estate_makes_right_is_refused(what: str, more: dict[str, Any]) -> None:
    with pytest.raises(ChangeInvalid):
        plan(asked(**more))


def test_a_server_without_an_estate_says_what_to_do_first() -> None:
    with pytest.raises(ChangeInvalid, match="No estate"):
        weigh(asked(), "alice", EMPTY, None, NOW)


def test_there_are_only_so_many_changes_in_force() -> None:
    one = plan(asked()).nodes[0].change
    full = replace(EMPTY, changes=(one,) * 5_000)
    with pytest.raises(ChangeInvalid, match="at most 5000"):
        plan(asked(id="asked-0002"), full)


def test_globs_of_clusters_are_written_out_once() -> None:
    assert PLACES.estate.clusters["web"].members == tuple(f"web{number}" for number in range(1, 9))
    assert PLACES.tiers("web1", None) == ("wdc01", "wdc04", "tor01")
    assert PLACES.tiers("queue1", None) == ()
