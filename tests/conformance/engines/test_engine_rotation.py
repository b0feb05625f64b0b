"""Who gets requests: drain, undrain, down, weights, the health port; and what the engine says is in flight."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from engine_site import Site, eventually, free_port, with_backend, with_pool

from backstay.balance.model import BackendState, How
from backstay.estate.model import Balance, Check


def _release(site: Site) -> None:
    for backend in site.backends:
        backend.release.set()


async def _holding(site: Site) -> int:
    return sum(backend.holding for backend in site.backends)


async def test_a_draining_backend_gets_nothing_new_and_finishes_what_it_has(site: Site) -> None:
    await site.apply()
    held = [asyncio.create_task(site.get("/hold", method="POST", data=b"x")) for _ in range(6)]
    await eventually(lambda: _holding(site), lambda count: count == 6)
    assert site.backends[1].holding == 2
    applied = await site.apply(with_backend(site.desired, "web2", state=BackendState.DRAINING))
    assert applied.how is (How.RUNTIME if site.capabilities.runtime_changes else How.RELOAD)
    assert set(await site.served_by(12)) == {"web1", "web3"}
    assert (await site.stats_of("web2")).in_flight == 2
    _release(site)
    answers = await asyncio.gather(*held)
    assert [answer.status for answer in answers] == [200] * 6
    await eventually(lambda: site.stats_of("web2"), lambda stats: stats.in_flight == 0)


async def test_an_undrained_backend_gets_requests_again(site: Site) -> None:
    await site.apply(with_backend(site.desired, "web2", state=BackendState.DRAINING))
    assert "web2" not in await site.served_by(12)
    await site.apply(with_backend(site.desired, "web2", state=BackendState.ACTIVE))
    assert (await site.served_by(12))["web2"] >= 3


async def test_a_backend_that_is_down_gets_nothing_from_the_first_request_on(site: Site) -> None:
    await site.apply(with_backend(site.desired, "web3", state=BackendState.DOWN))
    assert set(await site.served_by(12)) == {"web1", "web2"}


async def test_a_drain_survives_a_change_of_something_else(site: Site) -> None:
    await site.apply(with_backend(site.desired, "web2", state=BackendState.DRAINING))
    await site.apply(with_pool(site.desired, response_timeout_s=7.0))
    assert set(await site.served_by(12)) == {"web1", "web3"}


async def test_weights_shift_traffic_in_proportion(site: Site) -> None:
    await site.apply(with_pool(site.desired, balance=Balance.ROUND_ROBIN))
    even = await site.served_by(60)
    assert all(18 <= even[backend.name] <= 22 for backend in site.backends)
    await site.apply(with_backend(site.desired, "web1", share=2.0))
    await site.apply(with_backend(site.desired, "web3", share=0.5))
    shifted = await site.served_by(140)  # 2 : 1 : 0.5
    assert 72 <= shifted["web1"] <= 88
    assert 34 <= shifted["web2"] <= 46
    assert 14 <= shifted["web3"] <= 26


async def test_a_floored_backend_still_gets_a_request_now_and_then(site: Site) -> None:
    await site.apply(with_backend(site.desired, "web1", share=0.05))
    assert 1 <= (await site.served_by(100))["web1"] <= 6


@pytest.mark.parametrize("balance", list(Balance))
async def test_every_way_to_balance_serves_from_the_pool(site: Site, balance: Balance) -> None:
    await site.apply(with_pool(site.desired, balance=balance))
    served = await site.served_by(30)
    assert sum(served.values()) == 30
    if balance is Balance.SOURCE:
        assert len(served) == 1  # one client, one backend
        [chosen] = served
        await site.apply(with_backend(site.desired, chosen, state=BackendState.DRAINING))
        assert chosen not in await site.served_by(10)


async def test_least_connections_avoids_the_backend_that_is_busy(site: Site) -> None:
    await site.apply(with_pool(site.desired, balance=Balance.LEAST_CONNECTIONS))
    held = asyncio.create_task(site.get("/hold"))
    await eventually(lambda: _holding(site), lambda count: count == 1)
    [busy] = [backend.name for backend in site.backends if backend.holding]
    assert busy not in await site.served_by(10)
    _release(site)
    assert (await held).status == 200


async def test_requests_in_flight_and_clients_are_counted(site: Site) -> None:
    await site.apply()
    idle = await site.engine.observe()
    assert idle.running
    assert {(one.pool, one.backend, one.in_flight) for one in idle.backends} == {
        ("web", backend.name, 0) for backend in site.backends
    }
    held = [asyncio.create_task(site.get("/hold")) for _ in range(6)]
    await eventually(lambda: _holding(site), lambda count: count == 6)
    busy = await site.engine.observe()
    assert {one.in_flight for one in busy.backends} == {2}
    assert busy.client_connections >= 6
    _release(site)
    await asyncio.gather(*held)
    await eventually(site.engine.observe, lambda seen: all(one.in_flight == 0 for one in seen.backends))


@pytest.mark.not_for("nginx", "has no active checks: the agent checks, and renders the backend down")
async def test_the_health_port_decides_and_the_serving_port_goes_on(site: Site) -> None:
    """A backend whose health port says no while it still serves leaves the rotation (HAport)."""
    # One health port for the pool, so each backend needs an address of its own.
    port, health_port = free_port(), free_port()
    first = site.desired.pools[0].backends[0].address.rsplit(".", 1)[0]
    health = []
    backends = []
    for number, backend in enumerate(site.backends, start=1):
        await backend.stop()
        backend.release.clear()
        backend.address = f"{first}.{number + 10}"
        await backend.start(port)
        twin = type(backend)(backend.name, backend.address)
        await twin.start(health_port)
        health.append(twin)
        backends.append(replace(site.desired.pools[0].backends[number - 1], address=backend.address, port=port))
    try:
        check = Check(path="/healthz", port=health_port, interval_s=0.2, timeout_s=2.0, rise=2, fall=2)
        await site.apply(with_pool(site.desired, backends=tuple(backends), check=check))
        await eventually(lambda: site.served_by(9), lambda served: len(served) == 3)
        health[1].healthy = False
        await eventually(lambda: site.served_by(9), lambda served: "web2" not in served)
        health[1].healthy = True
        await eventually(lambda: site.served_by(9), lambda served: "web2" in served)
    finally:
        for twin in health:
            await twin.stop()
