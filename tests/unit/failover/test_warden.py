"""One candidate, one address: what the shell does with decisions, on a provider and a prober of our own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from backstay.change import ClockReading
from backstay.failover.keep import Keep
from backstay.failover.known import Declared, Hands
from backstay.failover.model import Reason, State, Stay
from backstay.failover.ports import Assigned, Owner, OwnerChanged, ProviderUnreachable, SeenThrough, Standing
from backstay.failover.shell import MoveRefused, Warden
from backstay.failover.watch import Watcher
from backstay.look.model import Observation, Outcome, ProbeKind, Target
from backstay.notify.model import Page

ADDRESS = "203.0.113.10"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
KINDS = (ProbeKind.ICMP, ProbeKind.HTTP, ProbeKind.HTTPS)


@dataclass
class Provider:
    owner_now: str | None = "lb1"
    down: bool = False
    cut: bool = False  # the next assign is done, and not answered
    assigns: list[str] = field(default_factory=list)

    async def owner(self, address: str, *, timeout_s: float) -> Owner:
        if self.down:
            raise ProviderUnreachable("no answer")
        return Owner(holder=self.owner_now, moving=False)

    async def assign(self, address: str, target: str, *, expect: str | None, timeout_s: float) -> Assigned:
        if self.down:
            raise ProviderUnreachable("no answer")
        if self.owner_now not in (expect, target):
            raise OwnerChanged("somebody else moved it")
        self.owner_now = target
        self.assigns.append(target)
        if self.cut:
            self.cut = False
            raise ProviderUnreachable("cut off")
        return Assigned(holder=target, calls=3, took_s=0.1, already=False)

    async def close(self) -> None: ...


class Peers:
    def __init__(self) -> None:
        self.took: set[str] = set()
        self.gone: set[str] = set()  # no agent runs there

    async def standings(self, ip: str, lbs: Sequence[str]) -> Mapping[str, Standing | None]:
        told = {lb: Standing(quarantined=False, took=True) for lb in self.took}
        return told | dict.fromkeys(self.gone & set(lbs))

    async def see(self, ip: str, lbs: Sequence[str]) -> Mapping[str, SeenThrough]:
        return {lb: SeenThrough(lb="lb2", detail="status 421") for lb in lbs}


class Killed(BaseException):
    """What a kill -9 is to the code that runs: nothing after it does."""


class Pen:
    fault = ""

    def __init__(self) -> None:
        self.kinds: list[str] = []
        self.data: dict[str, Mapping[str, Any]] = {}  # of the last event of each kind
        self.killed_at: str | None = None

    def __call__(self, kind: str, subject: str, reason: str, *, data: Mapping[str, Any] | None = None, **_: Any) -> str:
        if kind == self.killed_at:
            raise Killed
        self.kinds.append(kind)
        self.data[kind] = data or {}
        return f"event-{len(self.kinds)}"


class Idle:
    async def probe(self, target: Target, *, timeout_s: float) -> Observation:
        raise AssertionError("the tests say themselves what is seen")

    async def close(self) -> None: ...


class Scene:
    """lb2's view: time and probes are moved by hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now_s = 1_000.0
        self.wall = NOON
        self.provider = Provider()
        self.peers = Peers()
        self.pen = Pen()
        self.pages: list[Page] = []
        self.dead: set[str] = set()
        self.refused: set[str] = set()  # no engine runs there
        self.cut_off = False
        self.expired: set[str] = set()  # whose certificate is refused
        self.unasked: set[str] = set()  # whose probes have not come to their turn
        self.start()

    def start(self) -> None:
        """Also what a restart of the agent is."""
        self.watcher = Watcher(Idle(), "lb2", lambda: self.now_s, lambda: None)
        nodes = ("lb1", "lb2", "lb3")
        self.watcher.follow({n: {k: Target(kind=k, address="192.0.2.1", port=1) for k in KINDS} for n in nodes}, None)
        hands = Hands(
            provider=self.provider,
            watcher=self.watcher,
            peers=self.peers,
            pen=self.pen,
            page=self.pages.append,
            keep=Keep(self.folder / "www.json"),
            see=self._see,
            clock=lambda: ClockReading(wall=self.wall, boot_id="a", boottime_s=self.now_s),
        )
        declared = Declared(
            name="www", address=ADDRESS, candidates=nodes, witnesses=("lb4",), false_takeovers_per_year=0.1
        )
        self.warden = Warden("lb2", declared, hands)

    async def _see(self) -> SeenThrough:
        return SeenThrough(lb="lb2", detail="")

    async def run(self, seconds: float, step_s: float = 0.1) -> None:
        for _ in range(round(seconds / step_s)):
            self.now_s += step_s
            self.wall += timedelta(seconds=step_s)
            self.probe()
            self.warden.turn()
            await settle()
            owner = self.warden.known.owner
            self.watcher.attend({owner.holder} if owner and owner.holder else set())

    def probe(self) -> None:
        for node, kind in list(self.watcher.asked):
            if node in self.unasked:
                continue
            silent = node in self.dead or (self.cut_off and node != "lb2")
            outcome = Outcome.TIMED_OUT if silent else Outcome.ANSWERED
            if node in self.refused and kind is not ProbeKind.ICMP:
                outcome = Outcome.REFUSED
            if node in self.expired and kind is ProbeKind.HTTPS:
                outcome = Outcome.BAD_CERTIFICATE
            target = self.watcher.asked[node, kind].target
            self.watcher._seen((node, kind), Observation(target=target, time=self.wall, outcome=outcome, rtt_s=0.0))

    @property
    def reason(self) -> Reason:
        assert isinstance(self.warden.known.decision, Stay)
        return self.warden.known.decision.reason


