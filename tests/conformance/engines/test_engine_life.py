"""The engine's life: start, reload, refusal, death, adoption, stop. What is bad never replaces what runs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from engine_site import ADDRESS, LB, Site, eventually, free_port, make_pool, revised, with_backend, with_service

from backstay.balance.engines.process import EngineProcess
from backstay.balance.model import Backend, BackendState, How
from backstay.balance.ports import ConfigRefused, Engine, EngineFailed


def _pid(site: Site) -> int:
    pid = EngineProcess(site.folder).pid()
    assert pid is not None, "the engine is not running"
    return pid


def _session(leader: int) -> list[int]:
    """Processes of the engine's session that are alive."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                state, _, _, session = (entry / "stat").read_text().rsplit(")", 1)[1].split()[:4]
                if int(session) == leader and state not in "ZX":
                    found.append(int(entry.name))
    return found


async def test_the_first_apply_starts_and_the_same_again_does_nothing(site: Site) -> None:
    assert not await site.engine.running()
    assert (await site.apply()).how is How.START
    assert await site.engine.running()
    pid = _pid(site)
    again = await site.apply()
    assert (again.how, again.expected_resets, again.revision) == (How.NOTHING, 0, site.desired.revision)
    assert _pid(site) == pid


async def test_rendering_is_deterministic_and_what_people_say_alters_nothing(site: Site) -> None:
    await site.apply()
    assert site.engine.render(site.desired) == site.engine.render(site.desired)
    assert (await site.apply(with_backend(site.desired, "web1", reason="looks fine"))).how is How.NOTHING


async def test_a_change_of_structure_reloads_without_a_new_process(site: Site) -> None:
    await site.apply()
    pid = _pid(site)
    port = free_port()
    applied = await site.apply(with_service(site.desired, http_port=port))
    assert applied.how is How.RELOAD
    assert _pid(site) == pid
    assert (await site.ask(f"http://{ADDRESS}:{port}/")).status == 200


async def test_a_request_in_flight_survives_a_reload(site: Site) -> None:
    await site.apply()
    held = asyncio.create_task(site.get("/hold", method="POST", data=b"x"))

    async def holding() -> int:
        return sum(backend.holding for backend in site.backends)

    await eventually(holding, lambda count: count == 1)
    assert (await site.apply(with_service(site.desired, body_limit_mb=9))).how is How.RELOAD
    for backend in site.backends:
        backend.release.set()
    assert (await held).status == 200


async def test_expected_resets_are_priced_by_what_the_binary_can_do(site: Site) -> None:
    await site.apply()
    clients = [await asyncio.open_connection(ADDRESS, site.http_port) for _ in range(30)]
    for reader, writer in clients:
        writer.write(b"GET / HTTP/1.1\r\nHost: app.example.com\r\n\r\n")
        assert (await asyncio.wait_for(reader.readuntil(b"\r\n"), 20)).startswith(b"HTTP/1.1 200")
    applied = await site.apply(with_service(site.desired, body_limit_mb=9))
    assert applied.how is How.RELOAD
    if site.capabilities.keepalive_min_timeout:
        assert applied.expected_resets == 0
    else:
        assert 0 < applied.expected_resets <= 30
    for _, writer in clients:
        writer.close()


@pytest.mark.parametrize("path", ['/a"b', "/a\nb", "/$host", "/a;b{"])
async def test_a_value_that_would_break_the_configuration_is_refused_or_harmless(site: Site, path: str) -> None:
    """The estate's model allows no such path; an engine that got one all the same must not be fooled by it."""
    await site.apply()
    before = site.desired
    routes = (*before.services[0].routes, replace(before.services[0].routes[0], path=path))
    try:
        await site.apply(with_service(before, routes=routes))
    except ConfigRefused:
        assert (await site.apply(before)).how is How.NOTHING
    assert (await site.get()).status == 200


async def test_a_bad_configuration_is_refused_and_the_running_one_untouched(site: Site) -> None:
    await site.apply()
    before, pid = site.desired, _pid(site)
    on_disk = _contents(site)
    bad = revised(with_backend(before, "web1", address="300.1.2.3"))
    with pytest.raises(ConfigRefused, match=LB):
        await site.engine.check(bad)
    with pytest.raises(ConfigRefused, match=LB):
        await site.engine.apply(bad)
    assert _contents(site) == on_disk
    assert _pid(site) == pid
    assert (await site.get()).status == 200
    assert (await site.apply(before)).how is How.NOTHING


async def test_a_check_before_the_first_apply_starts_nothing(site: Site) -> None:
    await site.engine.check(site.desired)
    with pytest.raises(ConfigRefused, match=LB):
        await site.engine.check(revised(with_backend(site.desired, "web1", address="300.1.2.3")))
    assert not await site.engine.running()


async def test_a_check_alters_nothing(site: Site) -> None:
    await site.apply()
    on_disk = _contents(site)
    await site.engine.check(revised(with_service(site.desired, body_limit_mb=9)))
    assert _contents(site) == on_disk
    assert (await site.apply()).how is How.NOTHING


