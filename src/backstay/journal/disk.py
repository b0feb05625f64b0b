"""The few file operations that durability is made of. One seam, so that a test can crash at each of them.

What survives a power cut on Linux: the bytes that were fsynced, and the names in a folder that was fsynced.
See fsync(2), rename(2), and "All File Systems Are Not Created Equal" (Pillai et al., OSDI 2014).
"""

from __future__ import annotations

import os
from pathlib import Path


class Disk:
    """The real disk. Each method raises OSError; `path` is shown by the caller."""

    def open_append(self, path: Path) -> int:
        """A descriptor that writes at the end of `path`; makes the file (mode 0600) when there is none."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def create(self, path: Path) -> int:
        """A descriptor for writing the emptied `path` (mode 0600)."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)

    def write(self, fd: int, data: bytes) -> None:
        """All of `data`; on failure any part of it may have been written."""
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]

    def fsync(self, fd: int) -> None:
        os.fsync(fd)

    def truncate(self, fd: int, size_bytes: int) -> None:
        os.ftruncate(fd, size_bytes)

    def close(self, fd: int) -> None:
        os.close(fd)

    def rename(self, old: Path, new: Path) -> None:
        os.replace(old, new)  # noqa: PTH105 - one line, one system call, like its neighbours

    def unlink(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def fsync_folder(self, folder: Path) -> None:
        """Make the names in `folder` durable: files made, renamed and removed."""
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.fsync(fd)
        finally:
            os.close(fd)


def replace_file(disk: Disk, path: Path, data: bytes) -> None:
    """Make `data` the content of `path`, durably: after a crash at any moment the file is the old one or the new.

    Raises OSError; then the old file is still in place (or the new one, when only the last fsync failed).
    """
    scratch = path.with_name(path.name + ".new")
    fd = disk.create(scratch)
    try:
        disk.write(fd, data)
        disk.fsync(fd)
    finally:
        disk.close(fd)
    disk.rename(scratch, path)
    disk.fsync_folder(path.parent)
