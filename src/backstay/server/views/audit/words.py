"""Grades, intervals and differences as people see them. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

from backstay.journal import EventInvalid, parse_time
from backstay.server.audit.model import GRADES, SPANS, TOLD_SPAN
from backstay.server.views.scene.words import Standing, Tone

GRADE: Mapping[str, Standing] = {
    "nothing": Standing("no difference", Tone.OK),
    "differs": Standing("differs", Tone.WARN, "grade-1"),
    "consistent": Standing("consistent", Tone.WARN, "grade-2"),
    "probable": Standing("probable", Tone.WARN, "grade-3"),
    "replicated": Standing("replicated", Tone.WARN, "grade-4"),
    "confirmed": Standing("confirmed", Tone.INFO, "grade-5"),
}
NOT_YET = Standing("not compared yet", Tone.IDLE)
NO_DATA = Standing("nothing to compare", Tone.IDLE)

# What each grade takes: docs/audit.md.
MEANING: Mapping[str, str] = {
    "differs": "The nodes differ, and no collected fact explains it.",
    "consistent": "One fact, or several that split the nodes alike, fits best. Other causes are not excluded.",
    "probable": "It fits, by a known mechanism, and chance hardly splits so. Seen here only, and once.",
    "replicated": "Other clusters say the same, or the effect came and went with the fact.",
    "confirmed": "Somebody altered it as registered, and the effect followed as expected.",
}
SPAN_WORDS: Mapping[str, str] = {
    "1h": "hour",
    "6h": "6 hours",
    "1d": "day",
    "1w": "week",
    "4w": "4 weeks",
    "1y": "year",
}
_TIMES_AT = 5.0  # from this ratio on people think in times, not in percent


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One of the preset intervals, as a link."""

    name: str
    words: str
    href: str
    current: bool
    grade: Standing | None = None  # what there is to see; None: not known


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One step of the ladder of grades."""

    standing: Standing
    meaning: str
    current: bool
    reached: bool


def grade(word: str | None) -> Standing:
    return NOT_YET if word is None else GRADE.get(word) or Standing(word, Tone.WARN)


def ladder(word: str) -> tuple[Rung, ...]:
    """From the weakest claim to the strongest, with the one that this finding has."""
    place = GRADES.index(word)
    return tuple(
        Rung(standing=GRADE[name], meaning=MEANING[name], current=at == place, reached=at <= place)
        for at, name in enumerate(GRADES)
        if name in MEANING
    )


def spans(path: str, current: str, grades: Mapping[str, str] | None = None) -> tuple[Span, ...]:
    """All of them below `path`. `grades`: what is known of each."""
    return tuple(
        Span(
            name=name,
            words=SPAN_WORDS[name],
            href=address(path, name),
            current=name == current,
            grade=GRADE.get(grades[name]) if grades and name in grades else None,
        )
        for name in SPANS
    )


def address(path: str, span: str = TOLD_SPAN, **more: str) -> str:
    """A page's address; the usual interval is left out."""
    asked = {"span": span} if span != TOLD_SPAN else {}
    asked |= more
    return f"{path}?{urlencode(asked)}" if asked else path


def finding_path(cluster: str, indicator: str) -> str:
    return f"/audit/{quote(cluster, safe='')}/{quote(indicator, safe='/')}"


def percent(value: float | None, unit: str = "log ratio") -> str:
    """A difference as people say it: "+12%", "14 times"; of a share "+0.50 of the mean"."""
    if value is None or not math.isfinite(value):
        return "unknown"
    if unit != "log ratio":
        return f"{value:+.2f} of the mean"
    if abs(value) > math.log(_TIMES_AT):
        times = math.exp(min(abs(value), 20.0))
        return f"{times:.0f} times" if value > 0 else f"1/{times:.0f}"
    share = math.expm1(value) * 100.0
    return f"{share:+.0f}%" if abs(share) >= 10.0 else f"{share:+.1f}%"


def when(text: Any) -> datetime | None:
    """A time of an answer; None for none."""
    if not isinstance(text, str):
        return None
    try:
        return parse_time(text)
    except EventInvalid:
        return datetime.fromisoformat(text)


def split_words(groups: Iterable[Iterable[str]]) -> str:
    """ "web1 | web2, web3"."""
    return " | ".join(", ".join(group) for group in groups)