def _contents(site: Site) -> dict[str, bytes]:
    """Every file of the configuration that the engine reads."""
    current = site.folder / "current"
    return {str(file.relative_to(current)): file.read_bytes() for file in current.rglob("*") if file.is_file()}


async def test_a_port_that_somebody_else_has_fails_the_apply_and_the_running_one_goes_on(site: Site) -> None:
    await site.apply()
    before, on_disk = site.desired, _contents(site)
    with socket.create_server((ADDRESS, 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises((EngineFailed, ConfigRefused), match=str(port)):
            await site.apply(with_service(before, http_port=port))
    assert _contents(site) == on_disk
    assert (await site.get()).status == 200
    assert (await site.apply(before)).how is How.NOTHING


async def test_a_start_that_fails_says_what_the_engine_said(site: Site) -> None:
    with socket.create_server((ADDRESS, site.http_port)):
        with pytest.raises((EngineFailed, ConfigRefused), match=str(site.http_port)):
            await site.apply()
        assert not await site.engine.running()
    assert (await site.apply()).how is How.START
    assert (await site.get()).status == 200


@pytest.mark.parametrize("whole", [True, False], ids=["every process", "the first process alone"])
async def test_an_engine_that_was_killed_is_started_again(site: Site, whole: bool) -> None:
    await site.apply()
    pid = _pid(site)
    if whole:
        os.killpg(pid, signal.SIGKILL)
    else:
        os.kill(pid, signal.SIGKILL)

    async def found() -> int | None:
        return EngineProcess(site.folder).pid()

    await eventually(found, lambda pid: pid is None)
    assert not await site.engine.running()
    with pytest.raises(EngineFailed, match="running"):
        await site.engine.observe()
    assert (await site.apply()).how is How.START
    assert _pid(site) != pid
    assert (await site.get()).status == 200


async def test_a_new_agent_adopts_the_running_engine(site: Site, engine_factory: Callable[[], Engine]) -> None:
    await site.apply(with_backend(site.desired, "web2", state=BackendState.DRAINING))
    pid = _pid(site)
    successor = engine_factory()
    assert await successor.running()
    assert {one.backend for one in (await successor.observe()).backends} == {"web1", "web2", "web3"}
    assert (await successor.apply(site.desired)).how is How.NOTHING
    assert _pid(site) == pid
    site.engine = successor
    assert set(await site.served_by(6)) == {"web1", "web3"}
    assert {sample.backend for sample in await site.logged(lambda samples: len(samples) >= 6)} == {"web1", "web3"}


async def test_a_record_of_a_pid_that_is_another_process_now_is_not_ours(site: Site) -> None:
    await site.apply()
    record = site.folder / "run" / "engine.stat"
    text = record.read_text()
    mine = text.replace(str(_pid(site)), str(os.getpid()), 1)
    await site.engine.stop(grace_s=1.0)
    record.write_text(mine)
    assert not await site.engine.running()
    assert (await site.apply()).how is How.START


async def test_a_stop_lets_requests_in_flight_finish(site: Site) -> None:
    await site.apply()
    held = asyncio.create_task(site.get("/hold"))

    async def holding() -> int:
        return sum(backend.holding for backend in site.backends)

    await eventually(holding, lambda count: count == 1)
    stopping = asyncio.create_task(site.engine.stop(grace_s=15.0))
    await eventually(lambda: _refused(site), lambda refused: refused)
    for backend in site.backends:
        backend.release.set()
    assert (await held).status == 200
    await stopping
    assert not await site.engine.running()
    await site.engine.stop(grace_s=1.0)  # harmless when nothing runs


async def _refused(site: Site) -> bool:
    try:
        _, writer = await asyncio.open_connection(ADDRESS, site.http_port)
    except ConnectionRefusedError:
        return True
    writer.close()
    return False


async def test_a_stop_does_not_wait_beyond_its_grace(site: Site) -> None:
    await site.apply()
    pid = _pid(site)
    held = asyncio.create_task(site.get("/hold"))

    async def holding() -> int:
        return sum(backend.holding for backend in site.backends)

    await eventually(holding, lambda count: count == 1)
    await site.engine.stop(grace_s=0.2)
    assert not await site.engine.running()
    assert _session(pid) == []
    with pytest.raises(Exception):  # noqa: B017 - cut, in whichever words
        await held


async def test_forty_pools_are_applied_and_one_of_them_drained(site: Site) -> None:
    first = site.desired.pools[0]
    pools = tuple(
        make_pool(
            f"pool{number}",
            *(Backend(name=f"node{n}", address=f"127.9.{number}.{n + 1}", port=9) for n in range(10)),
        )
        for number in range(40)
    )
    routes = tuple(
        replace(site.desired.services[0].routes[0], path=f"/pool{number}/", pool=pool.name)
        for number, pool in enumerate(pools)
    )
    desired = with_service(site.desired, routes=(*site.desired.services[0].routes, *routes))
    await site.apply(replace(desired, pools=(first, *pools)))
    assert len((await site.engine.observe()).backends) == 403
    await site.apply(with_backend(site.desired, "node3", pool="pool7", state=BackendState.DRAINING))
    assert (await site.get()).status == 200
