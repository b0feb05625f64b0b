"""Files that the estate is in or names: where they are, and reading them within limits."""

from __future__ import annotations

import os
import stat
from pathlib import Path

FILE_LIMIT_BYTES = 4 * 1024 * 1024  # of an estate file


class Unreadable(Exception):
    """A file could not be read: which, why, what next."""


def locate(folder: Path, name: str) -> Path:
    """Where a file that the estate names is: relative names are relative to the estate file's folder."""
    return folder / name


def read_bytes(path: Path, limit_bytes: int) -> bytes:
    """At most `limit_bytes` + 1 bytes of a regular file: a longer one is seen to be longer. Raises Unreadable."""
    try:
        # O_NONBLOCK: a named pipe must not hang us.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
            content = file.read(limit_bytes + 1) if regular else b""
    except IsADirectoryError:
        regular, content = False, b""
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise Unreadable(f"{reason}. Check the name, and who may read it.") from None
    if not regular:
        raise Unreadable("It is no regular file. Name a file.")
    return content
