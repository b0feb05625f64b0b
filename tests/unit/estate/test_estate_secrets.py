"""Secret references -> secrets, within limits; a failure names the reference and never the secret."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest

from backstay.estate.model import CommandSecret, EnvSecret, FileSecret, Secret
from backstay.estate.secrets import SECRET_LIMIT_BYTES, SecretUnavailable, resolve


def python(code: str) -> CommandSecret:
    return CommandSecret(command=(sys.executable, "-c", code))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] not in "ZX"
    except FileNotFoundError:
        return False


async def test_each_kind_of_reference_gives_its_secret(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hunter2\n")
    assert await resolve(EnvSecret(env="T"), tmp_path, env={"T": "hunter2"}) == "hunter2"
    assert await resolve(FileSecret(file="token"), tmp_path) == "hunter2"
    assert await resolve(FileSecret(file=str(tmp_path / "token")), Path("/")) == "hunter2"
    assert await resolve(python("print('hunter2')"), tmp_path) == "hunter2"


@pytest.mark.parametrize(
    ("secret", "says"),
    [
        (EnvSecret(env="NONE"), "variable NONE is not set"),
        (EnvSecret(env="EMPTY"), "variable EMPTY is empty"),
        (FileSecret(file="none"), "No such file"),
        (FileSecret(file="folder"), "no regular file"),
        (FileSecret(file="pipe"), "no regular file"),
        (FileSecret(file="bytes"), "not UTF-8"),
        (FileSecret(file="large"), "no secret"),
        (FileSecret(file="a\0b"), "null"),
        (CommandSecret(command=("/no/such/program",)), "not started"),
        (CommandSecret(command=("a\0b",)), "not started"),
        (python("print('hunter2'); raise SystemExit(7)"), "exit code 7"),
        (python("pass"), "is empty"),
        (python("print('x' * 100_000_000)"), "no secret"),
    ],
    ids=str,
)
async def test_what_cannot_be_had_says_which_reference_and_what_next(secret: Secret, says: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    (tmp_path / "large").write_bytes(b"x" * (SECRET_LIMIT_BYTES + 1))
    with pytest.raises(SecretUnavailable, match=says) as raised:
        await resolve(secret, tmp_path, env={"EMPTY": "\n"})
    assert "hunter2" not in str(raised.value)


async def test_a_command_that_never_answers_is_ended_with_its_children(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, pathlib, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "pathlib.Path('pid').write_text(str(child.pid))\n"
        "time.sleep(600)\n"
    )
    with pytest.raises(SecretUnavailable, match="no answer in"):
        await resolve(python(code), tmp_path, timeout_s=3.0)
    deadline = time.monotonic() + 30
    while alive(int((tmp_path / "pid").read_text())):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
