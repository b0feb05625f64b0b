"""The store's file: one process, kill -9 at any line, a full disk, damage, other versions, calls that take too long."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from random import Random

import duckdb
import numpy as np
import pytest
from store_suite import ALL, NOW, TIMEOUT_S, Clock, cells, duckdb_store, gauge, report
from store_writer import KEEPING, ROUND, SAMPLES, START, time_of

from backstay.audit.store import AuditStore, Settings, StoreBusy, StoreError
from backstay.audit.store.schema import NEWEST

HERE = Path(__file__).parent
PATIENCE_S = 60.0


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[AuditStore]:
    store = duckdb_store(folder, Clock())
    try:
        yield store
    finally:
        await store.close()


async def facts_of(store: AuditStore) -> list[str]:
    return [one.value for one in await store.facts.intervals([], **ALL, timeout_s=TIMEOUT_S)]


# One process at a time


def holding(path: Path) -> subprocess.Popen[str]:
    """Another process that has the store open, until its input ends."""
    code = (
        "import sys, datetime, pathlib; from backstay.audit.store import AuditStore;"
        "store = AuditStore.open(pathlib.Path(sys.argv[1]), lambda: datetime.datetime.now(datetime.UTC));"
        "print('open', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    return process


def test_another_process_has_it_says_which_one_and_the_next_waits_for_it(tmp_path: Path) -> None:
    path = tmp_path / "audit.duckdb"
    with holding(path) as other:
        try:
            with pytest.raises(StoreBusy, match=rf"process {other.pid} .* within 0\.1 s\. Wait until it has ended"):
                AuditStore.open(path, Clock(), lock_timeout_s=0.1)
        finally:
            assert other.stdin is not None
            other.stdin.close()  # it ends while the next one waits
        store = AuditStore.open(path, Clock(), lock_timeout_s=PATIENCE_S)
        asyncio.run(store.close())


async def test_a_second_time_in_one_process_is_busy_too(tmp_path: Path) -> None:
    async with opened(tmp_path):
        with pytest.raises(StoreBusy, match="this process has it open already"):
            duckdb_store(tmp_path, Clock())
    async with opened(tmp_path) as store:
        assert await store.facts.nodes(timeout_s=TIMEOUT_S) == ()


async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = duckdb_store(tmp_path, Clock())
    await store.close()
    await store.close()
    with pytest.raises(StoreError, match="it is closed"):
        await store.facts.nodes(timeout_s=TIMEOUT_S)
    assert [path.name for path in tmp_path.iterdir()] == ["audit.duckdb"]


# Calls that take too long


async def test_a_call_ends_in_time_keeps_nothing_and_the_next_one_goes_on(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        told = [report(f"n{at}", -1, {f"f{fact}": "1" for fact in range(50)}) for at in range(2000)]
        with pytest.raises(TimeoutError, match=r"not done within 0\.05 s"):
            await store.facts.add(told, timeout_s=0.05)
        assert await store.facts.nodes(timeout_s=TIMEOUT_S) == ()


async def test_a_long_query_is_interrupted(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        endless = "SELECT count(*) FROM range(10000000000) a, range(1000) b WHERE a.range * b.range = 7"
        with pytest.raises(TimeoutError):
            await store._database.call(lambda session: session.rows(endless), timeout_s=0.2)
        assert await store.facts.nodes(timeout_s=PATIENCE_S) == ()


async def test_a_call_may_be_cancelled(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        told = [report(f"n{at}", -1, {f"f{fact}": "1" for fact in range(50)}) for at in range(2000)]
        task = asyncio.create_task(store.facts.add(told, timeout_s=PATIENCE_S))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await store.facts.nodes(timeout_s=PATIENCE_S) == ()


# kill -9


def confirmed_before_kill(path: Path, number: int, rounds: int, wait_s: float) -> int:
    """Rounds that a writer confirmed: killed `wait_s` after it said so of `rounds`."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / "store_writer.py"), str(path), str(number)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        for _ in range(rounds):
            assert process.stdout.readline(), "the writer ended by itself"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(wait_s)
    finally:
        process.send_signal(signal.SIGKILL)
        rest = process.communicate()[0]
    return number + rounds + len(rest.split())


