"""`STATE/link.json`: with which server this load balancer is enrolled, and what it needs to be let in.

Mode 0600 (it holds the credential), replaced atomically. `backstay agent enrol` writes it, and the agent when it renews
its credential; an agent that runs follows a new one within seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import AwareDatetime, TypeAdapter, ValidationError

from backstay.journal.disk import Disk, replace_file
from backstay.link.follow import Pinned

FORMAT = 1
LIMIT_BYTES = 1_048_576
RENEW_AFTER = timedelta(days=30)


class LinkDamaged(Exception):
    """STATE/link.json cannot be used: why, what next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """What was agreed with a server."""

    id: str  # of this enrolment; a new one makes what is kept of the server's word begin anew
    url: str  # "https://backstay.example.com:8443"
    ca: str  # PEM: who may vouch for the server, and nobody else
    server: str  # its identity
    estate: str
    lb: str
    credential: str
    issued_at: AwareDatetime  # the credential
    format: int = FORMAT

    @property
    def pinned(self) -> Pinned:
        return Pinned(server=self.server, estate=self.estate, lb=self.lb)

    def due(self, now: datetime) -> bool:
        """Is it time for another credential?"""
        return now - self.issued_at >= RENEW_AFTER

    def renewed(self, credential: str, now: datetime) -> Enrolment:
        return replace(self, credential=credential, issued_at=now)


_ENROLMENT = TypeAdapter(Enrolment)


class EnrolmentFile:
    """The file, and whether it was replaced since it was read last."""

    def __init__(self, path: Path, disk: Disk | None = None) -> None:
        self._path = path
        self._disk = disk or Disk()
        self._seen: tuple[int, int] | None = None
        self._read_once = False

    def altered(self) -> bool:
        """Somebody put another one there, or took it away, since the last `load` or `save`. One stat."""
        return not self._read_once or self._stamp() != self._seen

    def load(self, lb: str) -> Enrolment | None:
        """None: not enrolled. Raises LinkDamaged, also for the enrolment of another load balancer than `lb`."""
        self._seen, self._read_once = self._stamp(), True
        try:
            with self._path.open("rb") as file:
                raw = file.read(LIMIT_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise LinkDamaged(f"{self._path}: {error.strerror}. The agent goes on without its server.") from error
        try:
            read = _ENROLMENT.validate_json(raw)
        except ValidationError as error:
            raise LinkDamaged(
                f"{self._path}: damaged ({error.error_count()} faults). The agent goes on without its server; "
                "backstay agent enrol writes it anew."
            ) from None
        if read.format != FORMAT:
            raise LinkDamaged(f"{self._path}: written by another version. Enrol again: backstay agent enrol")
        if read.lb != lb:
            raise LinkDamaged(f"{self._path}: of {read.lb}, and this is {lb}. Enrol it: backstay agent enrol")
        return read

    def save(self, enrolment: Enrolment) -> None:
        """Replace it, durably. Raises OSError; the one before is still there then."""
        replace_file(self._disk, self._path, _ENROLMENT.dump_json(enrolment, indent=1) + b"\n")
        self._seen, self._read_once = self._stamp(), True

    def _stamp(self) -> tuple[int, int] | None:
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_ino, stat.st_mtime_ns
