"""What HAProxy alone does: runtime commands, checks of its own, state that survives a reload."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from engine_backends import StreamBackend, WebBackend, fastcgi_says_its_parameters
from engine_certificates import DesiredTls
from engine_site import ADDRESS, HOST, Site, eventually, make_pool, with_backend, with_pool, with_service, with_tls

from backstay.balance.engines.binary import candidates
from backstay.balance.engines.haproxy import runtime as haproxy_runtime
from backstay.balance.engines.haproxy.adapter import ACCESS_LOG, Haproxy
from backstay.balance.engines.haproxy.runtime import SOCKET, Runtime
from backstay.balance.engines.haproxy.state import ServerRow
from backstay.balance.model import Backend, BackendState, Desired, EngineVersion, How
from backstay.balance.ports import EngineFailed
from backstay.estate.model import Balance, Check, EngineKind, Fastcgi, Protocol

CHECK = Check(path="/healthz", interval_s=0.2, timeout_s=1.0, rise=2, fall=2)


@pytest.fixture(params=["wheel", "system"])
def version(request: pytest.FixtureRequest) -> EngineVersion:
    found = next((one for one in candidates(EngineKind.HAPROXY) if one.origin == request.param), None)
    if found is None:
        pytest.skip(f"no haproxy of the {request.param} on this machine")
    return found


def runtime(site: Site) -> Runtime:
    return Runtime(site.folder)


async def rows(site: Site) -> dict[str, ServerRow]:
    """What the current worker knows of the servers of pool web."""
    processes = await runtime(site).processes()
    assert processes.current is not None
    found = await runtime(site).servers(processes.current)
    return {name: row for (pool, name), row in found.items() if pool == "web"}


async def weights(site: Site) -> dict[str, int]:
    return {name: row.weight for name, row in (await rows(site)).items() if ":" not in name}


async def effective_weight(site: Site, name: str) -> int:
    """With slow start in it, as HAProxy uses it now."""
    processes = await runtime(site).processes()
    text = await runtime(site).ask(f"@!{processes.current} show stat -1 4 -1")
    header, *lines = [line.split(",") for line in text.splitlines() if line]
    row = next(line for line in lines if line[:2] == ["web", name])
    return int(row[header.index("weight")])


def restructured(desired: Desired) -> Desired:
    """The same, but for something that only a reload can bring."""
    return with_service(desired, body_limit_mb=desired.services[0].body_limit_mb + 1)  # type: ignore[union-attr]


async def test_weights_and_drains_are_runtime_commands_and_nothing_is_done_twice(site: Site) -> None:
    assert (await site.apply()).how is How.START
    assert (await site.apply()).how is How.NOTHING
    assert (await site.apply(with_backend(site.desired, "web1", share=0.5))).how is How.RUNTIME
    assert (await site.apply(with_backend(site.desired, "web2", state=BackendState.DRAINING))).how is How.RUNTIME
    assert await weights(site) == {"web1": 32, "web2": 0, "web3": 64}
    assert (await site.apply()).how is How.NOTHING


async def test_the_floor_and_the_cap_of_shares_are_weights_that_haproxy_has(site: Site) -> None:
    desired = with_backend(with_backend(site.desired, "web1", share=0.05), "web2", share=3.0)
    await site.apply(desired)
    assert await weights(site) == {"web1": 3, "web2": 192, "web3": 64}


async def test_weights_and_drains_survive_a_reload(site: Site) -> None:
    await site.apply()
    desired = with_backend(with_backend(site.desired, "web1", share=0.5), "web2", state=BackendState.DRAINING)
    await site.apply(desired)
    assert (await site.apply(restructured(site.desired))).how is How.RELOAD
    assert await weights(site) == {"web1": 32, "web2": 0, "web3": 64}
    assert set(await site.served_by(8)) == {"web1", "web3"}


async def test_the_configuration_on_disk_has_the_weights_so_that_a_restart_has_them(
    site: Site, engine_factory: Callable[[], Haproxy]
) -> None:
    await site.apply()
    await site.apply(with_backend(site.desired, "web2", state=BackendState.DRAINING))
    await site.engine.stop(grace_s=1.0)
    site.engine = engine_factory()
    assert (await site.apply()).how is How.START
    assert set(await site.served_by(6)) == {"web1", "web3"}


async def test_configuration_wins_over_what_somebody_typed_into_the_socket(site: Site) -> None:
    await site.apply()
    processes = await runtime(site).processes()
    assert processes.current is not None
    by_hand = ["set server web/web1 weight 7", "set server web/web2 state maint", "set server web/web3 state drain"]
    await runtime(site).command(processes.current, by_hand)
    assert (await site.apply()).how is How.RUNTIME
    assert await weights(site) == {"web1": 64, "web2": 64, "web3": 64}
    assert set(await site.served_by(9)) == {"web1", "web2", "web3"}


async def test_stale_weights_of_the_old_worker_never_win_over_a_new_configuration(site: Site) -> None:
    await site.apply()
    await site.apply(with_backend(site.desired, "web1", share=0.25))
    await site.apply(restructured(with_backend(site.desired, "web1", share=1.0)))
    assert await weights(site) == {"web1": 64, "web2": 64, "web3": 64}


async def test_a_server_that_joins_takes_no_request_before_its_checks_pass(site: Site) -> None:
    await site.apply(with_pool(site.desired, check=CHECK))
    sick = WebBackend("web4", ADDRESS)
    sick.healthy = False
    await sick.start()
    try:
        [pool] = site.desired.pools
        joined = Backend(name="web4", address=ADDRESS, port=sick.port)
        applied = await site.apply(with_pool(site.desired, backends=(*pool.backends, joined)))
        assert applied.how is How.RELOAD
        assert set(await site.served_by(20)) == {"web1", "web2", "web3"}
        sick.healthy = True
        await eventually(lambda: site.served_by(8), lambda served: "web4" in served)
    finally:
        await sick.stop()


async def test_a_server_that_its_checks_hold_down_stays_down_over_a_reload(site: Site) -> None:
    await site.apply(with_pool(site.desired, check=CHECK))
    site.backends[0].healthy = False
    await eventually(lambda: site.stats_of("web1"), lambda stats: stats.engine_state.startswith("DOWN"))
    await site.apply(restructured(site.desired))
    assert set(await site.served_by(12)) == {"web2", "web3"}


async def test_the_health_port_and_the_serving_port_must_both_answer(site: Site) -> None:
    health = WebBackend("health", ADDRESS)
    await health.start()
    try:
        await site.apply(with_pool(site.desired, check=CHECK.model_copy(update={"port": health.port})))
        assert set(await site.served_by(9)) == {"web1", "web2", "web3"}
        await site.backends[0].stop()  # its health port answers still
        await eventually(lambda: site.stats_of("web1"), lambda stats: stats.engine_state.startswith("DOWN"))
        health.healthy = False
        for name in ("web2", "web3"):
            await eventually(lambda name=name: site.stats_of(name), lambda stats: stats.engine_state.startswith("DOWN"))
    finally:
        await health.stop()


@pytest.mark.parametrize("own_port", [True, False], ids=["health port", "serving port"])
async def test_a_fastcgi_pool_is_checked_too(site: Site, own_port: bool) -> None:
    backend = StreamBackend(ADDRESS, fastcgi_says_its_parameters)
    await backend.start()
    try:
        check = CHECK.model_copy(update={"port": site.backends[0].port if own_port else None})
        [pool] = site.desired.pools
        php = replace(
            pool,
            protocol=Protocol.FASTCGI,
            fastcgi=Fastcgi(document_root="/srv"),
            check=check,
            backends=(Backend(name="php1", address=ADDRESS, port=backend.port),),
        )
        await site.apply(replace(site.desired, pools=(php,)))
        await eventually(lambda: site.stats_of("php1"), lambda stats: stats.engine_state == "UP")
        if own_port:
            site.backends[0].healthy = False
        else:
            await backend.stop()
        await eventually(lambda: site.stats_of("php1"), lambda stats: stats.engine_state.startswith("DOWN"))
    finally:
        await backend.stop()


async def test_a_pool_whose_every_check_fails_is_kept_serving_but_for_what_is_drained(site: Site) -> None:
    await site.apply(with_pool(site.desired, check=CHECK))
    await site.apply(with_backend(site.desired, "web3", state=BackendState.DRAINING))
    for backend in site.backends:
        backend.healthy = False
    for name in ("web1", "web2"):
        await eventually(lambda name=name: site.stats_of(name), lambda stats: stats.engine_state.startswith("DOWN"))
    assert set(await site.served_by(8)) == {"web1", "web2"}
    site.backends[1].healthy = True
    await eventually(lambda: site.served_by(6), lambda served: set(served) == {"web2"})


@pytest.mark.parametrize("check", [CHECK, None], ids=["checked", "unchecked"])
async def test_a_backend_that_comes_back_goes_through_slow_start(site: Site, check: Check | None) -> None:
    await site.apply(with_pool(site.desired, slow_start_s=600.0, check=check))
    assert await effective_weight(site, "web1") == 64
    await site.apply(with_backend(site.desired, "web1", state=BackendState.DRAINING))
    await site.apply(with_backend(site.desired, "web1", state=BackendState.ACTIVE))
    assert await effective_weight(site, "web1") < 16
    assert (await rows(site))["web1"].weight == 64
    assert (await site.apply()).how is How.NOTHING
    await site.apply(restructured(site.desired))
    assert await effective_weight(site, "web1") < 32, "slow start goes on over a reload"


async def test_a_backend_that_comes_back_while_its_checks_fail_is_left_to_its_checks(site: Site) -> None:
    await site.apply(with_pool(site.desired, slow_start_s=1.0, check=CHECK))
    await site.apply(with_backend(site.desired, "web1", state=BackendState.DRAINING))
    site.backends[0].healthy = False
    await eventually(lambda: site.stats_of("web1"), lambda stats: stats.engine_state.startswith("DOWN"))
    await site.apply(with_backend(site.desired, "web1", state=BackendState.ACTIVE))
    assert set(await site.served_by(12)) == {"web2", "web3"}


async def test_an_idle_connection_is_closed_by_no_reload_and_sees_its_drains_all_the_same(site: Site) -> None:
    await site.apply()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as client:

        async def post() -> tuple[int, str, str]:
            url = f"http://{ADDRESS}:{site.http_port}/"
            async with client.post(url, data=b"x", headers={"Host": HOST}) as answer:
                said = await answer.json()
                return answer.status, str(said["backend"]), answer.headers.get("Connection", "")

        assert (await post())[0] == 200
        drained = with_backend(site.desired, "web1", state=BackendState.DRAINING)
        drained = with_backend(drained, "web2", state=BackendState.DRAINING)
        assert (await site.apply(restructured(drained))).how is How.RELOAD
        # The old worker has this connection still; it was told of the drains, and ends it after this answer.
        assert await post() == (200, "web3", "close")
        assert (await post())[:2] == (200, "web3")


async def test_a_reload_that_fails_takes_its_drains_back(site: Site) -> None:
    await site.apply()
    drained = with_backend(site.desired, "web1", state=BackendState.DRAINING)
    taken = site.backends[0].port
    with pytest.raises(EngineFailed, match="Address already in use"):
        await site.engine.apply(with_service(drained, http_port=taken))
    assert await weights(site) == {"web1": 64, "web2": 64, "web3": 64}
    assert (await site.apply()).how is How.NOTHING


async def test_tries_that_failed_are_told_though_haproxy_logs_the_last_one_alone(site: Site) -> None:
    await site.apply(with_pool(site.desired, balance=Balance.ROUND_ROBIN))
    await site.engine.samples()  # counts from here
    await site.backends[0].stop()
    for _ in range(9):
        assert (await site.get()).status == 200
    samples = await site.logged(lambda found: sum(sample.error for sample in found) >= 3)
    failed = [sample for sample in samples if sample.error]
    assert {(sample.backend, sample.final, sample.status, sample.route) for sample in failed} == {
        ("web1", False, 0, "/")
    }
    assert sum(sample.final for sample in samples) == 9


async def test_the_copies_of_certificates_and_keys_are_closed_to_others(
    site: Site, certificates: Callable[[str], DesiredTls]
) -> None:
    await site.apply(with_tls(site.desired, certificates("first")))
    found = [path for path in (site.folder / "generations").rglob("*") if ".pem" in path.name]
    assert len(found) == 2
    assert {stat.S_IMODE(path.stat().st_mode) for path in found} == {0o600}
    assert stat.S_IMODE((site.folder / SOCKET).stat().st_mode) == 0o600


async def test_workers_do_not_stay_root(site: Site) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: nobody else can drop to another user")
    await site.apply()
    worker = (await runtime(site).processes()).current
    assert Path(f"/proc/{worker}").stat().st_uid != 0


async def test_the_access_log_is_rotated_and_no_sample_is_lost_by_it(site: Site, version: EngineVersion) -> None:
    await site.apply()
    site.engine = Haproxy(site.folder, version, rotate_at_bytes=4096)
    for _ in range(40):
        assert (await site.get()).status == 200
        site.samples += await site.engine.samples()
    samples = await site.logged(lambda found: len(found) >= 40)
    assert len({sample.request_id for sample in samples}) == 40
    log = site.folder / ACCESS_LOG
    assert log.with_name("access.log.1").stat().st_size >= 4096
    assert log.stat().st_blocks * 512 <= 12_288, "what was read is given back to the disk"


async def test_more_than_a_thousand_small_header_fields_are_answered_with_431(site: Site) -> None:
    await site.apply()
    few = await site.get(headers={f"x{number}": "y" for number in range(900)})
    assert few.body == b"Too many headers received"  # says the backend: they came through
    assert (await site.get(headers={f"x{number}": "y" for number in range(1100)})).status == 431


# The runtime socket.

Answerer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def master_that(answer: Answerer, folder: Path) -> AsyncIterator[Runtime]:
    """Something else at the master's socket."""

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    (folder / "run").mkdir(parents=True)
    here = Path.cwd()
    os.chdir(folder)  # the path of a unix socket has at most 107 bytes
    server = await asyncio.start_unix_server(once, SOCKET)
    os.chdir(here)
    async with server:
        yield Runtime(folder)


