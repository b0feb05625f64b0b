"""The ways to go wrong, end to end: real engines and agents in namespaces, the provider's wire protocol, a pager.

One lab for all of them; `calm` brings it back to lb1 before each. How each ends (who holds the address, how many calls
altered anything at the provider, who told what, what the journals say) is in tests/cases/failover/endings.yaml.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from failover_means import Certificates, Clock, full_disk
from failover_scene import CANDIDATES, IP, Scene
from rig import HERE, Rig, run

from backstay.agent.client import AgentRefused
from backstay.failover.standpoint import FRESH_S
from backstay.lab import build
from backstay.lab.fabric.pick import pick
from backstay.lab.model import FabricKind, LabError
from backstay.lab.traffic import Traffic

AGENT_LIMIT_BYTES = 60_000_000
HOUR_S = 3_600
LOSSY_S = 40.0  # of each share of loss: two minutes in all

pytestmark = pytest.mark.timeout(150)


@pytest.fixture(scope="module")
def lab(root: Path) -> Iterator[Rig]:
    try:
        kind = pick(FabricKind.NAMESPACES).kind
    except LabError as refused:
        pytest.skip(str(refused))
    made = run(build.up(build.Options(source=HERE / "failover.yaml", root=root, fabric=kind)))
    yield Rig(made.folder)
    run(made.down())


@pytest.fixture(scope="module")
def certificates(lab: Rig) -> Certificates:
    return Certificates(lab.folder)


@pytest.fixture
def scene(lab: Rig) -> Scene:
    found = Scene(lab)
    found.calm()
    return found


# --- how the active can die -------------------------------------------------------------------------------------------


def test_the_active_crashes_and_returns_quarantined(scene: Scene) -> None:
    scene.rig.fault("crash", "lb1")
    scene.held_by("lb2")
    scene.until(lambda: scene.state("lb2") == "holding", "lb2 holding")
    scene.rig.heal("lb1")
    scene.ends_as("crash")
    assert scene.state("lb1") == "quarantined"
    scene.rearm("lb1")
    scene.until(lambda: scene.state("lb1") == "watching", "lb1 armed again")
    assert scene.owner == "lb2"


def test_the_active_hangs_and_of_three_candidates_one_moves_it(scene: Scene) -> None:
    scene.rig.fault("hang", "lb1")
    scene.held_by("lb2")
    scene.until(lambda: "ip.suspected" in scene.journal("lb3"), "the suspicion of lb3")
    # It was asleep: nobody else died meanwhile, and what was its own is not any more.
    scene.rig.heal("lb1")
    scene.ends_as("hang")


def test_the_link_of_the_active_goes_down(scene: Scene) -> None:
    """lb1 sees everybody fall silent: it is the one that is cut off, and knows that it holds the address no more only
    when it is back."""
    scene.rig.fault("isolate", "lb1")
    scene.held_by("lb2")
    scene.until(lambda: scene.suspects_somebody("lb1"), "lb1 missing the others")
    assert scene.state("lb1") == "active"
    scene.rig.heal("lb1")
    scene.ends_as("link_down")


def test_both_load_balancers_of_a_datacenter_die_and_the_other_takes_it(scene: Scene) -> None:
    scene.rig.fault("hang", "lb1")
    scene.rig.fault("hang", "lb2")
    scene.held_by("lb3")
    scene.rig.heal()
    scene.ends_as("datacenter")
    assert scene.state("lb3") == "holding"


def test_the_certificate_of_the_active_alone_expires(scene: Scene, certificates: Certificates) -> None:
    """Its agent is dead when everybody's is renewed, so it alone goes on with the old one, to its end. Users are
    redirected to HTTPS, and into a wall: somebody who has a good certificate takes over."""
    expire_soon(scene, certificates)
    scene.kill_agent("lb1")
    try:
        certificates.issue()
        scene.held_by("lb2")
    finally:
        scene.restart_agent("lb1")
    scene.ends_as("own_certificate")


def test_the_certificates_of_all_expire_and_it_stays_and_that_is_told(scene: Scene, certificates: Certificates) -> None:
    """Nobody is better off elsewhere. After 15 s without an end to it, people are told why nobody acts."""
    expire_soon(scene, certificates)
    try:
        scene.ends_as("all_certificates")
        assert all("(self_unhealthy)" in page["summary"] for page in scene.pages())
    finally:
        certificates.issue()


# --- what is no death -------------------------------------------------------------------------------------------------


def test_the_standby_is_isolated_and_does_nothing(scene: Scene) -> None:
    scene.rig.fault("isolate", "lb2")
    scene.stays_with("lb1")
    scene.ends_as("isolated")


def test_ping_alone_is_filtered(scene: Scene) -> None:
    chain = "add table inet t; add chain inet t in { type filter hook input priority 0; }"
    scene.on_host("lb1", "nft", f"{chain}; add rule inet t in icmp type echo-request drop")
    try:
        scene.stays_with("lb1")
        scene.ends_as("icmp_filtered")
    finally:
        scene.on_host("lb1", "nft", "delete table inet t")


def test_the_agent_of_the_active_is_dead_and_its_engine_serves(scene: Scene) -> None:
    scene.kill_agent("lb1")
    try:
        scene.stays_with("lb1")
    finally:
        scene.restart_agent("lb1")
    scene.ends_as("agent_dead")


def test_the_watcher_itself_is_paused(scene: Scene) -> None:
    """A virtual machine that stands still for seconds takes nobody for dead when it goes on."""
    pid = scene.pid("lb2")
    os.kill(pid, signal.SIGSTOP)
    time.sleep(4.0)
    os.kill(pid, signal.SIGCONT)
    scene.stays_with("lb1")
    scene.ends_as("paused")


@pytest.mark.parametrize("step_s", [HOUR_S, -HOUR_S], ids=["on", "back"])
def test_the_clock_of_the_standby_is_stepped_by_an_hour(scene: Scene, step_s: int) -> None:
    """Its wall clock alone, as by a person or an NTP daemon. Nothing that decides goes by it: neither the suspicion,
    nor a freeze, nor what waits; and the journal's order holds."""
    library = Clock.library()
    if library is None:
        pytest.skip("needs libfaketime (package libfaketime)")
    clock = Clock(scene.rig.folder.hosts / "lb2", library)
    scene.kill_agent("lb2")
    scene.restart_agent("lb2", **clock.environment)
    try:
        scene.until(lambda: scene.standing("lb2") == ("watching", "lb1"), "lb2 back")
        scene.freeze("lb2", HOUR_S / 2)
        clock.step(step_s)
        scene.rearm("lb2")  # which has it ask the provider, and so look at its clock
        scene.until(lambda: abs(scene.heard_s("lb2") + step_s) < 60, "the step of the clock")
        scene.stays_with("lb1")
        assert 0 < scene.view("lb2")["frozen_for_s"] < HOUR_S / 2
        scene.freeze("lb2", 0)
        scene.rig.fault("hang", "lb1")
        scene.until(lambda: "ip.suspected" in scene.journal("lb2"), "the suspicion of lb2")
        clock.step(0)
        scene.ends_as("clock")
    finally:
        scene.kill_agent("lb2")
        scene.restart_agent("lb2")


