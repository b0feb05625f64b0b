"""Folders of configuration files: staged, checked, swapped in by one rename, the last good one kept.

A generation is a complete configuration, certificates included, so that the last good one still starts after a
certificate on disk was replaced by a broken one. Its id is the hash of its contents. A crash at any line leaves
`current` on a complete generation that the engine's own check has passed; the next apply goes on from there.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Literal

from backstay.balance.engines.tls import certificate_path
from backstay.balance.model import Desired, Files, HttpService
from backstay.balance.ports import ConfigRefused, EngineFailed

Pointer = Literal["current", "good"]
Marker = Callable[[str], Files]

_CERTIFICATE_LIMIT_BYTES = 1_048_576
_ID_LENGTH = 24


class Generations:
    """The folder `generations/` and the links `current` and `good` of one engine's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._store = folder / "generations"

    def prepare(self) -> None:
        """Make the folders. The engine's unprivileged workers pass through; what is secret is closed to them."""
        for path, mode in (
            (self.folder, 0o711),
            (self._store, 0o700),
            (self.folder / "run", 0o700),
            (self.folder / "log", 0o711),
        ):
            path.mkdir(mode=mode, parents=True, exist_ok=True)
            path.chmod(mode)

    def stage(self, files: Files, copies: Mapping[str, bytes], marker: Marker | None = None) -> str:
        """Write a generation (durably) and return its id; a generation that is there already is left as it is.

        `copies`: relative path -> bytes that are no rendered text (certificates, keys). `marker(id)`: files that tell
        the running engine's generation; they are not part of the hash, because they contain it.
        """
        contents = {path: text.encode() for path, text in files.items()} | dict(copies)
        identity = _identity(contents)
        target = self._store / identity
        if target.is_dir():
            return identity
        if marker is not None:
            contents |= {path: text.encode() for path, text in marker(identity).items()}
        scratch = self._store / f".{identity}.new"
        shutil.rmtree(scratch, ignore_errors=True)
        for path, content in contents.items():
            _write_durably(scratch / path, content)
        scratch.rename(target)
        _sync_folder(self._store)
        return identity

    def path(self, identity: str) -> Path:
        """Relative to the engine's folder, which is the engine's working directory."""
        return Path("generations") / identity

    def id_of(self, pointer: Pointer) -> str | None:
        """The generation that `pointer` names; None when there is none, or its folder is gone."""
        try:
            name = (self.folder / pointer).readlink().name
        except OSError:
            return None
        return name if (self._store / name).is_dir() else None

    def point(self, pointer: Pointer, identity: str) -> None:
        """Make `pointer` name `identity`, atomically and durably."""
        assert (self._store / identity).is_dir(), f"generation {identity} was never staged"
        if self.id_of(pointer) == identity:
            return
        fresh = self.folder / f".{pointer}.new"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(self.path(identity))
        fresh.replace(self.folder / pointer)
        _sync_folder(self.folder)

    async def start(self, identity: str, before: str | None, launch: Callable[[str], Awaitable[None]]) -> None:
        """Point `current` at `identity` and `launch` it; when that fails, the good generation `before`, and say so."""
        self.point("current", identity)
        try:
            await launch(identity)
        except EngineFailed as error:
            if before is None or before == identity:
                raise
            self.point("current", before)
            try:
                await launch(before)
            except EngineFailed as again:
                raise EngineFailed(f"{error} The last good configuration does not start either: {again}") from error
            raise EngineFailed(f"{error} The last good configuration was started instead.") from error

    def prune(self, *keep: str) -> None:
        """Forget every generation but `keep` and those that a pointer names."""
        kept = {*keep, self.id_of("current"), self.id_of("good")}
        for path in self._store.iterdir():
            if path.name not in kept:
                shutil.rmtree(path, ignore_errors=True)


def certificates(desired: Desired) -> dict[str, bytes]:
    """Copies of the certificates and keys: `tls/FINGERPRINT.pem` (chain) and `tls/FINGERPRINT.pem.key`.

    HAProxy finds the key beside the chain by that name. Raises ConfigRefused when one cannot be read.
    """
    copies: dict[str, bytes] = {}
    for service in desired.services:
        if isinstance(service, HttpService) and service.tls is not None:
            path = certificate_path(service.tls.fingerprint)
            copies[path] = _read_pem(service.name, "certificate", service.tls.certificate_file)
            copies[f"{path}.key"] = _read_pem(service.name, "key", service.tls.key_file)
    return copies


def _read_pem(service: str, what: str, path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            content = file.read(_CERTIFICATE_LIMIT_BYTES + 1)
    except OSError as error:
        raise ConfigRefused(f"services.{service}.tls.{what}: {path}: {error.strerror}. Correct the path.") from error
    if len(content) > _CERTIFICATE_LIMIT_BYTES:
        raise ConfigRefused(f"services.{service}.tls.{what}: {path} is over 1 MB. This is no PEM {what}.")
    return content


def _identity(contents: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for path in sorted(contents):
        # Lengths keep the boundary between a path and its content unmistakable.
        digest.update(f"{len(path)}:{path}:{len(contents[path])}:".encode())
        digest.update(contents[path])
    return digest.hexdigest()[:_ID_LENGTH]


def _write_durably(path: Path, content: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
