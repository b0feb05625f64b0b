"""Which estate is in force: the file's, one that was applied through the API, the server's, or the last good one.

The last word wins. An applied estate, and the server's, stay in force across restarts until the file itself is
altered; a bad file never replaces a good estate. `STATE/estate.yaml` is what is in force, `STATE/adopted.json` how it
came to be.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from backstay.agent.host.parse import EstateRefused, Parse, Parsed, parse_apart
from backstay.agent.paths import StateFiles
from backstay.estate import Estate
from backstay.estate.files import FILE_LIMIT_BYTES, Unreadable, read_bytes
from backstay.estate.select import load_balancers, tier_of
from backstay.journal.disk import Disk, replace_file


class Source(StrEnum):
    FILE = "file"  # the estate file
    APPLIED = "applied"  # through the API, after the file was last altered
    SERVER = "server"  # the server's, after the file was last altered
    LAST_GOOD = "last-good"  # the file is bad or gone


_OVERRULE = (Source.APPLIED, Source.SERVER)  # stay in force across restarts until the file itself is altered


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """An estate in force on this load balancer."""

    estate: Estate
    text: str
    source: Source
    folder: Path  # relative file names of the estate are relative to it
    warning: str = ""  # why it is the last good one

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


class Adoption:
    """Decides at a start, a reload and an apply, and keeps the outcome."""

    def __init__(self, file: Path, lb: str, files: StateFiles, parse: Parse = parse_apart) -> None:
        self._file = file
        self._folder = file.resolve().parent
        self._lb = lb
        self._files = files
        self._parse = parse
        self._disk = Disk()

    def start(self) -> Adopted:
        """What to start with. Raises EstateRefused when neither the file nor a last good estate will do."""
        by = self._overruled_by()
        if by is not None:
            kept = self.last_good("")
            if kept is not None:
                return replace(kept, source=by)
        try:
            return self._given()
        except EstateRefused as refused:
            kept = self.last_good(f"the estate file is refused, the last good estate goes on: {refused}")
            if kept is None:
                raise
            return kept

    def last_good(self, warning: str) -> Adopted | None:
        """The estate that was kept last; None when there is none, or none that still holds."""
        try:
            kept = self._checked(read_bytes(self._files.estate, FILE_LIMIT_BYTES).decode())
        except (Unreadable, UnicodeDecodeError, EstateRefused):
            return None
        return replace(self._adopted(kept, Source.LAST_GOOD), warning=warning)

    def reread(self, current: Adopted) -> Adopted:
        """The file as it is now, not yet in force. Raises EstateRefused.

        A file that was not altered since an estate was applied does not take that back: then it is `current`.
        """
        if current.source in _OVERRULE and self._overruled_by() is not None:
            return current
        return self._given()

    def parse(self, text: str, source: Source = Source.APPLIED) -> Adopted:
        """An estate from elsewhere than the file, not yet in force. Raises EstateRefused."""
        return self._adopted(self._checked(text), source)

    def keep(self, adopted: Adopted) -> None:
        """Make `adopted` the last good estate, durably. Raises OSError.

        The record first: after a crash in between, the estate that is kept is one that was in force before.
        """
        record = {"source": adopted.source.value, "file_sha256": self._file_sha256()}
        replace_file(self._disk, self._files.adopted, json.dumps(record).encode() + b"\n")
        replace_file(self._disk, self._files.estate, adopted.text.encode())

    def _overruled_by(self) -> Source | None:
        """Who put an estate in force after the file was last altered; None: nobody did."""
        try:
            record = json.loads(self._files.adopted.read_bytes())
        except (OSError, ValueError):
            return None
        file_sha256 = self._file_sha256()
        return next((by for by in _OVERRULE if record == {"source": by, "file_sha256": file_sha256}), None)

    def _file_sha256(self) -> str:
        """Of the file as it is now; "" when it cannot be read."""
        try:
            return hashlib.sha256(read_bytes(self._file, FILE_LIMIT_BYTES)).hexdigest()
        except Unreadable:
            return ""

    def _given(self) -> Adopted:
        """The file as it is now."""
        return self._adopted(self._checked(self._file), Source.FILE)

    def _checked(self, source: Path | str) -> Parsed:
        parsed = self._parse(source, self._folder)
        self._check_lb(parsed.estate)
        return parsed

    def _check_lb(self, estate: Estate) -> None:
        if tier_of(estate, self._lb) is None:
            known = ", ".join(load_balancers(estate)) or "none"
            raise EstateRefused(
                f"{self._lb} is in no tier of estate {estate.estate}. Load balancers: {known}. "
                "Add it to the members of a tier, or run as another node (--as)."
            )

    def _adopted(self, parsed: Parsed, source: Source) -> Adopted:
        return Adopted(estate=parsed.estate, text=parsed.text, source=source, folder=self._folder)