async def _says_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def _closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readline()


async def _talks_garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readline()
    writer.write(b"\xff\x00garbage,,,\n# pxname\n#<PI")
    await writer.drain()


async def _talks_for_ever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"x" * 65_536)
        await writer.drain()


@pytest.mark.parametrize("answer", [_says_nothing, _closes, _talks_garbage, _talks_for_ever])
async def test_whatever_answers_at_the_socket_is_a_clear_error(
    answer: Answerer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(haproxy_runtime, "_TIMEOUT_S", 0.5)
    monkeypatch.setattr(haproxy_runtime, "_ANSWER_LIMIT_BYTES", 1_000_000)
    async with master_that(answer, folder) as found:
        for ask in (found.processes(), found.servers(1), found.statistics(1)):
            with pytest.raises(EngineFailed, match="HAProxy"):
                await ask


async def test_a_refused_command_is_an_error_that_quotes_haproxy(site: Site) -> None:
    await site.apply()
    current = (await runtime(site).processes()).current
    assert current is not None
    with pytest.raises(EngineFailed, match="No such server"):
        await runtime(site).command(current, ["set server web/nobody weight 3"])


async def test_pools_of_many_servers_are_changed_in_one_go(site: Site) -> None:
    backends = tuple(Backend(name=f"n{number}", address=ADDRESS, port=9) for number in range(400))
    await site.apply(replace(site.desired, pools=(*site.desired.pools, make_pool("many", *backends))))
    lighter = tuple(replace(backend, share=0.5) for backend in backends)
    applied = await site.apply(with_pool(site.desired, "many", backends=lighter))
    assert (applied.how, applied.detail) == (How.RUNTIME, "400 runtime commands")