async def settle() -> None:
    """Let the tasks that a turn began come to rest."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
async def scene(tmp_path: Path) -> Scene:
    made = Scene(tmp_path)
    await made.run(40.0)
    return made


async def test_a_dead_holder_is_replaced_once_verified_and_paged(scene: Scene) -> None:
    scene.dead = {"lb1"}
    await scene.run(5.0)
    assert scene.provider.assigns == ["lb2"]
    assert [page.key for page in scene.pages] == [f"event-{scene.pen.kinds.index('ip.takeover_started') + 1}"]
    assert scene.warden.known.verified == "seen by lb4"
    assert scene.warden.memory.took
    kinds = scene.pen.kinds
    assert kinds.index("ip.suspected") < kinds.index("ip.takeover_started") < kinds.index("ip.taken")


async def test_an_engine_whose_agent_is_gone_too_is_not_waited_for(scene: Scene) -> None:
    scene.refused = {"lb1"}
    await scene.run(1.2)
    assert scene.provider.assigns == []  # its agent may be starting it again
    scene.peers.gone = {"lb1"}
    await scene.run(0.5)
    assert scene.provider.assigns == ["lb2"]


async def test_an_agent_that_is_gone_while_its_engine_serves_moves_nothing(scene: Scene) -> None:
    scene.peers.gone = {"lb1"}
    await scene.run(30.0)
    assert scene.reason is Reason.HOLDER_ANSWERS


async def test_while_the_holder_answers_nothing_is_called_and_nothing_told(scene: Scene) -> None:
    await scene.run(120.0)
    assert scene.provider.assigns == []
    assert not scene.pages
    assert scene.pen.kinds == []


@pytest.mark.parametrize("step", [timedelta(hours=1), timedelta(hours=-1)])
async def test_a_step_of_the_clock_changes_nothing(scene: Scene, step: timedelta) -> None:
    scene.wall += step
    await scene.run(10.0)
    assert scene.reason is Reason.HOLDER_ANSWERS
    scene.dead = {"lb1"}
    await scene.run(0.2)
    scene.wall -= step
    await scene.run(5.0)
    assert scene.provider.assigns == ["lb2"]
    assert len(scene.pages) == 1


async def test_our_own_pause_is_not_the_death_of_others(scene: Scene) -> None:
    scene.dead = {"lb1", "lb3"}
    await scene.run(0.2)
    scene.dead = set()
    scene.now_s += 5.0
    scene.watcher.stood_still(scene.now_s)
    await scene.run(5.0)
    assert scene.provider.assigns == []


async def test_the_one_that_is_cut_off_does_nothing(scene: Scene) -> None:
    scene.cut_off, scene.provider.down = True, True
    await scene.run(60.0)
    assert scene.provider.assigns == []
    assert scene.reason is Reason.ISOLATED
    assert [page.summary for page in scene.pages] == ["www: lb1 is dead, and lb2 does not take over (isolated)"]


async def test_a_provider_that_is_down_is_asked_until_it_is_back(scene: Scene) -> None:
    scene.provider.down, scene.dead = True, {"lb1"}
    await scene.run(30.0)
    assert "ip.takeover_failed" in scene.pen.kinds
    assert [page.summary.partition(",")[0] for page in scene.pages] == ["www: lb1 is dead"]
    scene.provider.down = False
    await scene.run(10.0)
    assert scene.provider.assigns == ["lb2"]


async def test_an_assign_whose_answer_was_lost_is_not_done_twice(scene: Scene) -> None:
    scene.provider.cut, scene.dead = True, {"lb1"}
    await scene.run(15.0)
    assert scene.provider.assigns == ["lb2"]
    assert scene.warden.memory.took
    assert len(scene.pages) == 1


async def test_killed_after_the_call_it_finishes_what_it_began(scene: Scene) -> None:
    scene.provider.cut, scene.dead = True, {"lb1"}
    while not scene.provider.assigns:
        await scene.run(0.1)
    assert scene.warden.memory.taking is not None or scene.warden.memory.took
    scene.start()
    await scene.run(5.0)
    assert scene.provider.assigns == ["lb2"]
    assert scene.warden.memory.took
    assert len({page.key for page in scene.pages}) == 1


@pytest.mark.parametrize("line", ["ip.taken", "page"])
async def test_killed_after_the_provider_did_it_it_still_tells_after_the_restart(scene: Scene, line: str) -> None:
    """Found in the lab: told apart from the disk, a kill in between would have left a takeover that nobody heard of."""

    def killed(_: Page) -> None:
        raise Killed

    scene.dead = {"lb1"}
    if line == "page":
        scene.warden.hands = replace(scene.warden.hands, page=killed)
    else:
        scene.pen.killed_at = line
    while not scene.provider.assigns:
        await scene.run(0.1)
    assert not scene.pages
    scene.pen.killed_at = None
    scene.start()
    await scene.run(5.0)
    assert scene.provider.assigns == ["lb2"]
    assert scene.warden.memory.took
    assert len(scene.pages) == 1
    assert scene.warden.known.verified == "seen by lb4"


async def test_killed_before_it_was_verified_it_verifies_after_the_restart(scene: Scene) -> None:
    """Found in the lab: killed a moment after ip.taken, nobody ever asked the address."""
    scene.dead, scene.pen.killed_at = {"lb1"}, "ip.verified"
    while "ip.taken" not in scene.pen.kinds:
        await scene.run(0.1)
    assert "ip.verified" not in scene.pen.kinds
    scene.pen.killed_at = None
    scene.start()
    await scene.run(40.0)
    assert scene.provider.assigns == ["lb2"]
    assert scene.pen.kinds.count("ip.verified") == 1
    assert scene.warden.known.verified == "seen by lb4"
    assert len(scene.pages) == 1
    scene.start()
    await scene.run(40.0)
    assert scene.pen.kinds.count("ip.verified") == 1


async def test_the_owner_that_a_person_chose_stays(scene: Scene) -> None:
    scene.provider.owner_now, scene.dead = "lb3", {"lb1"}
    await scene.run(10.0)
    assert scene.provider.owner_now == "lb3"
    assert scene.provider.assigns == []


async def test_whoever_has_just_taken_it_is_not_taken_for_one_that_had_its_turn(scene: Scene) -> None:
    """Found in the lab: lb1's word that it took it came before the provider's, and lb2 began what was refused."""
    scene.provider.owner_now = "lb3"
    await scene.run(40.0)
    scene.dead = {"lb3"}
    await scene.run(0.4)
    scene.provider.owner_now, scene.peers.took = "lb1", {"lb1"}
    await scene.run(5.0)
    assert "ip.takeover_started" not in scene.pen.kinds
    assert scene.warden.holder == "lb1"


async def test_my_own_certificate_counts_when_it_was_asked_for_since_the_holders_was_refused(scene: Scene) -> None:
    """Found in the lab: all certificates end at one moment, and one's own was last looked at before it."""
    scene.expired, scene.unasked = {"lb1"}, {"lb2"}
    await scene.run(9.0)
    assert scene.reason is Reason.SELF_UNHEALTHY
    scene.unasked = set()
    await scene.run(2.0)
    assert scene.provider.assigns == ["lb2"]


