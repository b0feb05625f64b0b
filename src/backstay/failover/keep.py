"""A candidate's memory on disk: `STATE/failover/IP.json`, replaced atomically.

A full disk stops no takeover: then the memory is held, its fault said, and it is written when there is room.
"""

from __future__ import annotations

import json
from pathlib import Path

from backstay.failover.memory import Memory, from_json, to_json
from backstay.journal.disk import Disk, replace_file

LIMIT_BYTES = 4 * 2**20  # 256 silences for each of a thousand candidates fit


class Keep:
    """The memory of one address."""

    def __init__(self, path: Path, disk: Disk | None = None) -> None:
        self._path = path
        self._disk = disk or Disk()
        self.fault = ""  # why what is held is not on disk; "" when it is

    def load(self, now_s: float) -> tuple[Memory, str]:
        """What was kept, and what was wrong with it ("" when nothing was). Never raises."""
        try:
            with self._path.open("rb") as file:
                raw = file.read(LIMIT_BYTES + 1)
        except FileNotFoundError:
            return Memory(), ""
        except OSError as error:
            return Memory(), f"{self._path}: {error.strerror}. Going on with nothing remembered."
        try:
            return from_json(json.loads(raw), now_s), ""
        except (ValueError, RecursionError) as error:
            # Set aside, never deleted: whether this one was quarantined is a question that somebody will ask.
            self._set_aside()
            return Memory(), f"{self._path}: damaged ({error}), set aside. Going on with nothing remembered."

    def save(self, memory: Memory, now_s: float) -> bool:
        """True once it is durable. Never raises."""
        data = json.dumps(to_json(memory, now_s), separators=(",", ":")).encode() + b"\n"
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_file(self._disk, self._path, data)
        except OSError as error:
            self.fault = f"{self._path}: {error.strerror}"
            return False
        self.fault = ""
        return True

    def _set_aside(self) -> None:
        try:
            self._disk.rename(self._path, self._path.with_name(self._path.name + ".damaged"))
        except OSError as error:
            self.fault = f"{self._path}: {error.strerror}"
