"""What every provider must keep, over the vendor's own wire protocol, by the vendor's own client."""

from __future__ import annotations

import asyncio

import pytest
from provider_world import ADDRESS, FOREIGN, NODES, Rig

from backstay.failover.ports import (
    Owner,
    OwnerChanged,
    ProviderDenied,
    ProviderError,
    ProviderUnreachable,
)
from backstay.lab.provider import Answer, Hits

LONG_S = 30.0  # for what should succeed, on a busy machine
SHORT_S = 1.5  # for what never answers


# --- in health ------------------------------------------------------------------------------------------------------


async def test_the_owner_is_a_node_by_its_name(rig: Rig) -> None:
    assert await rig.provider().owner(ADDRESS, timeout_s=LONG_S) == Owner(holder="lb1", moving=False)


async def test_the_owner_may_be_nobody(rig: Rig) -> None:
    rig.world.owners[ADDRESS] = None
    assert await rig.provider().owner(ADDRESS, timeout_s=LONG_S) == Owner(holder=None, moving=False)


async def test_a_machine_that_is_no_node_has_the_vendors_own_name(rig: Rig) -> None:
    rig.world.owners[ADDRESS] = FOREIGN
    assert (await rig.provider().owner(ADDRESS, timeout_s=LONG_S)).holder == rig.foreign


async def test_assign_routes_the_address_and_the_same_again_calls_nothing_that_alters(rig: Rig) -> None:
    provider = rig.provider()

    first = await provider.assign(ADDRESS, "lb2", expect="lb1", timeout_s=LONG_S)

    assert rig.world.owner(ADDRESS) == NODES["lb2"]
    assert (first.holder, first.already, rig.api.writes()) == ("lb2", False, 1)
    assert first.calls >= 3  # read, route, read
    again = await provider.assign(ADDRESS, "lb2", expect="lb1", timeout_s=LONG_S)
    assert (again.holder, again.already, rig.api.writes()) == ("lb2", True, 1)
    assert again.calls < first.calls


async def test_an_address_that_nobody_has_is_given(rig: Rig) -> None:
    rig.world.owners[ADDRESS] = None
    done = await rig.provider().assign(ADDRESS, "lb2", expect=None, timeout_s=LONG_S)
    assert not done.already
    assert rig.world.owner(ADDRESS) == NODES["lb2"]


async def test_an_owner_that_was_not_expected_stays_the_owner(rig: Rig) -> None:
    rig.world.owners[ADDRESS] = NODES["lb3"]
    with pytest.raises(OwnerChanged, match="with lb3, not with lb1"):
        await rig.provider().assign(ADDRESS, "lb2", expect="lb1", timeout_s=LONG_S)
    assert rig.api.writes() == 0


async def test_a_target_that_is_no_node_is_refused_unasked(rig: Rig) -> None:
    with pytest.raises(ProviderError, match="no node"):
        await rig.provider().assign(ADDRESS, "lb9", expect="lb1", timeout_s=LONG_S)
    assert rig.api.writes() == 0


# --- asynchronous actions -------------------------------------------------------------------------------------------


async def test_a_slow_action_is_waited_for(rig: Rig) -> None:
    rig.faults.action_s = 0.5
    provider = rig.provider()

    assigning = asyncio.create_task(provider.assign(ADDRESS, "lb2", expect="lb1", timeout_s=LONG_S))
    await rig.until(lambda: rig.api.writes() == 1)
    if rig.shows_moving:
        assert (await provider.owner(ADDRESS, timeout_s=LONG_S)).moving or rig.world.routed == 1

    assert (await assigning).holder == "lb2"
    assert rig.world.owner(ADDRESS) == NODES["lb2"]
    assert rig.api.writes() == 1