async def test_people_are_told_that_nobody_acts_also_by_one_that_keeps_standing_still(scene: Scene) -> None:
    """Found in the lab, on a loaded machine: each pause of its own dropped the suspicion, and began the 15 s anew."""
    scene.expired = {"lb1", "lb2", "lb3"}
    for _ in range(3):
        await scene.run(9.0)
        scene.watcher.stood_still(scene.now_s)
    await scene.run(9.0)
    assert [page.summary for page in scene.pages] == ["www: lb1 is dead, and lb2 does not take over (self_unhealthy)"]
    scene.expired = set()
    await scene.run(5.0)
    assert scene.warden.known.stuck_since_s is None


async def test_losing_it_quarantines_and_an_announced_move_does_not(scene: Scene) -> None:
    scene.provider.owner_now = "lb2"
    await scene.run(60.0)
    assert scene.warden.known.decision == Stay(Reason.I_HOLD, State.ACTIVE)
    await scene.warden.people.expect("lb1", "alice", "maintenance")
    scene.provider.owner_now = "lb1"
    await scene.run(60.0)
    assert scene.warden.memory.quarantined is None
    scene.provider.owner_now = "lb2"
    await scene.run(60.0)
    scene.provider.owner_now = "lb1"
    await scene.run(60.0)
    assert scene.reason == Reason.QUARANTINED
    assert "ip.quarantined" in scene.pen.kinds
    scene.warden.people.rearm("alice", "looked")
    await scene.run(1.0)
    assert scene.warden.known.decision == Stay(Reason.HOLDER_ANSWERS, State.WATCHING)


