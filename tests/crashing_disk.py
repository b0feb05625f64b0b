"""A disk that fails or crashes at a chosen operation, and forgets at a power cut what was not fsynced.

It works on real files, so that what the code finds afterwards is what a real restart would find.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from backstay.journal.disk import Disk


class Crash(BaseException):
    """The process ended here. No `except Exception` of the code may stop it."""


class CrashingDisk(Disk):
    """Crashes at operation number `crash_at` (1, 2, ...): before it, half through it, or after it.

    `failing` operations (by name) raise OSError(`error`) instead, as long as they are named there.
    """

    def __init__(self, crash_at: int = 0, where: str = "before") -> None:
        self.crash_at = crash_at
        self.where = where
        self.operations = 0
        self.failing: set[str] = set()
        self.error = errno.ENOSPC
        self._paths: dict[int, Path] = {}
        self._synced_bytes: dict[Path, int] = {}
        self._unsynced_names: dict[Path, bytes | None] = {}  # name -> content to go back to (None: no such file)

    # -- the operations --------------------------------------------------------------------------------------

    def open_append(self, path: Path) -> int:
        def act() -> int:
            if not path.exists():
                self._unsynced_names.setdefault(path, None)
            fd = super(CrashingDisk, self).open_append(path)
            self._paths[fd] = path
            self._synced_bytes.setdefault(path, 0)
            return fd

        return self._step("open_append", act)

    def create(self, path: Path) -> int:
        def act() -> int:
            self._unsynced_names.setdefault(path, None)
            fd = super(CrashingDisk, self).create(path)
            self._paths[fd] = path
            self._synced_bytes[path] = 0
            return fd

        return self._step("create", act)

    def write(self, fd: int, data: bytes) -> None:
        if "write" in self.failing:
            os.write(fd, data[: len(data) // 2])  # a full disk takes what fits
        if self.operations + 1 == self.crash_at and self.where == "half":
            os.write(fd, data[: len(data) // 2])
        self._step("write", lambda: super(CrashingDisk, self).write(fd, data))

    def fsync(self, fd: int) -> None:
        def act() -> None:
            if fd in self._paths:
                self._synced_bytes[self._paths[fd]] = os.fstat(fd).st_size
            else:  # a folder
                folder = Path(f"/proc/self/fd/{fd}").readlink()
                for path in [path for path in self._unsynced_names if path.parent == folder]:
                    del self._unsynced_names[path]

        self._step("fsync", act)  # the files are on a real disk: fsyncing them would only be slow

    def truncate(self, fd: int, size_bytes: int) -> None:
        def act() -> None:
            super(CrashingDisk, self).truncate(fd, size_bytes)
            path = self._paths[fd]
            self._synced_bytes[path] = min(self._synced_bytes[path], size_bytes)

        self._step("truncate", act)

    def close(self, fd: int) -> None:
        self._paths.pop(fd, None)
        super().close(fd)

    def rename(self, old: Path, new: Path) -> None:
        def act() -> None:
            before = new.read_bytes() if new.exists() else None
            self._unsynced_names.setdefault(new, before)
            super(CrashingDisk, self).rename(old, new)
            self._synced_bytes[new] = self._synced_bytes.pop(old, 0)
            self._unsynced_names.pop(old, None)

        self._step("rename", act)

    def unlink(self, path: Path) -> None:
        def act() -> None:
            if path.exists():
                self._unsynced_names.setdefault(path, path.read_bytes())
            super(CrashingDisk, self).unlink(path)

        self._step("unlink", act)

    def _step(self, name: str, act):  # type: ignore[no-untyped-def]
        self.operations += 1
        due = self.operations == self.crash_at
        if due and self.where in ("before", "half"):
            raise Crash(f"before {name}")
        if name in self.failing:
            raise OSError(self.error, os.strerror(self.error))
        result = act()
        if due:
            raise Crash(f"after {name}")
        return result

    # -- what a power cut leaves -----------------------------------------------------------------------------

    def cut_power(self, *, torn_bytes: int = 0) -> None:
        """Take back what was not fsynced: bytes at the ends of files (all but `torn_bytes`), and names."""
        for path, size in self._synced_bytes.items():
            if path.exists() and path.stat().st_size > size:
                os.truncate(path, min(path.stat().st_size, size + torn_bytes))
        for path, before in self._unsynced_names.items():
            if before is None:
                path.unlink(missing_ok=True)
            else:
                path.write_bytes(before)
