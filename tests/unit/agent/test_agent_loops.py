"""The agent's loops over a fake engine: what is journaled when, what goes on after a failure."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from agent_fakes import ESTATE, fake, kinds, make_world, sample

from backstay.agent.host.parse import EstateRefused
from backstay.agent.loops import supervise
from backstay.agent.loops.changing import Changes
from backstay.agent.loops.draining import Draining
from backstay.agent.loops.engine import Applier, Watchdog
from backstay.agent.loops.estates import ApplyFailed, Estates, PlanStale, expected_resets, unified_diff
from backstay.agent.loops.probing import Asked, Probing
from backstay.agent.loops.reconcile import Reconcile
from backstay.agent.loops.rescaling import Rescaling
from backstay.agent.loops.supervise import Loop
from backstay.agent.loops.traffic import Traffic
from backstay.agent.world import World
from backstay.balance.health import Port
from backstay.balance.model import BackendState, HealthState, Share
from backstay.balance.ports import ConfigRefused, EngineFailed
from backstay.change import BookNotSaved, Change, ChangeBook, ChangeKind, Refused, deadline_at, read_clock
from backstay.estate.model import EngineKind
from backstay.journal import new_id
from backstay.look.model import Observation, Outcome, ProbeKind, Target


def nothing() -> None:
    """Nobody is to be woken."""


async def nobody() -> None:
    """Nobody hears of an apply."""


def reconcile_of(world: World, draining: Draining | None = None) -> Reconcile:
    applied = draining.begin if draining else nobody
    return Reconcile(world, Applier(world), lambda: True, applied=applied)


def drain_of(node: str, **more: object) -> Change:
    now = read_clock()
    plain = {"id": new_id(), "kind": ChangeKind.DRAIN, "node": node, "actor": "alice", "reason": "kernel"}
    return Change(**(plain | {"created_at": now.wall} | more))  # type: ignore[arg-type]


def seen(ok: bool, body: bytes = b"ok") -> Observation:
    return Observation(
        target=Target(kind=ProbeKind.HTTP, address="127.0.0.11", port=8001),
        time=read_clock().wall,
        outcome=Outcome.ANSWERED if ok else Outcome.BAD_STATUS,
        rtt_s=0.01,
        status=200 if ok else 503,
        body=body,
    )


class SilentProber:
    """Never answers; the tests hand observations over themselves."""

    async def probe(self, target: Target, *, timeout_s: float) -> Observation:
        await asyncio.Event().wait()
        raise AssertionError

    async def close(self) -> None: ...


# --- reconcile and the engine ----------------------------------------------------------------------------------------


async def test_an_apply_is_journaled_before_and_after_and_remembered(world: World) -> None:
    reconcile = reconcile_of(world)
    await reconcile.turn()
    assert kinds(world) == ["engine.applying", "engine.applied"]
    assert reconcile.in_sync()
    again = reconcile_of(world)
    world.running.desired = None
    again.recall()
    assert world.running.desired == fake(world).applied[-1]


async def test_what_an_engine_refuses_leaves_what_runs_and_is_tried_again_later(world: World) -> None:
    reconcile = reconcile_of(world)
    await reconcile.turn()
    good = world.running.desired
    fake(world).refuses = ConfigRefused("line 3: nonsense")
    world.book = ChangeBook(changes=(drain_of("web2"),))
    await reconcile.turn()
    await reconcile.turn()  # not at once
    assert kinds(world)[2:] == ["engine.applying", "engine.refused"]
    assert world.running.desired == good
    assert "nonsense" in world.running.error


async def test_a_full_disk_in_an_apply_is_a_failed_apply(world: World) -> None:
    fake(world).fails = OSError(28, "No space left on device")
    await reconcile_of(world).turn()
    assert kinds(world) == ["engine.applying", "engine.failed"]


async def test_small_moves_of_shares_wait_for_the_pace_unless_somebody_asked(world: World) -> None:
    reconcile = reconcile_of(world)
    await reconcile.turn()
    world.shares["web", "web1"] = Share(share=0.95)
    await reconcile.turn()
    assert len(fake(world).applied) == 1
    reconcile.ask()
    await reconcile.turn()
    assert len(fake(world).applied) == 2
    # A creeping share is not journaled until it has moved by 10%.
    assert kinds(world).count("engine.applied") == 1


async def test_a_dead_engine_is_restarted_at_once_and_then_ever_later(world: World) -> None:
    applier = Applier(world)
    watchdog = Watchdog(world, applier)
    await watchdog.turn()
    assert fake(world).applied == []  # the first start is reconcile's
    await reconcile_of(world).turn()
    fake(world).up = False
    await watchdog.turn()
    assert fake(world).up
    assert world.running.restarts == 1
    assert kinds(world)[2:] == ["engine.died", "engine.restarting", "engine.applied"]
    fake(world).up = False
    await watchdog.turn()
    assert not fake(world).up  # it waits a second now


# --- changes ---------------------------------------------------------------------------------------------------------


def changes_of(world: World) -> Changes:
    return Changes(world, dict, nothing)


def test_a_change_is_journaled_kept_and_then_in_force(world: World) -> None:
    changes = changes_of(world)
    drain = drain_of("web2")
    changes.put(drain)
    changes.put(drain)
    assert world.changes.load().book.changes == (drain,)
    assert kinds(world) == ["drain.started"]
    changes.undo(drain.id, actor="bob", reason="done")
    changes.undo(drain.id, actor="bob", reason="done")
    assert kinds(world) == ["drain.started", "drain.ended"]
    assert world.record.spool.read()[-1].actor == "bob"


def test_a_refused_change_is_journaled_with_its_figures(world: World) -> None:
    changes = changes_of(world)
    changes.put(drain_of("web1"))
    assert isinstance(changes.put(drain_of("web2")), Refused)
    event = world.record.spool.read()[-1]
    assert event.kind == "change.refused"
    assert event.data["figures"]["needed"] == 2


def test_a_change_that_cannot_be_kept_is_not_in_force(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(book: ChangeBook) -> None:
        raise BookNotSaved("no room")

    monkeypatch.setattr(world.changes, "save", full)
    with pytest.raises(BookNotSaved):
        changes_of(world).put(drain_of("web2"))
    assert world.in_force() == ()
    assert kinds(world) == ["drain.started", "drain.failed"]


async def test_what_became_due_while_nobody_ran_is_carried_out(world: World) -> None:
    reading = read_clock()
    long_ago = deadline_at(reading, 1.0)
    over = drain_of(
        "web2", deadline=type(long_ago)(wall=reading.wall, boot_id=reading.boot_id, boottime_s=reading.boottime_s - 9)
    )
    world.book = ChangeBook(changes=(over,))
    changes = changes_of(world)
    assert world.in_force() == ()
    await changes.turn()
    await changes.turn()
    assert kinds(world) == ["drain.ended"]
    assert world.book.changes == ()


# --- health ----------------------------------------------------------------------------------------------------------


async def test_an_agent_that_checks_takes_a_failing_backend_out(world: World) -> None:
    probing = Probing(world, SilentProber(), nothing)
    await probing.turn()
    assert not probing.first_round_done()
    for name in ("web1", "web2", "web3"):
        probing._seen(Asked("web", name, Port.HEALTH), seen(ok=True))
    assert probing.first_round_done()
    for _ in range(2):
        probing._seen(Asked("web", "web2", Port.HEALTH), seen(ok=False))
    (pool,) = world.desired().pools
    assert [backend.state for backend in pool.backends] == [BackendState.ACTIVE, BackendState.DOWN, BackendState.ACTIVE]
    assert kinds(world).count("backend.down") == 1
    await probing.close()


async def test_of_a_backend_that_the_engine_checks_only_the_words_are_heard(tmp_path: Path) -> None:
    world = make_world(tmp_path, kind=EngineKind.HAPROXY)
    probing = Probing(world, SilentProber(), nothing)
    await probing.turn()
    for _ in range(9):
        probing._seen(Asked("web", "web1", Port.HEALTH), seen(ok=False))
    probing._seen(Asked("web", "web2", Port.HEALTH), seen(ok=True, body=b"drain"))
    probing._seen(Asked("web", "web3", Port.HEALTH), seen(ok=True, body=b"50%"))
    (pool,) = world.desired().pools
    assert [(b.state, b.share) for b in pool.backends] == [
        (BackendState.ACTIVE, 1.0),
        (BackendState.DRAINING, 1.0),
        (BackendState.ACTIVE, 0.5),
    ]
    await probing.close()


async def test_a_lying_check_is_ejected_by_the_live_traffic(world: World) -> None:
    probing = Probing(world, SilentProber(), nothing)
    await probing.turn()
    for name in ("web1", "web2", "web3"):
        probing._seen(Asked("web", name, Port.HEALTH), seen(ok=True))
    await reconcile_of(world).turn()
    draining = Draining(world)
    traffic = Traffic(world, draining, Rescaling(world, world.files.root, nothing), nothing)
    fake(world).ended = [sample("web3", status=500) for _ in range(12)] + [sample("web1") for _ in range(12)]
    await traffic.turn()
    assert "backend.ejected" in kinds(world)
    assert world.health_view()["web", "web3"].state is HealthState.EJECTED
    assert traffic.requests["web", "web3", True] == 12
    await probing.close()


# --- drains ----------------------------------------------------------------------------------------------------------


async def test_a_drain_is_proven_from_what_the_engine_shows(world: World) -> None:
    draining = Draining(world)
    reconcile = reconcile_of(world, draining)
    await reconcile.turn()
    drain = drain_of("web2")
    world.book = ChangeBook(changes=(drain,))
    fake(world).in_flight = 1
    await reconcile.turn()
    assert draining.pending
    assert draining.proofs[drain.id].in_flight_at_start == 1
    fake(world).in_flight = 0
    traffic = Traffic(world, draining, Rescaling(world, world.files.root, nothing), nothing)
    fake(world).ended = [sample("web2", total_time_s=5.0)]
    await traffic.turn()
    await traffic.turn()
    proof = draining.proofs[drain.id]
    assert (proof.done, proof.finished, proof.lost) == (True, 1, 0)
    assert kinds(world)[-2:] == ["drain.taken", "drain.done"]
    after = Draining(world)
    after.recall([*draining.to_json(), {"damaged": True}])
    assert after.proofs == draining.proofs


# --- estates ---------------------------------------------------------------------------------------------------------

TWO_WEBS = ESTATE.replace('members: "web*"', "members: [web1, web2]")


async def test_an_estate_that_the_engine_does_not_take_is_rolled_back(world: World) -> None:
    reconcile = reconcile_of(world)
    await reconcile.turn()
    estates = Estates(world, reconcile, nothing)
    estates.keep_good()
    plan = await estates.plan(TWO_WEBS)
    assert plan["words"] == ["pool web: web3 leaves"]
    fake(world).fails = EngineFailed("the port is taken.")
    with pytest.raises(ApplyFailed, match="the port is taken"):
        await estates.apply(TWO_WEBS, plan=plan["digest"], actor="alice", reason="")
    assert world.adopted.text == ESTATE
    assert world.files.estate.read_text() == ESTATE
    assert kinds(world)[-1] == "estate.rolled_back"
    fake(world).fails = None
    done = await estates.apply(TWO_WEBS, plan=plan["digest"], actor="alice", reason="")
    assert done.revision == world.desired().revision
    with pytest.raises(PlanStale):
        await estates.apply(ESTATE, plan=plan["digest"], actor="alice", reason="")


async def test_another_engine_is_a_new_start(world: World) -> None:
    estates = Estates(world, reconcile_of(world), nothing)
    with pytest.raises(EstateRefused, match="stop the agent"):
        await estates.plan(ESTATE.replace("engine: nginx", "engine: haproxy"))


def test_a_reload_is_priced_by_what_the_engine_can_do(world: World) -> None:
    from dataclasses import replace

    assert expected_resets(world.capabilities, 1_000) == 0
    assert expected_resets(replace(world.capabilities, keepalive_min_timeout=False), 1_000) == 78


def test_a_diff_has_every_file_that_differs_in_order() -> None:
    diff = unified_diff({"a": "1\n", "b": "same\n"}, {"b": "same\n", "a": "2\n", "c": "new\n"})
    assert diff == "--- a/a\n+++ b/a\n@@ -1 +1 @@\n-1\n+2\n--- a/c\n+++ b/c\n@@ -0,0 +1 @@\n+new\n"


# --- supervision -----------------------------------------------------------------------------------------------------


async def test_a_loop_goes_on_after_a_turn_that_raises_or_hangs() -> None:
    calls: list[str] = []
    told: list[str] = []

    async def turn() -> None:
        calls.append("turn")
        if len(calls) == 1:
            raise RuntimeError("broken")
        if len(calls) == 2:
            await asyncio.Event().wait()

    loop = Loop("test", turn, every_s=0.01, limit_s=0.05)
    task = asyncio.create_task(supervise.run(loop, lambda loop, error: told.append(error)))
    async with asyncio.timeout(20):
        while loop.turns < 4:
            await asyncio.sleep(0.01)
    task.cancel()
    assert told == ["RuntimeError: broken"]  # once a streak
    assert (loop.failed, loop.failures, loop.error) == (2, 0, "")


async def test_a_loop_that_is_woken_takes_its_turn_at_once() -> None:
    taken = asyncio.Event()

    async def turn() -> None:
        taken.set()

    loop = Loop("test", turn, every_s=3_600, limit_s=1)
    task = asyncio.create_task(supervise.run(loop, lambda *_: None))
    async with asyncio.timeout(20):
        await taken.wait()
        taken.clear()
        await asyncio.sleep(0)
        loop.wake.set()
        await taken.wait()
    task.cancel()
    assert not loop.late(now_s=(loop.ended_at_s or 0) + 3_600, started_at_s=0)
    assert loop.late(now_s=(loop.ended_at_s or 0) + 3_700, started_at_s=0)