def test_a_frozen_address_stays_though_its_holder_dies(scene: Scene) -> None:
    for lb in CANDIDATES:
        scene.freeze(lb, HOUR_S)
    scene.rig.fault("hang", "lb1")
    scene.stays_with("lb1")
    assert scene.state("lb2") == "frozen"
    for lb in ("lb2", "lb3"):
        scene.freeze(lb, 0)
    scene.ends_as("frozen")


# --- the provider -----------------------------------------------------------------------------------------------------


def test_the_provider_is_slow(scene: Scene) -> None:
    scene.provider(faults={"action_s": 4.0})
    scene.rig.fault("hang", "lb1")
    scene.ends_as("provider_slow")


def test_the_provider_is_down_and_comes_back(scene: Scene) -> None:
    scene.provider(faults={"answer": "down"})
    scene.rig.fault("hang", "lb1")
    scene.until(lambda: "ip.takeover_failed" in scene.journal("lb2"), "the failure")
    assert scene.writes == 0
    scene.provider(faults={})
    scene.ends_as("provider_down")


def test_the_answer_of_the_provider_is_cut_off(scene: Scene) -> None:
    """It is done, and we do not hear so: the owner is read again, and nothing is done twice."""
    scene.provider(faults={"answer": "cut", "hits": "writes", "times": 1})
    scene.rig.fault("hang", "lb1")
    scene.ends_as("provider_cut")


def test_a_person_moves_it_meanwhile(scene: Scene) -> None:
    """The compare at the provider fails, nothing is done, and the person's choice stands."""
    scene.provider(faults={"answer_delay_s": 0.8})
    scene.rig.fault("hang", "lb1")
    scene.until(lambda: scene.state("lb2") in ("taking", "suspecting"), "the suspicion of lb2")
    scene.provider(person={"ip": IP, "to": "lb3"})
    scene.until(lambda: scene.view("lb2").get("owner") == "lb3", "lb2 hearing of it")
    scene.provider(faults={})
    scene.until(lambda: scene.state("lb3") == "active", "lb3 active")
    scene.stays_with("lb3")
    scene.ends_as("person")


# --- the one that takes over dies, or its disk is full ----------------------------------------------------------------


@pytest.mark.parametrize("moment", ["before", "during", "after"])
def test_the_agent_is_killed_in_the_middle_of_a_takeover(scene: Scene, moment: str) -> None:
    """Before the provider's call, while it is under way, and just after it; started again, it finishes what was begun
    once. (lb3 is frozen, so that it is lb2 who has to.)"""
    scene.freeze("lb3", HOUR_S)
    if moment == "before":
        scene.provider(faults={"answer": "hang"})
    elif moment == "during":
        scene.provider(faults={"action_s": 5.0})
    scene.rig.fault("hang", "lb1")
    wanted = {
        "before": lambda: "ip.takeover_started" in scene.journal("lb2"),
        "during": lambda: scene.writes == 1,
        "after": lambda: scene.owner == "lb2",
    }[moment]
    scene.until(wanted, f"the moment {moment}")
    scene.kill_agent("lb2")
    if moment == "before":
        assert scene.writes == 0
        scene.provider(faults={})
    scene.restart_agent("lb2")
    scene.ends_as(f"killed_{moment}")
    assert scene.state("lb2") == "holding"