@pytest.mark.not_for("aws", "moves at once: no route is ever under way")
async def test_a_route_that_is_under_way_is_waited_for_and_not_doubled(rig: Rig) -> None:
    """An agent was killed in the middle of a takeover, and asks again after its restart."""
    rig.faults.action_s = 0.5
    before = asyncio.create_task(rig.provider().assign(ADDRESS, "lb2", expect="lb1", timeout_s=LONG_S))
    await rig.until(lambda: rig.api.writes() == 1)

    after = await rig.provider().assign(ADDRESS, "lb2", expect="lb1", timeout_s=LONG_S)

    assert after.already
    assert rig.api.writes() == 1
    await before


async def test_an_action_that_fails_is_an_error_and_the_owner_stays(rig: Rig) -> None:
    rig.faults.action_fails = True
    rig.faults.action_s = 0.4
    with pytest.raises(ProviderError, match=r"the router said no|as before|HTTP 409"):
        await rig.provider().assign(ADDRESS, "lb2", expect="lb1", timeout_s=LONG_S)
    assert rig.world.owner(ADDRESS) == NODES["lb1"]
    assert rig.api.writes() == 1


async def test_an_action_that_takes_too_long_is_of_unknown_outcome(rig: Rig) -> None:
    rig.faults.action_s = 60.0
    with pytest.raises(ProviderUnreachable, match="read the owner again"):
        await rig.provider().assign(ADDRESS, "lb2", expect="lb1", timeout_s=SHORT_S)
    assert rig.api.writes() == 1


@pytest.mark.parametrize("answer", [Answer.DOWN, Answer.CUT, Answer.NONSENSE, Answer.RATE_LIMITED])
async def test_once_it_was_accepted_a_reading_that_fails_changes_nothing(rig: Rig, answer: Answer) -> None:
    rig.faults.retry_after_s = 0.1
    rig.world.on_route = lambda: rig.faults.set(answer, Hits.READS, times=1)

    done = await rig.provider().assign(ADDRESS, "lb2", expect="lb1", timeout_s=LONG_S)

    assert (done.already, rig.api.writes()) == (False, 1)


async def test_an_address_that_somebody_else_moves_meanwhile_is_said(rig: Rig) -> None:
    rig.world.on_route = lambda: rig.world.owners.update({ADDRESS: NODES["lb3"]})
    with pytest.raises(OwnerChanged, match="lb3"):
        await rig.provider().assign(ADDRESS, "lb2", expect="lb1", timeout_s=LONG_S)


# --- what goes wrong on the way -------------------------------------------------------------------------------------


async def test_wrong_credentials_are_denied(rig: Rig) -> None:
    if rig.name == "command":
        rig.faults.set(Answer.DENIED)  # the programs have the key, not we
    provider = rig.provider({"USER": "mallory", "KEY": "guess"})
    with pytest.raises(ProviderDenied, match=rig.name):
        await provider.owner(ADDRESS, timeout_s=LONG_S)
    with pytest.raises(ProviderDenied):
        await provider.assign(ADDRESS, "lb2", expect="lb1", timeout_s=LONG_S)
    assert rig.api.writes() == 0


async def test_a_user_that_may_read_and_not_write_is_denied(rig: Rig) -> None:
    rig.faults.set(Answer.DENIED, Hits.WRITES)
    with pytest.raises(ProviderDenied):
        await rig.provider().assign(ADDRESS, "lb2", expect="lb1", timeout_s=LONG_S)
    assert rig.api.writes() == 1


@pytest.mark.not_for("command", "the programs have their own secrets")
async def test_a_secret_that_cannot_be_had_is_a_provider_error(rig: Rig) -> None:
    with pytest.raises(ProviderError):
        await rig.provider({}).owner(ADDRESS, timeout_s=LONG_S)


