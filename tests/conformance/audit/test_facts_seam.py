"""Every source of facts keeps what ports.py promises: one suite, the real things behind it (facts_rigs.py)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from facts_rigs import GONE, RIGS, Rig, a_rig, an_sshd_with_programs

from backstay.audit.model import FactReport
from backstay.audit.ports import SourceError
from real_sshd import PROGRAM, Sshd

TIMEOUT_S = 30.0
DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    if PROGRAM is None:
        pytest.skip("no openssh-server on this machine")
    with an_sshd_with_programs(tmp_path_factory.mktemp("facts")) as sshd:
        yield sshd


@pytest.fixture(params=RIGS)
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    sshd = request.getfixturevalue("sshd") if request.param.endswith("ssh") else None
    async with a_rig(request.param, tmp_path, sshd) as made:
        yield made


async def read(rig: Rig, *nodes: str, timeout_s: float = TIMEOUT_S) -> list[FactReport]:
    source = rig.source()
    try:
        async with asyncio.timeout(DEADLINE_S):
            reports = list(await source.read(nodes, timeout_s=timeout_s))
    finally:
        await source.close()
    for report in reports:
        assert report.source == source.name
        assert report.time <= datetime.now(UTC)
        assert not report.values.keys() & report.unread.keys()
        assert all(isinstance(value, str) and value.isprintable() for value in report.values.values())
        assert bool(report.problem) == (not report.values)
    return reports


async def test_a_node_that_is_known_is_read_whole(rig: Rig) -> None:
    (report,) = await read(rig, "web1")
    assert report.node == "web1"
    assert report.values[rig.fact] == rig.value
    assert report.problem == ""
    assert "*" not in report.unread


async def test_an_unknown_node_is_a_report_of_its_own_and_holds_up_nobody(rig: Rig) -> None:
    reports = await read(rig, "web2", GONE, "web1", "never-heard-of")
    assert sorted(report.node for report in reports) == [GONE, "never-heard-of", "web1", "web2"]
    found = {report.node: report for report in reports}
    assert not found["web1"].problem
    assert not found["web2"].problem
    for lost in (found[GONE], found["never-heard-of"]):
        assert len(lost.problem) > 20
        assert not lost.problem.startswith(lost.node)  # whoever shows it says of which node it is
        assert list(lost.unread) == ["*"]  # unread, not absent


async def test_without_names_it_tells_all_that_it_knows(rig: Rig) -> None:
    found = {report.node.partition(".")[0]: report for report in await read(rig)}
    assert found["web1"].values[rig.fact] == rig.value
    assert found["web2"].values[rig.fact] == rig.value


@pytest.mark.not_for("osquery-folder", "a file that somebody else wrote whole")
async def test_a_node_that_is_half_read_says_what_it_could_not(rig: Rig) -> None:
    await rig.half()
    (report,) = await read(rig, "web1")
    assert report.values[rig.fact] == rig.value
    assert report.unread
    assert all(report.unread.values())  # each with its reason


async def test_a_node_of_which_nothing_can_be_read_is_a_problem_and_no_claim(rig: Rig) -> None:
    await rig.nothing()
    try:
        reports = await read(rig, "web1")
    except SourceError as error:  # the source as a whole
        assert len(str(error)) > 20
    else:
        assert not reports[0].values
        assert len(reports[0].problem) > 20
    await rig.well()
    assert (await read(rig, "web1"))[0].values[rig.fact] == rig.value


@pytest.mark.not_for("file", "local files do not stall")
@pytest.mark.not_for("folder", "local files do not stall")
@pytest.mark.not_for("ansible", "local files do not stall")
@pytest.mark.not_for("log", "local files do not stall")
async def test_what_takes_for_ever_ends_in_time_and_is_told(rig: Rig) -> None:
    await rig.stall()
    try:
        reports = await read(rig, "web1", timeout_s=1.0)
    except SourceError as error:
        assert "1" in str(error)
    else:
        assert not reports[0].values
        assert len(reports[0].problem) > 20


@pytest.mark.not_for("file", "local files do not stall")
@pytest.mark.not_for("folder", "local files do not stall")
@pytest.mark.not_for("ansible", "local files do not stall")
@pytest.mark.not_for("log", "local files do not stall")
async def test_a_read_that_is_cancelled_ends_and_leaves_the_source_usable(rig: Rig) -> None:
    source = rig.source()
    await rig.stall()
    stalled = rig.source()
    task = asyncio.create_task(stalled.read(["web1"], timeout_s=TIMEOUT_S))
    done, _ = await asyncio.wait([task], timeout=0.3)  # it is under way
    assert not done
    task.cancel()
    async with asyncio.timeout(DEADLINE_S):
        with pytest.raises(asyncio.CancelledError):
            await task
    await rig.well()
    (report,) = await source.read(["web1"], timeout_s=TIMEOUT_S)
    assert report.values[rig.fact] == rig.value
    await source.close()
    await stalled.close()


async def test_closing_twice_is_no_error(rig: Rig) -> None:
    source = rig.source()
    await source.read(["web1"], timeout_s=TIMEOUT_S)
    await source.close()
    await source.close()


async def test_reads_at_once_do_not_disturb_each_other(rig: Rig) -> None:
    source = rig.source()
    answers = await asyncio.gather(*(source.read(["web1"], timeout_s=TIMEOUT_S) for _ in range(2)))
    assert all(reports[0].values[rig.fact] == rig.value for reports in answers)
    await source.close()
