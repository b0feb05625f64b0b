"""`backstay notify test` as a person runs it: an estate file, and no agent."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest
from notify_servers import Rig

from backstay.lab.provider import Answer

ESTATE = Path(__file__).parents[3] / "examples" / "minimal.yaml"


async def run(folder: Path, estate: str, *arguments: str) -> tuple[int, str, str]:
    """Exit status, stdout, stderr."""
    (folder / "backstay.yaml").write_text(estate)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "backstay.cli.main", "notify", "test", "-e", str(folder / "backstay.yaml"), *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def estate_with(rig: Rig) -> str:
    return f"{ESTATE.read_text()}\nnotify: {rig.notify.model_dump_json(exclude_none=True)}\n"


async def test_a_test_page_arrives_and_says_that_it_is_one(rig: Rig) -> None:
    code, out, err = await run(rig.folder, estate_with(rig), "-o", "json")

    assert code == 0, err
    (row,) = json.loads(out)
    assert (row["channel"], row["result"]) == (rig.name, "delivered")
    ((_, text),) = rig.inbox.got
    assert "test page" in text


@pytest.mark.parametrize(("answer", "result"), [(Answer.DENIED, "refused"), (Answer.DOWN, "failed")])
async def test_a_channel_that_does_not_take_it_is_told_with_its_reason(rig: Rig, answer: Answer, result: str) -> None:
    rig.faults.set(answer)
    code, out, _ = await run(rig.folder, estate_with(rig), "--channel", rig.name, "-o", "json")
    assert code == 1
    (row,) = json.loads(out)
    assert row["result"] == result
    assert row["detail"]


async def test_a_channel_that_the_estate_has_not_is_a_usage_error(rig: Rig) -> None:
    code, _, err = await run(rig.folder, estate_with(rig), "--channel", "pigeon")
    assert (code, err) == (2, f'"pigeon" is no channel of {rig.folder / "backstay.yaml"}. Channels: {rig.name}.\n')


async def test_an_estate_that_names_nobody_is_told_what_to_add(tmp_path: Path) -> None:
    code, _, err = await run(tmp_path, ESTATE.read_text())
    assert code == 1
    assert "Add `notify`" in err
