"""The lab's SoftLayer server is what the vendor's client thinks it is: its own network manager works against it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import SoftLayer
from provider_world import ADDRESS, NODES, SECRETS, Rig, World
from softlayer_counted import SoftlayerCounted

from backstay.estate.model import EnvSecret, SoftlayerProvider
from backstay.lab.provider.softlayer_api import PREFIX

OTHER = "203.0.113.20"


@pytest_asyncio.fixture
async def rig() -> AsyncIterator[Rig]:
    world = World(owners={ADDRESS: NODES["lb1"], OTHER: NODES["lb3"]})
    api = SoftlayerCounted(
        world, global_ips=(ADDRESS,), static_subnets=(OTHER,), username=SECRETS["USER"], api_key=SECRETS["KEY"]
    )
    user, key = EnvSecret(env="USER"), EnvSecret(env="KEY")
    made = Rig(
        name="softlayer",
        world=world,
        api=api,
        declared=lambda url: SoftlayerProvider(kind="softlayer", username=user, api_key=key, endpoint_url=url + PREFIX),
    )
    async with made.up():
        yield made


def manager(rig: Rig) -> Any:
    transport = SoftLayer.RestTransport(endpoint_url=rig.url + PREFIX, timeout=20)
    auth = SoftLayer.BasicHTTPAuthentication(SECRETS["USER"], SECRETS["KEY"])
    return SoftLayer.NetworkManager(SoftLayer.BaseClient(auth=auth, transport=transport, config_file=os.devnull))


async def test_the_vendors_own_manager_lists_and_assigns_a_global_ip(rig: Rig) -> None:
    network = manager(rig)
    (found,) = await asyncio.to_thread(network.list_global_ips)
    assert found["ipAddress"]["ipAddress"] == ADDRESS
    assert found["destinationIpAddress"]["ipAddress"] == NODES["lb1"]

    await asyncio.to_thread(network.assign_global_ip, found["id"], NODES["lb2"])

    await rig.until(lambda: rig.world.owner(ADDRESS) == NODES["lb2"])


async def test_the_vendors_own_manager_routes_a_subnet(rig: Rig) -> None:
    network = manager(rig)
    (found,) = await asyncio.to_thread(network.list_subnets)
    kind = "SoftLayer_Network_Subnet_IpAddress"
    assert await asyncio.to_thread(network.route, found["id"], kind, NODES["lb2"]) is True
    await rig.until(lambda: rig.world.owner(OTHER) == NODES["lb2"])


async def test_a_second_route_while_one_is_under_way_is_refused(rig: Rig) -> None:
    rig.faults.action_s = 60.0
    network = manager(rig)
    (found,) = await asyncio.to_thread(network.list_global_ips)
    await asyncio.to_thread(network.assign_global_ip, found["id"], NODES["lb2"])
    with pytest.raises(SoftLayer.SoftLayerAPIError, match="active transaction"):
        await asyncio.to_thread(network.assign_global_ip, found["id"], NODES["lb3"])


async def test_an_address_that_the_account_has_not_is_said(rig: Rig) -> None:
    from backstay.failover.ports import ProviderError

    with pytest.raises(ProviderError, match="no such global IP"):
        await rig.provider().owner("203.0.113.99", timeout_s=20)


async def test_what_came_is_kept_for_who_runs_the_lab(rig: Rig) -> None:
    await rig.provider().assign(ADDRESS, "lb2", expect="lb1", timeout_s=30)
    assert isinstance(rig.api, SoftlayerCounted)
    (route,) = [call for call in rig.api.calls if call.writes]
    assert (route.method, route.address, route.target) == (
        "SoftLayer_Network_Subnet_IpAddress_Global::route",
        ADDRESS,
        NODES["lb2"],
    )
