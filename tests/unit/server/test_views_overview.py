"""What the first page says: who needs a person, what was measured of the promises, the map."""

from __future__ import annotations

from datetime import timedelta

from view_scenes import a_change, a_scene, altered, an_event, estate_of

from backstay.link.wire import ChangeRefusal, Order, OrderKind, OrderOutcome
from backstay.server.model import ServerOrder
from backstay.server.views.attention import items
from backstay.server.views.overview import DRAWN, overview, promises
from backstay.server.views.scene.words import Tone
from server_agents import NOW, report_for


def test_when_all_is_well_nobody_is_needed() -> None:
    scene = a_scene()
    assert items(scene) == []
    assert overview(scene, [], [], []).sentence == "Everything is as it should be."


def test_a_silent_agent_is_urgent_and_says_since_when() -> None:
    (item,) = [one for one in items(a_scene(silent=["lb3"])) if one.what.startswith("lb3")]
    assert item.tone is Tone.BAD
    assert item.since == NOW - timedelta(seconds=60)


def test_the_gravest_comes_first() -> None:
    tones = [item.tone for item in items(a_scene(silent=["lb3"], down={"web1"}))]
    assert tones == sorted(tones, key=lambda tone: tone is not Tone.BAD)


def test_an_engine_that_does_not_run_is_urgent() -> None:
    report = report_for(estate_of(), "lb1")
    status = {**report.status, "engine": {**report.status["engine"], "running": False}}
    (item,) = items(a_scene(reports=altered("lb1", status=status)))
    assert (item.tone, item.what) == (Tone.BAD, "lb1: engine down")


def test_a_pool_below_its_spare_is_told_once_and_with_the_figures() -> None:
    down = {"web1", "web2", "web3", "web4", "web5"}
    told = [item for item in items(a_scene(down=down)) if item.what == "pool web: below N+1"]
    assert [item.why for item in told] == ["3 active backends, 4 needed with the spare that is declared"]


def test_a_quarantined_candidate_leads_to_its_rearm() -> None:
    scene = a_scene(quarantined={"www": NOW.isoformat()}, owners={"www": "lb2"})
    found = {item.href for item in items(scene) if "quarantined" in item.what}
    assert "/failover/www/rearm?lb=lb1" in found


def test_a_change_that_a_load_balancer_refused_is_urgent() -> None:
    change = a_change("web2")
    refusal = ChangeRefusal(id=change.id, detail="the book is full")
    (item,) = items(a_scene(changes=[change], reports=altered("lb1", refusals=(refusal,))))
    assert (item.tone, item.why, item.href) == (Tone.BAD, "the book is full", f"/changes/{change.batch}")


def test_an_order_that_failed_is_told_for_an_hour() -> None:
    order = Order(id="order-0001", kind=OrderKind.MOVE, ip="www", to="lb2", actor="a", reason="r", expires_in_s=60)

    def told(ago: timedelta) -> list[str]:
        outcome = OrderOutcome(id=order.id, done=False, detail="the engine does not answer")
        at = NOW - ago
        one = ServerOrder(lb="lb2", order=order, created_at=at, expires_at=at, outcome=outcome)
        return [item.why for item in items(a_scene(orders=[one]))]

    assert told(timedelta(minutes=59)) == ["the engine does not answer"]
    assert told(timedelta(minutes=61)) == []


def test_a_part_of_a_report_that_cannot_be_read_is_said_and_takes_nothing_else_away() -> None:
    pools = [{"pool": "web", "members": [{"backend": 5}]}, {"pool": "other"}]
    scene = a_scene(reports=altered("lb1", pools=pools))
    assert list(scene.said["lb1"].pools) == ["other"]
    (item,) = [one for one in items(scene) if "cannot be read" in one.what]
    assert "pools.0.members.0.backend" in item.why


# --- the map -----------------------------------------------------------------------------------------------------


def test_the_map_has_every_node_of_a_zone_under_its_cluster_or_tier() -> None:
    shown = overview(a_scene(), [], [], [])
    wdc01 = shown.regions[0].zones[0]
    assert [(group.name, [cell.node for cell in group.cells]) for group in wdc01.groups] == [
        ("wdc01", ["lb1", "lb2"]),
        ("web", ["web1", "web2"]),
        ("queue", ["queue1", "queue2"]),
    ]


def test_of_a_large_estate_those_that_are_not_well_are_drawn_and_the_rest_counted() -> None:
    nodes = "".join(f"  n{number}: {{zone: z, address: 10.0.{number}.1}}\n" for number in range(DRAWN))
    text = (
        "estate: large\nregions: {r: {zones: {z: {}}}}\nnodes:\n  lb: {zone: z, address: 10.1.0.1}\n"
        + nodes
        + "clusters: "
        '{c: {members: "n*"}}\ntiers: {t: {engine: nginx, members: [lb]}}\n'
        "services: {s: {hostnames: [x], routes: [{path: /, pool: p}]}}\npools: {p: {cluster: c, port: 80}}\n"
    )
    shown = overview(a_scene(text, down={"n39", "n7"}), [], [], [])
    group = shown.regions[0].zones[0].groups[1]
    assert ([cell.node for cell in group.cells], group.more) == (["n7", "n39"], DRAWN - 2)
    assert group.words == f"{DRAWN - 2} active, 2 down"


# --- promises ------------------------------------------------------------------------------------------------------


def _takeover(holder: str, to: str, took_s: float) -> list[object]:
    started = an_event(2, "ip.takeover_started", "ip/www", ago_s=took_s - 1, data={"holder": holder, "to": to})
    return [
        an_event(3, "ip.verified", "ip/www", cause=started.id),
        started,
        an_event(1, "ip.suspected", "ip/www", ago_s=took_s),
    ]


def test_a_promise_tells_what_the_journal_holds_of_its_level_and_whether_it_was_kept() -> None:
    drained = an_event(9, "drain.done", "node/web2", data={"cut": 0, "refused": 0})
    found = {one.level: one.measured for one in promises(a_scene(), [drained], _takeover("lb1", "lb5", 3.2))}  # type: ignore[arg-type]
    assert found["maintenance"] is not None and found["maintenance"].kept
    assert found["maintenance"].words == "drain of web2: no requests lost"
    assert found["region"] is not None and found["region"].kept
    assert found["region"].words == "www from lb1 to lb5 in 3.2 s"
    assert found["zone"] is None


def test_a_takeover_within_a_zone_breaks_a_promise_of_none() -> None:
    found = {one.level: one.measured for one in promises(a_scene(), [], _takeover("lb1", "lb2", 2.0))}  # type: ignore[arg-type]
    assert found["power_or_network"] is not None and not found["power_or_network"].kept


def test_a_drain_that_lost_requests_breaks_the_promise_of_maintenance() -> None:
    lost = an_event(9, "drain.done", "node/web2", data={"cut": 1, "refused": 0})
    (first, *_) = promises(a_scene(), [lost], [])
    assert first.measured is not None and not first.measured.kept
