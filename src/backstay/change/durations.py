"""Durations as people type them: "90s", "30m", "2h", "1d", "1h30m". Pure."""

from __future__ import annotations

import re

from backstay.change.model import ChangeInvalid

DURATION_LIMIT_S = 30 * 86_400  # a change that lasts longer belongs into the estate file

_UNIT_S = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_WHOLE = re.compile(r"(?:\d+d)?(?:\d+h)?(?:\d+m)?(?:\d+s)?", re.ASCII)
_PART = re.compile(r"(\d+)([dhms])", re.ASCII)
_TEXT_LIMIT = 40


def parse_duration(text: str) -> int:
    """Seconds of `text`: whole numbers with d, h, m or s, the largest first. Raises ChangeInvalid."""
    compact = text.strip().lower() if len(text) <= _TEXT_LIMIT else ""
    if not compact or not _WHOLE.fullmatch(compact):
        shown = text if len(text) <= _TEXT_LIMIT else text[:_TEXT_LIMIT] + "..."
        raise ChangeInvalid(f'"{shown}" is no duration. Write a number and a unit: 90s, 30m, 2h, 1d, or 1h30m.')
    seconds = sum(int(number) * _UNIT_S[unit] for number, unit in _PART.findall(compact))
    check_duration(seconds)
    return seconds


def check_duration(seconds: float) -> None:
    """Raises ChangeInvalid for what no change may last: nothing at all, or more than DURATION_LIMIT_S."""
    if not seconds > 0:  # also NaN
        raise ChangeInvalid(f"A change of {seconds:g} seconds would be over at once. Give at least 1s.")
    if seconds > DURATION_LIMIT_S:
        raise ChangeInvalid(
            f"A change may last 30 days at most, not {format_duration(seconds)}. "
            "What is meant to last belongs into the estate file."
        )


def format_duration(seconds: float) -> str:
    """`seconds` for people, in its two largest units: "29m 12s", "1d 4h", "0s"."""
    left = max(0, round(min(seconds, 1e12)))
    parts: list[str] = []
    for unit, size in _UNIT_S.items():
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"