@pytest.mark.parametrize(("asked_s", "told_s"), [(7.0, 7.0), (1e9, 3_600.0)])
@pytest.mark.parametrize("hits", [Hits.READS, Hits.WRITES])
async def test_a_rate_limit_is_told_with_its_wait_bounded(rig: Rig, hits: Hits, asked_s: float, told_s: float) -> None:
    rig.faults.retry_after_s = asked_s
    rig.faults.set(Answer.RATE_LIMITED, hits)
    with pytest.raises(ProviderError) as caught:
        await rig.provider().assign(ADDRESS, "lb2", expect="lb1", timeout_s=LONG_S)
    assert caught.value.retry_after_s == told_s
    assert rig.api.writes() == (1 if hits is Hits.WRITES else 0)  # nobody tries again behind our back


async def test_the_vendors_own_no_is_passed_on(rig: Rig) -> None:
    rig.faults.set(Answer.ERROR, Hits.WRITES)
    with pytest.raises(ProviderError, match=r"in use|HTTP 409") as caught:
        await rig.provider().assign(ADDRESS, "lb2", expect="lb1", timeout_s=LONG_S)
    assert type(caught.value) is ProviderError
    assert rig.api.writes() == 1


@pytest.mark.not_for("command-nonsense-writes", "what `assign` prints is not read: its exit status counts")
@pytest.mark.parametrize("hits", [Hits.READS, Hits.WRITES])
@pytest.mark.parametrize("answer", [Answer.DOWN, Answer.NONSENSE])
async def test_a_server_that_is_down_or_babbles_leaves_the_outcome_unknown(
    rig: Rig, hits: Hits, answer: Answer
) -> None:
    rig.faults.set(answer, hits)
    with pytest.raises(ProviderUnreachable):
        await rig.provider().assign(ADDRESS, "lb2", expect="lb1", timeout_s=LONG_S)
    assert rig.api.writes() == (1 if hits is Hits.WRITES else 0)


@pytest.mark.parametrize("hits", [Hits.READS, Hits.WRITES])
async def test_a_server_that_never_answers_ends_in_time(rig: Rig, hits: Hits) -> None:
    await rig.provider().owner(ADDRESS, timeout_s=LONG_S)  # libraries are imported
    rig.faults.set(Answer.HANG, hits)
    with pytest.raises(ProviderUnreachable, match="read the owner again"):
        await rig.provider().assign(ADDRESS, "lb2", expect="lb1", timeout_s=SHORT_S)
    assert rig.world.owner(ADDRESS) == NODES["lb1"]


async def test_after_a_cut_in_the_answer_it_may_be_done_and_asking_again_finds_it(rig: Rig) -> None:
    rig.faults.set(Answer.CUT, Hits.WRITES)
    provider = rig.provider()
    try:
        done = await provider.assign(ADDRESS, "lb2", expect="lb1", timeout_s=LONG_S)
    except ProviderUnreachable:
        rig.faults.heal()
        await rig.until(lambda: rig.world.routed == 1)
        done = await provider.assign(ADDRESS, "lb2", expect="lb1", timeout_s=LONG_S)
        assert done.already
    else:
        assert rig.name == "command"  # it had all that it reads
    assert rig.api.writes() == 1


async def test_a_server_that_is_not_there_is_unreachable(rig: Rig) -> None:
    rig.url = "http://127.0.0.1:9"
    with pytest.raises(ProviderUnreachable):
        await rig.provider().owner(ADDRESS, timeout_s=LONG_S)


async def test_a_call_that_nobody_waits_for_alters_nothing_any_more(rig: Rig) -> None:
    await rig.provider().owner(ADDRESS, timeout_s=LONG_S)
    rig.faults.set(Answer.HANG, Hits.READS)
    before = rig.api.asked()
    assigning = asyncio.create_task(rig.provider().assign(ADDRESS, "lb2", expect="lb1", timeout_s=LONG_S))
    await rig.until(lambda: rig.api.asked() > before)  # its first reading is under way

    assigning.cancel()
    with pytest.raises(asyncio.CancelledError):
        await assigning
    rig.faults.heal()
    await rig.provider().owner(ADDRESS, timeout_s=LONG_S)  # a round trip later

    assert rig.api.writes() == 0
    assert rig.world.owner(ADDRESS) == NODES["lb1"]
