"""The ways to go wrong, end to end: real engines and agents in namespaces, the provider's wire protocol, a pager.

One lab for all of them; `calm` brings it back to lb1 before each. Every test says who holds the address in the end, how
many calls altered anything at the provider, how many pages came, and what the journal says.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from rig import HERE, Rig, poll, run

from backstay.agent.client import AgentClient, AgentError
from backstay.lab import build, proc
from backstay.lab.fabric.pick import pick
from backstay.lab.hosts.control import tell
from backstay.lab.keeper.client import call
from backstay.lab.model import FabricKind, LabError
from backstay.lab.traffic import Traffic

IP = "www"
CANDIDATES = ("lb1", "lb2", "lb3")
PATIENCE_S = 30.0
QUIET_S = 5.0  # "nothing happens" is watched for that long: twice what the most patient takeover takes

pytestmark = pytest.mark.timeout(150)


@dataclass
class Scene:
    """The lab, and what was at the pager and the provider before this test."""

    rig: Rig
    pages_before: int = 0
    writes_before: int = 0
    events_before: dict[str, str] = field(default_factory=dict)

    # --- what is

    def view(self, lb: str) -> dict[str, Any]:
        async def ask() -> dict[str, Any]:
            async with AgentClient(lb, socket=self.rig.folder.run / f"{lb}.sock") as agent:
                return dict(await agent.ip(IP, timeout_s=3.0))

        try:
            return run(ask())
        except AgentError:
            return {}

    def state(self, lb: str) -> str:
        return str(self.view(lb).get("state", "not reached"))

    def standing(self, lb: str) -> tuple[str, str | None]:
        """Its state, and whom it takes for the holder."""
        view = self.view(lb)
        return str(view.get("state")), view.get("owner")

    def provider(self, **message: Any) -> dict[str, Any]:
        return run(tell(self.rig.folder.control / "provider.sock", message))

    def pager(self) -> dict[str, Any]:
        return run(tell(self.rig.folder.control / "pager.sock", {}))

    @property
    def owner(self) -> str:
        return str(self.provider()["owners"][IP])

    @property
    def writes(self) -> int:
        """Calls that alter something, since the test began."""
        return int(self.provider()["writes"]) - self.writes_before

    def pages(self) -> list[dict[str, Any]]:
        found = self.pager()
        new = int(found["count"]) - self.pages_before
        return list(found["incidents"][-new:]) if new else []

    def took_pages(self) -> list[str]:
        """Who told of a takeover."""
        return [page["source"] for page in self.pages() if " took " in page["summary"]]

    def journal(self, lb: str) -> list[str]:
        """Kinds of this test's events of the address on `lb`, in their order."""

        async def ask() -> list[dict[str, Any]]:
            async with AgentClient(lb, socket=self.rig.folder.run / f"{lb}.sock") as agent:
                return [dict(event) for event in await agent.ip_history(IP)]

        events = run(ask())
        return [event["kind"] for event in events if event["id"] > self.events_before.get(lb, "")]

    # --- what is done

    def pid(self, lb: str) -> int:
        """Of the agent, as this machine numbers it (the keeper's numbers are of its own namespace)."""
        state = str(self.rig.folder.hosts / lb / "state").encode()
        for pid in proc.pids():
            with suppress(OSError):
                argv = (proc.PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
                if b"backstay.agent" in argv and state in argv:
                    return pid
        raise AssertionError(f"no agent runs on {lb}")

    def restart_agent(self, lb: str) -> None:
        """Start it again, as systemd would."""
        spec = next(p for p in build.processes(self.rig.folder, self.rig.folder.layout, [lb], 25.0) if p[0] == lb)
        engines = build._engines(build.load_file(self.rig.folder.estate_file).estate)
        run(call(self.rig.folder, "spawn", host=lb, role="agent", argv=spec[2], env=engines))

    async def _people(self, lb: str, what: str, **arguments: Any) -> None:
        async with AgentClient(lb, socket=self.rig.folder.run / f"{lb}.sock") as agent:
            await getattr(agent, what)(IP, actor="tester", reason="a test", **arguments)

    def rearm(self, lb: str) -> None:
        run(self._people(lb, "rearm_ip"))

    def freeze(self, lb: str, for_s: float) -> None:
        run(self._people(lb, "freeze_ip", for_s=for_s))

    def move(self, to: str) -> None:
        for lb in CANDIDATES:
            if lb != to:
                run(self._people(lb, "expect_move", to=to))
        run(self._people(to, "move_ip"))

    # --- what must come

    def until(self, condition: Any, what: str, timeout_s: float = PATIENCE_S) -> None:
        assert poll(condition, timeout_s), f"{what} never came: {self.told()}"

    def held_by(self, lb: str, timeout_s: float = PATIENCE_S) -> None:
        self.until(lambda: self.owner == lb, f"{lb} holding it", timeout_s)

    def stays_with(self, lb: str, for_s: float = QUIET_S) -> None:
        end = time.monotonic() + for_s
        while time.monotonic() < end:
            assert self.owner == lb, self.told()
            time.sleep(0.25)
        assert self.writes == 0, self.told()

    def told(self) -> str:
        return json.dumps({lb: [self.view(lb), self.journal_or_nothing(lb)] for lb in CANDIDATES}, indent=1)

    def journal_or_nothing(self, lb: str) -> list[str]:
        try:
            return self.journal(lb)
        except AgentError:
            return []

    def calm(self) -> None:
        """Everything well, lb1 the holder, everybody armed, and nobody suspects anybody."""
        self.rig.heal()
        self.provider(faults={})
        for lb in CANDIDATES:
            self.until(lambda lb=lb: self.view(lb).get("owner_known", False), f"{lb} back")
            self.rearm(lb)
            self.freeze(lb, 0)
        for lb in CANDIDATES:
            self.until(lambda lb=lb: self.state(lb) not in ("taking", "suspecting", "not reached"), f"{lb} at rest")
        if self.owner != "lb1":
            self.until(self.moved_back, "the move back to lb1", 45.0)
            for lb in CANDIDATES:
                self.rearm(lb)  # which has the provider asked at once
        for lb in CANDIDATES:
            wanted = ("active" if lb == "lb1" else "watching", "lb1")
            self.until(lambda lb=lb, wanted=wanted: self.standing(lb) == wanted, f"{lb} {wanted}", 45.0)
        time.sleep(1.0)  # let the pages of before arrive
        self.pages_before = int(self.pager()["count"])
        self.writes_before = int(self.provider()["writes"])
        for lb in CANDIDATES:
            self.events_before[lb] = self.last_event(lb)

    def moved_back(self) -> bool:
        """False when lb1 is not fit yet, or does not know yet who holds it."""
        self.rearm("lb1")
        time.sleep(0.5)
        try:
            self.move("lb1")
        except AgentError:
            return False
        return True

    def last_event(self, lb: str) -> str:
        async def ask() -> str:
            async with AgentClient(lb, socket=self.rig.folder.run / f"{lb}.sock") as agent:
                events = await agent.ip_history(IP)
                return str(events[-1]["id"]) if events else ""

        return run(ask())

    def one_takeover_by(self, lb: str) -> None:
        """The address is with `lb`, by one call that altered anything, with one page, and verified."""
        self.held_by(lb)
        self.until(lambda: "ip.verified" in self.journal(lb), "the verification")
        self.until(lambda: self.took_pages() != [], "the page")
        assert self.writes == 1, self.told()
        assert self.took_pages() == [lb]
        kinds = self.journal(lb)
        assert kinds.index("ip.suspected") < kinds.index("ip.takeover_started") < kinds.index("ip.taken")


@pytest.fixture(scope="module")
def lab(root: Path) -> Iterator[Rig]:
    try:
        kind = pick(FabricKind.NAMESPACES).kind
    except LabError as refused:
        pytest.skip(str(refused))
    made = run(build.up(build.Options(source=HERE / "failover.yaml", root=root, fabric=kind)))
    yield Rig(made.folder)
    run(made.down())


@pytest.fixture
def scene(lab: Rig) -> Scene:
    found = Scene(lab)
    found.calm()
    return found


# --- how the active can die -------------------------------------------------------------------------------------------


def test_the_active_crashes_and_returns_quarantined(scene: Scene) -> None:
    scene.rig.fault("crash", "lb1")
    scene.one_takeover_by("lb2")
    assert scene.state("lb2") == "holding"
    scene.rig.heal("lb1")
    scene.until(lambda: scene.state("lb1") == "quarantined", "the quarantine of lb1")
    assert "ip.quarantined" in scene.journal("lb1")
    scene.until(lambda: len(scene.pages()) == 2, "the page of lb1")
    assert scene.owner == "lb2"
    assert scene.writes == 1
    scene.rearm("lb1")
    scene.until(lambda: scene.state("lb1") == "watching", "lb1 armed again")
    assert scene.owner == "lb2"


def test_the_active_hangs(scene: Scene) -> None:
    scene.rig.fault("hang", "lb1")
    scene.one_takeover_by("lb2")
    scene.rig.heal("lb1")
    # It was asleep: nobody else died meanwhile, and what was its own is not any more.
    scene.until(lambda: scene.state("lb1") == "quarantined", "the quarantine of lb1")
    assert "ip.takeover_started" not in scene.journal("lb1")
    assert (scene.owner, scene.writes) == ("lb2", 1)


def test_the_link_of_the_active_goes_down(scene: Scene) -> None:
    scene.rig.fault("isolate", "lb1")
    scene.one_takeover_by("lb2")
    # lb1 sees everybody fall silent: it is the one that is cut off, and knows that it holds the address no more
    # only when it is back.
    assert "ip.takeover_started" not in scene.journal("lb1")
    scene.rig.heal("lb1")
    scene.until(lambda: scene.state("lb1") == "quarantined", "the quarantine of lb1")
    assert (scene.owner, scene.writes) == ("lb2", 1)


def test_both_load_balancers_of_a_datacenter_die_and_the_other_takes_it(scene: Scene) -> None:
    scene.rig.fault("hang", "lb1")
    scene.rig.fault("hang", "lb2")
    scene.one_takeover_by("lb3")
    assert scene.state("lb3") == "holding"


def test_three_candidates_and_only_the_first_in_line_moves_it(scene: Scene) -> None:
    scene.rig.fault("hang", "lb1")
    scene.one_takeover_by("lb2")
    assert "ip.takeover_started" not in scene.journal("lb3")


# --- what is no death -------------------------------------------------------------------------------------------------


def test_the_standby_is_isolated_and_does_nothing(scene: Scene) -> None:
    scene.rig.fault("isolate", "lb2")
    scene.stays_with("lb1")
    assert "ip.takeover_started" not in scene.journal("lb2")
    assert not scene.pages()


def test_ping_alone_is_filtered(scene: Scene) -> None:
    chain = "add table inet t; add chain inet t in { type filter hook input priority 0; }"
    nft = f"{chain}; add rule inet t in icmp type echo-request drop"
    on_host(scene, "lb1", "nft", nft)
    try:
        scene.until(lambda: "ip.icmp_filtered" in scene.journal("lb2"), "the report of a filter")
        scene.stays_with("lb1")
    finally:
        on_host(scene, "lb1", "nft", "delete table inet t")
    assert not scene.pages()


def test_the_agent_of_the_active_is_dead_and_its_engine_serves(scene: Scene) -> None:
    os.kill(scene.pid("lb1"), signal.SIGKILL)
    try:
        scene.stays_with("lb1")
        assert not scene.pages()
    finally:
        scene.restart_agent("lb1")


@pytest.mark.parametrize("percent", [10, 20, 30])
def test_packet_loss_is_no_death(scene: Scene, percent: float) -> None:
    if not scene.rig.can("loss"):
        pytest.skip("needs the nft program (package nftables)")
    scene.rig.fault("loss", "lb1", percent / 2)  # each way, so that as many probes and answers are lost
    scene.stays_with("lb1", 8.0)
    assert not scene.pages()


def test_the_watcher_itself_is_paused(scene: Scene) -> None:
    """A virtual machine that stands still for seconds takes nobody for dead when it goes on."""
    pid = scene.pid("lb2")
    os.kill(pid, signal.SIGSTOP)
    time.sleep(4.0)
    os.kill(pid, signal.SIGCONT)
    scene.stays_with("lb1")
    assert not scene.pages()


def test_a_frozen_address_stays_though_its_holder_dies(scene: Scene) -> None:
    for lb in CANDIDATES:
        scene.freeze(lb, 3_600)
    scene.rig.fault("hang", "lb1")
    scene.stays_with("lb1")
    assert scene.state("lb2") == "frozen"
    for lb in ("lb2", "lb3"):
        scene.freeze(lb, 0)
    scene.one_takeover_by("lb2")


# --- the provider -----------------------------------------------------------------------------------------------------


def test_the_provider_is_slow(scene: Scene) -> None:
    scene.provider(faults={"action_s": 4.0})
    scene.rig.fault("hang", "lb1")
    scene.one_takeover_by("lb2")


def test_the_provider_is_down_and_comes_back(scene: Scene) -> None:
    scene.provider(faults={"answer": "down"})
    scene.rig.fault("hang", "lb1")
    scene.until(lambda: "ip.takeover_failed" in scene.journal("lb2"), "the failure")
    assert scene.writes == 0
    scene.provider(faults={})
    scene.one_takeover_by("lb2")


def test_the_answer_of_the_provider_is_cut_off(scene: Scene) -> None:
    """It is done, and we do not hear so: the owner is read again, and nothing is done twice."""
    scene.provider(faults={"answer": "cut", "hits": "writes", "times": 1})
    scene.rig.fault("hang", "lb1")
    scene.one_takeover_by("lb2")


def test_a_person_moves_it_meanwhile(scene: Scene) -> None:
    """The compare at the provider fails, nothing is done, and the person's choice stands."""
    scene.provider(faults={"answer_delay_s": 0.8})
    scene.rig.fault("hang", "lb1")
    scene.until(lambda: scene.state("lb2") in ("taking", "suspecting"), "the suspicion of lb2")
    scene.provider(person={"ip": IP, "to": "lb3"})
    scene.until(lambda: scene.view("lb2").get("owner") == "lb3", "lb2 hearing of it")
    scene.provider(faults={})
    scene.until(lambda: scene.state("lb3") == "active", "lb3 active")
    time.sleep(QUIET_S)
    assert scene.owner == "lb3", scene.told()
    assert scene.writes == 0


# --- the one that takes over dies -------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["before", "during", "after"])
def test_the_agent_is_killed_in_the_middle_of_a_takeover(scene: Scene, moment: str) -> None:
    """Before the provider's call, while it is under way, and just after it; started again, it finishes what was begun
    once. (lb3 is frozen, so that it is lb2 who has to.)"""
    scene.freeze("lb3", 3_600)
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
    os.kill(scene.pid("lb2"), signal.SIGKILL)
    if moment == "before":
        assert scene.writes == 0
        scene.provider(faults={})
    scene.restart_agent("lb2")
    scene.held_by("lb2")
    scene.until(lambda: scene.state("lb2") == "holding", "lb2 holding")
    # lb3 may have said meanwhile that it is frozen and does nothing.
    scene.until(lambda: scene.took_pages() == ["lb2"], "the page, once")
    time.sleep(1.0)
    assert scene.took_pages() == ["lb2"]
    assert scene.writes == 1, scene.told()


def test_the_standby_has_a_full_disk_and_takes_over_all_the_same(scene: Scene) -> None:
    state = scene.rig.folder.hosts / "lb2" / "state"
    with full_disk(scene.pid("lb2")):
        scene.rig.fault("hang", "lb1")
        scene.held_by("lb2")
        scene.until(lambda: len(scene.pages()) == 1, "the page")
        assert scene.writes == 1
        assert not scene.view("lb2")["on_disk"]
    scene.until(lambda: scene.view("lb2")["on_disk"], "what was held in memory, on disk")
    assert json.loads((state / "failover" / f"{IP}.json").read_text())["took"]


# --- what a person does -----------------------------------------------------------------------------------------------


def test_a_planned_move_quarantines_nobody_and_pages_nobody(scene: Scene) -> None:
    scene.move("lb3")
    assert (scene.owner, scene.writes) == ("lb3", 1)
    for lb, state in (("lb1", "watching"), ("lb2", "watching"), ("lb3", "active")):
        scene.until(lambda lb=lb, state=state: scene.state(lb) == state, f"{lb} {state}")
    assert "ip.handed_over" in scene.journal("lb1")
    assert not scene.pages()


def test_a_planned_move_under_load_loses_nothing(scene: Scene) -> None:
    """Kept and new connections, POSTs that nobody repeats; there, on, and back within seconds."""
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
    scene.one_takeover_by("lb2")
    scene.rig.heal("lb1")
    scene.until(lambda: scene.state("lb1") == "quarantined", "the quarantine of lb1")
    scene.provider(person={"ip": IP, "to": "lb3"})
    scene.until(lambda: scene.state("lb2") == "quarantined", "the quarantine of lb2", 45.0)
    scene.until(lambda: scene.state("lb3") == "active", "lb3 active", 45.0)
    scene.rig.fault("hang", "lb3")
    time.sleep(QUIET_S)
    assert scene.owner == "lb3"
    assert scene.writes == 1


# --- means ------------------------------------------------------------------------------------------------------------


def on_host(scene: Scene, host: str, *argv: str) -> None:
    run(call(scene.rig.folder, "run", host=host, role="means", argv=list(argv)))


@contextmanager
def full_disk(pid: int) -> Iterator[None]:
    """No file of this process grows any more: every write fails, as on a disk that is full (setrlimit(2))."""
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
