"""Secret references -> secrets, at the moment of use. The only I/O of this room besides reading the file."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from backstay.estate.files import Unreadable, locate, read_bytes
from backstay.estate.model import CommandSecret, EnvSecret, FileSecret, Secret

SECRET_LIMIT_BYTES = 64 * 1024
COMMAND_TIMEOUT_S = 10.0


class SecretUnavailable(Exception):
    """A secret could not be had: which reference, why, what next. Never holds the secret."""


async def resolve(
    secret: Secret, folder: Path, *, env: Mapping[str, str] | None = None, timeout_s: float = COMMAND_TIMEOUT_S
) -> str:
    """The secret behind a reference, without the newline at its end. Raises SecretUnavailable."""
    match secret:
        case EnvSecret():
            raw = _from_env(secret, os.environ if env is None else env)
        case FileSecret():
            raw = _from_file(locate(folder, secret.file))
        case CommandSecret():
            raw = await _from_command(secret, folder, timeout_s)
    value = raw.rstrip("\r\n")
    if not value:
        raise SecretUnavailable(f"{describe(secret)} is empty. Put the secret there.")
    return value


def describe(secret: Secret) -> str:
    """The reference, for messages."""
    match secret:
        case EnvSecret():
            return f"The environment variable {secret.env}"
        case FileSecret():
            return f"The file {secret.file}"
        case CommandSecret():
            return f"The output of {secret.command[0]}"


def _from_env(secret: EnvSecret, env: Mapping[str, str]) -> str:
    if secret.env not in env:
        raise SecretUnavailable(f"{describe(secret)} is not set. Set it where this program starts.")
    return env[secret.env]


def _from_file(path: Path) -> str:
    try:
        return _text(read_bytes(path, SECRET_LIMIT_BYTES), str(path))
    except Unreadable as error:
        raise SecretUnavailable(f"{path}: {error}") from None


async def _from_command(secret: CommandSecret, folder: Path, timeout_s: float) -> str:
    what = describe(secret)
    try:
        process = await asyncio.create_subprocess_exec(
            *secret.command,
            cwd=folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,  # it may hold the secret; the exit code says enough
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise SecretUnavailable(f"{what}: not started: {error}.") from None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(timeout_s):
            raw = await process.stdout.read(SECRET_LIMIT_BYTES + 1)
            while len(raw) <= SECRET_LIMIT_BYTES and (more := await process.stdout.read(SECRET_LIMIT_BYTES)):
                raw += more
            text = _text(raw, what)
            code = await process.wait()
    except TimeoutError:
        raise SecretUnavailable(f"{what}: no answer in {timeout_s:g} s. Run it by hand to see why.") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)  # its children too: the session is its own
            await process.wait()
    if code != 0:
        raise SecretUnavailable(f"{what}: exit code {code}. Run it by hand to see why.")
    return text


def _text(raw: bytes, what: str) -> str:
    if len(raw) > SECRET_LIMIT_BYTES:
        raise SecretUnavailable(f"{what}: over {SECRET_LIMIT_BYTES} bytes, so it is no secret. Check the reference.")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise SecretUnavailable(f"{what}: not UTF-8 text. Check the reference.") from None
