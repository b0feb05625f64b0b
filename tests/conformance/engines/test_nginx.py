"""What is nginx's alone: upgraded binaries, log rotation, statistics where pools share a backend, its user."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest
from engine_site import ADDRESS, Site, add_pool, eventually, make_pool, with_backend, with_service

from backstay.balance.engines.binary import candidates
from backstay.balance.engines.nginx import Nginx
from backstay.balance.engines.nginx.traffic import in_flight
from backstay.balance.engines.process import EngineProcess
from backstay.balance.engines.sockets import Connection
from backstay.balance.model import BackendState, EngineVersion, How
from backstay.balance.ports import ConfigRefused
from backstay.estate.model import EngineKind, Protocol


@pytest.fixture(params=["wheel", "system"])
def version(request: pytest.FixtureRequest) -> EngineVersion:
    found = next((one for one in candidates(EngineKind.NGINX) if one.origin == request.param), None)
    if found is None:
        pytest.skip(f"no nginx of the {request.param} on this machine")
    return found


async def test_a_running_nginx_of_another_binary_is_replaced(site: Site, version: EngineVersion) -> None:
    other = next((one for one in candidates(EngineKind.NGINX) if one.binary != version.binary), None)
    if other is None:
        pytest.skip("only one nginx on this machine")
    await Nginx(site.folder, other).apply(site.desired)
    applied = await site.apply()
    assert applied.how is How.START
    assert version.binary in applied.detail
    pid = EngineProcess(site.folder).pid()
    assert Path(f"/proc/{pid}/exe").readlink() == Path(version.binary).resolve()
    assert (await site.get()).status == 200


async def test_logs_are_rotated_and_no_sample_is_lost_by_it(site: Site, version: EngineVersion) -> None:
    site.engine = Nginx(site.folder, version, rotate_at_bytes=2000)
    await site.apply()
    for number in range(40):
        await site.get(headers={"X-Request-Id": f"request-{number:04}"})
        site.samples += await site.engine.samples()
    samples = await site.logged(lambda found: len(found) >= 40)
    assert sorted(sample.request_id for sample in samples) == [f"request-{number:04}" for number in range(40)]
    assert (site.folder / "log" / "access.log.1").exists()


async def test_workers_do_not_stay_root(site: Site) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: nobody else can drop to another user")
    await site.apply()
    for worker in EngineProcess(site.folder).children():
        status = Path(f"/proc/{worker}/status").read_text()
        [uids] = [line.split()[1:] for line in status.splitlines() if line.startswith("Uid:")]
        assert "0" not in uids


async def test_a_drain_in_one_of_two_pools_counts_what_old_workers_carry_there(site: Site) -> None:
    pool = site.desired.pools[0]
    await site.apply(add_pool(site.desired, make_pool("api", *pool.backends[:1]), path="/hold"))
    held = asyncio.create_task(site.get("/hold"))

    async def holding() -> int:
        return site.backends[0].holding

    await eventually(holding, lambda count: count == 1)
    await site.apply(with_backend(site.desired, "web1", pool="api", state=BackendState.DRAINING))
    assert (await site.stats_of("web1", "api")).in_flight == 1
    assert (await site.stats_of("web1", "web")).in_flight == 0
    site.backends[0].release.set()
    assert (await held).status == 200
    await eventually(lambda: site.stats_of("web1", "api"), lambda stats: stats.in_flight == 0)


async def test_an_idle_connection_to_a_backend_is_no_request_in_flight(site: Site) -> None:
    await site.apply()
    await site.served_by(6)  # each leaves a connection behind, kept alive
    assert {one.in_flight for one in (await site.engine.observe()).backends} == {0}


@pytest.mark.parametrize(
    ("sent_ms", "received_ms", "received_bytes", "expected"),
    [
        (5, 5, 0, True),  # new: nothing came back yet
        (5, 900, 100, True),  # the second request's answer is awaited
        (900, 5, 100, False),  # the answer came just now
        (5, 5, 100, False),  # both within one tick of the kernel's clock: a fast answer
        (9000, 8000, 100, True),  # nginx would have closed an idle one: a quiet WebSocket
    ],
)
def test_a_connection_is_in_flight_by_who_spoke_last(
    sent_ms: int, received_ms: int, received_bytes: int, expected: bool
) -> None:
    connection = Connection(
        local=(ADDRESS, 1),
        remote=(ADDRESS, 2),
        inode=1,
        since_sent_ms=sent_ms,
        since_received_ms=received_ms,
        received_bytes=received_bytes,
    )
    assert in_flight(connection) is expected


async def test_a_route_to_a_tcp_pool_is_refused_in_words(site: Site) -> None:
    tcp = replace(make_pool("queue", *site.desired.pools[0].backends), protocol=Protocol.TCP)
    with pytest.raises(ConfigRefused, match=r"route /queue leads to the pool queue, which is tcp"):
        await site.apply(add_pool(site.desired, tcp, path="/queue"))


async def test_a_worker_that_dies_is_no_bad_configuration(site: Site) -> None:
    """nginx starts another; the next reload is not refused because of what the dead one said."""
    await site.apply()
    pid = EngineProcess(site.folder).pid()
    before = EngineProcess(site.folder).children()
    os.kill(before[0], 9)

    async def children() -> tuple[int, ...]:
        return EngineProcess(site.folder).children()

    await eventually(children, lambda found: len(found) == len(before) and before[0] not in found)
    assert (await site.apply(with_service(site.desired, body_limit_mb=9))).how is How.RELOAD
    assert EngineProcess(site.folder).pid() == pid
