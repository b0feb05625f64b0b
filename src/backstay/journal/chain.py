"""The hash chain over the journal: each link holds the hash of the one before. Pure.

hash(n) = SHA-256(hash(n-1) || canonical JSON of event n), hash(0) = 64 zeros, all in hex. Whoever alters, removes
or moves a link breaks the chain at that place, and would have to write every later link anew; the newest hash,
noted elsewhere, shows even that (Haber & Stornetta, "How to time-stamp a digital document", 1991).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from backstay.journal.model import Event
from backstay.journal.wire import EventInvalid, encode

GENESIS = "0" * 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """An event at its place in the chain."""

    seq: int  # 1, 2, 3, ... without gaps
    event: Event
    previous: str  # hash of the link before; GENESIS for the first
    hash: str


class Fault(StrEnum):
    ALTERED = "altered"  # the event is not the one that was hashed
    MISSING = "missing"  # links before it are gone
    REORDERED = "reordered"  # it stood elsewhere


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """The first link that does not hold."""

    seq: int
    event_id: str
    fault: Fault
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """The chain holds from its first link to its newest."""

    links: int
    head: str  # hash of the newest link: note it elsewhere, and nobody can write the journal anew unseen


def link_hash(previous: str, event: Event) -> str:
    """The hash of `event` after the link whose hash is `previous`. Raises EventInvalid for what is no event."""
    return hashlib.sha256(previous.encode() + encode(event)).hexdigest()


def extend(seq: int, previous: str, events: Iterable[Event]) -> list[Link]:
    """Links for `events` after link number `seq`, whose hash is `previous`."""
    links: list[Link] = []
    for event in events:
        seq += 1
        digest = link_hash(previous, event)
        links.append(Link(seq=seq, event=event, previous=previous, hash=digest))
        previous = digest
    return links


def verify(links: Iterable[Link], *, known: Callable[[str], bool]) -> Whole | Broken:
    """Go through `links` in the order of `seq` and name the first that is broken.

    `known` says whether a hash is that of any link in the log: it tells a link that was moved (the link before it
    is elsewhere) from one whose predecessor is gone. Holds one link at a time, so a log of any length will do.
    """
    seq, previous = 0, GENESIS
    for link in links:
        broken = _check(link, seq, previous, known)
        if broken is not None:
            return broken
        seq, previous = link.seq, link.hash
    return Whole(links=seq, head=previous)


def _check(link: Link, seq: int, previous: str, known: Callable[[str], bool]) -> Broken | None:
    def broken(fault: Fault, sentence: str) -> Broken:
        return Broken(seq=link.seq, event_id=link.event.id, fault=fault, sentence=sentence)

    try:
        digest = link_hash(link.previous, link.event)
    except EventInvalid as error:
        return broken(Fault.ALTERED, f"link {link.seq} is altered: {error}")
    if digest != link.hash:
        return broken(
            Fault.ALTERED, f"link {link.seq} ({link.event.kind}) is altered: its hash is that of another event"
        )
    if link.previous == previous and link.seq == seq + 1:
        return None
    if link.previous == previous:
        # It follows the right link, under a number that is not the next: nobody but a hand does that.
        return broken(Fault.REORDERED, f"link {link.seq} is numbered wrongly: it is number {seq + 1}")
    if link.previous == GENESIS or known(link.previous):
        return broken(Fault.REORDERED, f"link {link.seq} is out of its place: the link before it stands elsewhere")
    gone = link.seq - seq - 1
    what = {0: "the link that it follows is gone", 1: f"link {seq + 1} is gone"}.get(
        gone, f"links {seq + 1} to {link.seq - 1} are gone"
    )
    return broken(Fault.MISSING, f"before link {link.seq}: {what} (removed or replaced)")
