"""`STATE/followed.json`: what is kept of the server's word. Durable before anything follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from backstay.agent.link.enrolment import Enrolment
from backstay.journal.disk import Disk, replace_file
from backstay.link.follow import Followed

LIMIT_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    format: Literal[1] = 1
    server: str
    enrolment: str
    followed: Followed


_KEPT = TypeAdapter(_Kept)


class FollowedFile:
    """The file of one load balancer."""

    def __init__(self, path: Path, disk: Disk | None = None) -> None:
        self._path = path
        self._disk = disk or Disk()

    def load(self, enrolment: Enrolment) -> tuple[Followed, str]:
        """What was kept, and what was wrong with it ("" when nothing was). Never raises.

        After a new enrolment the revision begins anew; what the server has put and ordered before is still known,
        when it is the same server.
        """
        try:
            with self._path.open("rb") as file:
                raw = file.read(LIMIT_BYTES + 1)
            kept = _KEPT.validate_json(raw)
        except FileNotFoundError:
            return Followed(), ""
        except OSError as error:
            fault = f"{self._path}: {error.strerror}. What the server has ordered before is not known."
            return Followed(forgot=True), fault
        except ValidationError as error:
            self._set_aside()
            fault = f"{self._path}: damaged ({error.error_count()} faults), set aside."
            return Followed(forgot=True), f"{fault} What the server has ordered before is not known."
        if kept.enrolment == enrolment.id:
            return kept.followed, ""
        if kept.server != enrolment.server:
            return Followed(), ""
        return Followed(changes=kept.followed.changes, orders=kept.followed.orders), ""

    def save(self, followed: Followed, enrolment: Enrolment) -> None:
        """Raises OSError; what was kept before is still there then."""
        kept = _Kept(server=enrolment.server, enrolment=enrolment.id, followed=followed)
        replace_file(self._disk, self._path, _KEPT.dump_json(kept) + b"\n")

    def _set_aside(self) -> None:
        try:
            self._disk.rename(self._path, self._path.with_name(self._path.name + ".damaged"))
        except OSError:
            return  # the next `save` replaces it