async def check(path: Path, confirmed: int) -> int:
    """Nothing that was confirmed is lost, nothing is there twice. Returns where the next writer begins."""
    store = AuditStore.open(path, Clock(time_of(confirmed + 1)), retention=KEEPING)
    records = await store.records.all("round", timeout_s=TIMEOUT_S)
    rounds = len(records)
    assert confirmed <= rounds <= confirmed + 1
    assert [record["number"] for record in records.values()] == list(range(rounds))
    intervals = await store.facts.intervals(["a"], start=START, end=time_of(rounds), timeout_s=TIMEOUT_S)
    values = [int(one.value) for one in intervals if one.fact == "round"]
    assert values in (list(range(rounds)), list(range(rounds + 1)))  # it is added before the record
    hours = int(ROUND / timedelta(hours=1))
    found = await cells(store, "a", "load", start=START, seconds=rounds * 6 * 3600.0, step_s=3600)
    assert found.tolist() == [float(at // hours) for at in range(rounds * hours)]
    rates = await cells(store, "a", "requests", start=START, seconds=rounds * 6 * 3600.0, step_s=3600)
    assert rates == pytest.approx(np.ones(rounds * hours))
    await store.close()
    with duckdb.connect(str(path), read_only=True) as database:
        row = database.execute(
            "SELECT (SELECT count(*) FROM samples WHERE series = 0) + "
            "(SELECT coalesce(sum(count), 0) FROM (FROM minute UNION ALL FROM hour) WHERE series = 0)"
        ).fetchone()
    assert row is not None
    assert row[0] in (rounds * SAMPLES, (rounds + 1) * SAMPLES)
    return rounds


async def test_kill_9_loses_nothing_that_was_confirmed_and_doubles_nothing(tmp_path: Path) -> None:
    path, random = tmp_path / "audit.duckdb", Random(5)
    number = 0
    for rounds in (2, 4, 6):
        confirmed = confirmed_before_kill(path, number, rounds, random.uniform(0.0, 0.15))
        number = await check(path, confirmed)
    assert number >= 12


# The disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 12 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    folder = tmp_path / "small"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


async def test_a_full_disk_is_told_and_the_store_goes_on_when_there_is_room(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 4_000_000)
    rng = np.random.default_rng(1)
    async with opened(small_disk) as store:
        kept = 0
        with pytest.raises(StoreError, match=r"the disk is full; nothing of this was kept\. Make room"):
            for call in range(100):
                samples = [(float(second) - 100_000.0, value) for second, value in enumerate(rng.random(50_000))]
                await store.indicators.add([gauge(f"n{call}", "load", samples)], timeout_s=TIMEOUT_S)
                kept += 1
        assert kept > 0
        assert len(await store.indicators.nodes(timeout_s=TIMEOUT_S)) == kept
        ballast.unlink()
        assert await store.indicators.add([gauge("last", "load", [(-1.0, 1.0)])], timeout_s=TIMEOUT_S) == 1
    async with opened(small_disk) as store:
        assert len(await store.indicators.nodes(timeout_s=TIMEOUT_S)) == kept + 1


# Damage, other versions


async def filled(folder: Path) -> Path:
    async with opened(folder) as store:
        await store.facts.add([report("a", -1, {"x": "1"})], timeout_s=TIMEOUT_S)
        samples = [(float(second) - 100_000.0, second * 1.1) for second in range(100_000)]
        await store.indicators.add([gauge("a", "load", samples)], timeout_s=TIMEOUT_S)
    return folder / "audit.duckdb"


async def test_a_damaged_file_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = await filled(tmp_path)
    whole = path.read_bytes()
    for damaged in (b"no database at all" * 1000, whole[:12_288]):
        path.write_bytes(damaged)
        with pytest.raises(StoreError, match=r"audit\.duckdb: no store, or damaged .* put back a copy"):
            duckdb_store(tmp_path, Clock())
    path.write_bytes(whole)
    async with opened(tmp_path) as store:
        assert await facts_of(store) == ["1"]


async def test_damage_that_shows_later_is_told_then(tmp_path: Path) -> None:
    path = await filled(tmp_path)
    whole = path.read_bytes()
    turned = whole[:12_288] + bytes(byte ^ 0xFF for byte in whole[12_288:212_288]) + whole[212_288:]
    for damaged in (turned, whole[: len(whole) // 3]):
        path.write_bytes(damaged)
        with pytest.raises(StoreError, match=r"audit\.duckdb: no store, or damaged .* put back a copy"):
            async with opened(tmp_path) as store:
                await facts_of(store)
                await cells(store, "a", "load", start=NOW - timedelta(days=2), seconds=172_800.0, step_s=3600)


async def test_a_log_that_is_torn_at_its_end_loses_only_what_was_not_confirmed(tmp_path: Path) -> None:
    path = tmp_path / "audit.duckdb"
    confirmed = confirmed_before_kill(path, 0, 2, 0.0)
    log = path.with_name("audit.duckdb.wal")
    with log.open("ab") as file:
        file.write(b"\x07" * 1000)  # half a transaction
    assert await check(path, confirmed) >= confirmed


async def test_a_file_of_a_newer_backstay_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = await filled(tmp_path)
    with duckdb.connect(str(path)) as database:
        database.execute("UPDATE meta SET version = 99")
    with pytest.raises(StoreError, match=rf"of version 99; this Backstay knows {NEWEST}\. Use the newer Backstay"):
        duckdb_store(tmp_path, Clock())
    with duckdb.connect(str(path)) as database:
        assert database.execute("SELECT version FROM meta").fetchall() == [(99,)]


async def test_an_older_file_is_brought_forward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = await filled(tmp_path)
    from backstay.audit.store import connecting

    newer = (*connecting.MIGRATIONS, ("CREATE TABLE added (x INTEGER)",))
    monkeypatch.setattr(connecting, "MIGRATIONS", newer)
    monkeypatch.setattr(connecting, "NEWEST", NEWEST + 1)
    async with opened(tmp_path) as store:
        assert await facts_of(store) == ["1"]
    with duckdb.connect(str(path)) as database:
        assert database.execute("SELECT version FROM meta").fetchall() == [(NEWEST + 1,)]
        assert database.execute("SELECT count(*) FROM added").fetchall() == [(0,)]


def test_a_place_where_nothing_can_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StoreError, match="not to be made"):
        AuditStore.open(tmp_path / "file" / "state" / "audit.duckdb", Clock())
    (tmp_path / "audit.duckdb").mkdir()
    with pytest.raises(StoreError, match=r"audit\.duckdb"):
        duckdb_store(tmp_path, Clock())


async def test_no_extension_is_fetched_and_no_query_leaves_the_file(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        rows = await store._database.call(
            lambda session: session.rows(
                "SELECT name, value FROM duckdb_settings() WHERE name IN ('autoinstall_known_extensions', "
                "'autoload_known_extensions', 'enable_external_access', 'memory_limit', 'threads')"
            ),
            timeout_s=TIMEOUT_S,
        )
        found = dict(rows)
        assert [found[name] for name in sorted(found) if name != "memory_limit"] == ["false", "false", "false", "2"]
        with pytest.raises(StoreError, match="disabled"):
            await store._database.call(
                lambda session: session.rows("FROM read_csv('/etc/passwd')"), timeout_s=TIMEOUT_S
            )


async def test_less_memory_than_is_needed_is_told(tmp_path: Path) -> None:
    store = AuditStore.open(tmp_path / "audit.duckdb", Clock(NOW), settings=Settings(memory_mb=50))
    try:
        with pytest.raises(StoreError, match="Ask for fewer nodes or a shorter time"):
            await store._database.call(
                lambda session: session.rows("SELECT len(list(range)) FROM range(20000000)"), timeout_s=PATIENCE_S
            )
        assert await store.facts.nodes(timeout_s=TIMEOUT_S) == ()
    finally:
        await store.close()
