"""Adopting an estate: its faults, what it would alter in words, and that nobody was quicker."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from backstay.estate import Estate, EstateFaults, Fault, Loaded, load_text
from backstay.journal import Event, new_id
from backstay.link.wire import ESTATE_LIMIT_CHARS
from backstay.server.model import EstateRevision, Snapshot
from backstay.server.weigh import difference

NAME = "estate"  # of the text, in its faults
WORDS_LIMIT = 200  # lines of the difference that are journaled


class EstateStale(Exception):
    """Another estate was adopted since the plan was made: look at the difference again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EstatePlan:
    """What adopting a text would do. With `faults` it cannot be adopted."""

    sha256: str  # of the text
    against: str | None  # sha256 of the estate in force; None: there is none yet
    faults: tuple[str, ...] = ()  # where, what, what next; in the order of the text
    words: tuple[str, ...] = ()  # the difference; empty: none
    warnings: tuple[str, ...] = ()  # what holds and is still unwise


def plan(text: str, snapshot: Snapshot) -> EstatePlan:
    """Never raises for what is in the text."""
    digest, against = sha256_of(text), snapshot.adopted.sha256 if snapshot.adopted else None
    try:
        loaded = _load(text)
        _same_estate(snapshot.estate, loaded.estate)
    except EstateFaults as faults:
        return EstatePlan(sha256=digest, against=against, faults=tuple(map(str, faults.faults)))
    return EstatePlan(
        sha256=digest,
        against=against,
        words=difference(snapshot.estate, loaded.estate),
        warnings=tuple(map(str, loaded.warnings)),
    )


def check(text: str, snapshot: Snapshot, expect_sha256: str | None) -> None:
    """Raises EstateStale, or EstateFaults with every fault."""
    against = snapshot.adopted.sha256 if snapshot.adopted else None
    if against not in (expect_sha256, sha256_of(text)):
        by = f" by {snapshot.adopted.actor} ({snapshot.adopted.reason})" if snapshot.adopted else ""
        raise EstateStale(f"Another estate was adopted{by} since you looked. Look at the difference again.")
    _same_estate(snapshot.estate, _load(text).estate)


def adopted(
    text: str, snapshot: Snapshot, actor: str, reason: str, now: datetime
) -> tuple[EstateRevision, Event]:  # fmt: skip
    """The revision to store, and the event that tells of it."""
    number = snapshot.adopted.number + 1 if snapshot.adopted else 1
    one = EstateRevision(number=number, text=text, sha256=sha256_of(text), actor=actor, reason=reason, at=now)
    words = difference(snapshot.estate, _load(text).estate)
    data = {"number": number, "sha256": one.sha256, "difference": [line[:200] for line in words[:WORDS_LIMIT]]}
    event = Event(
        id=new_id(), time=now, kind="estate.adopted", subject="estate", actor=actor, reason=reason, data=data
    )  # fmt: skip
    return one, event


def sha256_of(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _load(text: str) -> Loaded:
    if len(text) > ESTATE_LIMIT_CHARS:
        said = f"{len(text)} characters, at most {ESTATE_LIMIT_CHARS}."
        raise EstateFaults([Fault(where=NAME, message=said)])
    return load_text(text, NAME, Path())


def _same_estate(old: Estate | None, new: Estate) -> None:
    """Agents refuse another estate's word; so does the server, before anything is stored."""
    if old is not None and old.estate != new.estate:
        said = f'This is the estate "{new.estate}", and this server has "{old.estate}". Run another server for it.'
        raise EstateFaults([Fault(where=NAME, path="estate", message=said)])