def test_the_standby_has_a_full_disk_and_takes_over_all_the_same(scene: Scene) -> None:
    state = scene.rig.folder.hosts / "lb2" / "state"
    with full_disk(scene.pid("lb2")):
        scene.rig.fault("hang", "lb1")
        scene.held_by("lb2")
        scene.until(lambda: scene.told_people() == ["lb2 took"], "the page")
        assert not scene.view("lb2")["on_disk"]
    scene.until(lambda: scene.view("lb2")["on_disk"], "what was held in memory, on disk")
    assert json.loads((state / "failover" / f"{IP}.json").read_text())["took"]
    scene.ends_as("full_disk")


# --- what a person does -----------------------------------------------------------------------------------------------


def test_a_planned_move_quarantines_nobody_and_pages_nobody(scene: Scene) -> None:
    scene.move("lb3")
    scene.ends_as("planned_move")
    for lb, state in (("lb1", "watching"), ("lb2", "watching"), ("lb3", "active")):
        scene.until(lambda lb=lb, state=state: scene.state(lb) == state, f"{lb} {state}")


def test_a_planned_move_under_load_loses_nothing(scene: Scene) -> None:
    """Kept and new connections, POSTs that nobody repeats; there, on, and back within seconds. (`./run bench move` does
    it with 100,000 requests.)"""
    if not scene.rig.can("loss"):
        pytest.skip("needs the nft program (package nftables)")
    ip = next(ip for ip in scene.rig.folder.layout.ips if ip.name == IP)
    traffic = Traffic(scene.rig.folder, ip, rate=100.0)
    run(traffic.start())
    for to in ("lb2", "lb3", "lb1"):
        time.sleep(1.0)
        scene.move(to)
        assert scene.owner == to
    time.sleep(1.0)
    seen = run(traffic.stop())
    assert seen.sent > 300
    assert seen.failed == 0, seen
    assert scene.writes == 3
    assert not scene.pages()


def test_a_candidate_takes_it_once_and_not_again_before_it_is_rearmed(scene: Scene) -> None:
    scene.rig.fault("hang", "lb1")
    scene.held_by("lb2")
    scene.until(lambda: scene.told_people() == ["lb2 took"], "the page")
    scene.provider(person={"ip": IP, "to": "lb3"})
    scene.until(lambda: scene.heard_s("lb2") > FRESH_S, "an old word of the provider")
    scene.rig.heal("lb1")  # whose return has lb2 ask again at once
    scene.until(lambda: scene.state("lb2") == "quarantined", "the quarantine of lb2")
    scene.rearm("lb3")  # as this does
    scene.until(lambda: scene.standing("lb3") == ("active", "lb3"), "lb3 active")
    scene.until(lambda: scene.standing("lb1") == ("quarantined", "lb3"), "the quarantine of lb1")
    scene.rig.fault("hang", "lb3")
    scene.stays_with("lb3", writes=1)
    scene.ends_as("second_death")


# --- two minutes of loss, last: what is learnt of them makes everybody more patient -----------------------------------


def test_packet_loss_for_minutes_is_no_death(scene: Scene) -> None:
    if not scene.rig.can("loss"):
        pytest.skip("needs the nft program (package nftables)")
    for percent in (10.0, 20.0, 30.0):
        scene.rig.fault("loss", "lb1", percent / 2)  # each way, so that as many probes and answers are lost
        scene.stays_with("lb1", LOSSY_S)
        scene.rig.heal("lb1")
    scene.ends_as("loss")


def test_an_agent_that_took_over_and_paged_is_small(scene: Scene) -> None:
    """The vendors' libraries, of the provider and of the pager, are in processes of their own."""
    scene.rig.fault("hang", "lb1")
    scene.held_by("lb2")
    scene.until(lambda: scene.told_people() == ["lb2 took"], "the page")
    resident = scene.resident_bytes("lb2")
    assert resident < AGENT_LIMIT_BYTES, f"{resident / 1e6:.1f} MB"


def test_a_person_finds_that_a_takeover_was_for_nothing(scene: Scene) -> None:
    scene.rig.fault("hang", "lb1")
    scene.held_by("lb2")
    scene.rig.heal("lb1")
    scene.until(lambda: scene.state("lb1") == "quarantined", "the quarantine of lb1")
    scene.rearm("lb2", false_alarm=True)
    assert "ip.false_alarm" in scene.journal("lb2")
    with pytest.raises(AgentRefused, match="no false alarm of its own"):
        scene.rearm("lb2", false_alarm=True)  # it is said once


def expire_soon(scene: Scene, certificates: Certificates) -> None:
    """Every candidate serves a certificate that ends within seconds."""
    certificates.issue(lasts_s=12.0)
    for lb in CANDIDATES:
        scene.until(lambda lb=lb: certificates.taken_by(lb) and scene.in_sync(lb), f"{lb} with it")
