"""States as people see them: a word, a tone and an icon, so that no state is told by its colour alone. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Tone(StrEnum):
    """How much it matters; also the class of console.css and the icon where a state has none of its own."""

    OK = "ok"
    IDLE = "idle"  # nothing is known, or nothing is to be
    INFO = "info"  # as somebody asked for
    WARN = "warn"
    BAD = "bad"


_ORDER = {tone: place for place, tone in enumerate(Tone)}


def worst(tones: Iterable[Tone]) -> Tone:
    """The one that matters most; OK of none."""
    return max(tones, key=_ORDER.__getitem__, default=Tone.OK)


def severity(tone: Tone) -> int:
    """For sorting: larger matters more."""
    return _ORDER[tone]


@dataclass(frozen=True, slots=True)
class Standing:
    """A state of something: "active", OK."""

    word: str
    tone: Tone
    icon: str = ""  # of icons.svg; "": the tone's

    @property
    def picture(self) -> str:
        return self.icon or self.tone.value


UNKNOWN = Standing("not seen", Tone.IDLE)
NOT_SERVING = Standing("no pool", Tone.IDLE)

BACKEND = {
    "active": Standing("active", Tone.OK),
    "draining": Standing("draining", Tone.INFO, "drain"),
    "down": Standing("down", Tone.BAD),
}

CANDIDATE = {
    "active": Standing("active", Tone.OK, "holds"),
    "watching": Standing("watching", Tone.OK),
    "suspecting": Standing("suspecting", Tone.BAD, "warn"),
    "taking": Standing("taking", Tone.WARN, "move"),
    "holding": Standing("holding", Tone.WARN, "holds"),
    "quarantined": Standing("quarantined", Tone.WARN, "quarantined"),
    "frozen": Standing("frozen", Tone.INFO, "frozen"),
}

REASON = {
    "holder_answers": "the holder answers",
    "not_convinced": "not convinced yet",
    "holder_dead": "the holder is dead",
    "no_holder": "nobody holds it",
    "i_hold": "it holds the address",
    "quarantined": "it lost the address and waits for a person",
    "frozen": "no automatic takeover: frozen by a person",
    "isolated": "it reaches nobody: the fault may be its own",
    "self_unhealthy": "its own engine does not answer",
    "foreign_owner": "the address is routed to a machine that is no candidate",
    "owner_unknown": "the provider has not said who holds it",
    "in_flight": "a takeover is under way",
    "not_my_turn": "a preferred candidate comes first",
    "lost_address": "it lost the address",
    "taken_already": "it took it once already; a person looks before the next time",
}

DEATH = {
    "host": "nothing answers",
    "hung": "the host answers, the engine says nothing",
    "refused": "the host says that nothing listens",
    "tls": "HTTP answers, HTTPS does not",
}

LEVEL = {
    "maintenance": "maintenance of a node",
    "power_or_network": "loss of a machine, a power feed or a switch",
    "zone": "loss of a zone",
    "region": "loss of a region",
    "provider": "loss of a provider",
}


def candidate(state: str) -> Standing:
    return CANDIDATE.get(state) or Standing(state, Tone.IDLE)


def backend(state: str) -> Standing:
    return BACKEND.get(state) or Standing(state, Tone.IDLE)


def listed(names: Iterable[str], limit: int = 6) -> str:
    """Names for a sentence: "web1, web2 and 10 more"."""
    every = list(names)
    more = len(every) - limit
    return ", ".join(every[:limit]) + (f" and {more} more" if more > 0 else "") if every else "none"


def counted(count: int, one: str, many: str = "") -> str:
    """ "1 node", "3 nodes"."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