async def test_a_takeover_that_a_person_finds_false_teaches_patience_once_and_is_journaled(scene: Scene) -> None:
    scene.dead = {"lb1"}
    await scene.run(15.0)  # an outage: by itself it would teach nothing
    assert scene.provider.assigns == ["lb2"]
    scene.dead = set()
    await scene.run(5.0)
    takeover = scene.warden.memory.takeover
    assert takeover is not None
    assert takeover.death is not None
    patience = partial(scene.watcher.patience_s, "lb1", takeover.death, 0.1)
    before_s = patience()
    scene.warden.people.rearm("alice", "the switch was replaced", false_alarm=True)
    assert patience() > before_s
    assert not scene.warden.memory.took
    assert scene.pen.kinds[-2:] == ["ip.false_alarm", "ip.rearmed"]
    assert scene.pen.data["ip.false_alarm"]["evidence"] == takeover.why
    assert scene.pen.data["ip.false_alarm"]["patience_s"] > scene.pen.data["ip.false_alarm"]["patience_before_s"]
    with pytest.raises(MoveRefused, match="no false alarm of its own"):
        scene.warden.people.rearm("alice", "again", false_alarm=True)
    learnt_s = patience()
    scene.start()  # it outlives a restart
    assert scene.watcher.patience_s("lb1", takeover.death, 0.1) == pytest.approx(learnt_s, abs=0.01)


async def test_one_that_was_never_seen_alive_is_given_the_time_of_a_start(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.dead = {"lb1"}
    await scene.run(25.0)
    assert scene.provider.assigns == []
    await scene.run(10.0)
    assert scene.provider.assigns == ["lb2"]


async def test_a_planned_move_checks_its_target_first(scene: Scene) -> None:
    scene.dead = {"lb2"}
    await scene.run(2.0)
    with pytest.raises(MoveRefused, match="engine on lb2 does not answer"):
        await scene.warden.people.move_here("alice", "maintenance")
    scene.dead = set()
    await scene.run(2.0)
    await scene.warden.people.move_here("alice", "maintenance")
    assert scene.provider.assigns == ["lb2"]
    assert not scene.warden.memory.took
    assert not scene.pages
