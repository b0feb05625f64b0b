"""The tally between two runs, as JSON: STATE/tier.json. A run that has no state begins with what the agents counted."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backstay.audit.sources.tier.tally import Counts, Reading, Tally
from backstay.estate.files import Unreadable, read_bytes

FILE = "tier.json"
LIMIT_BYTES = 64 * 2**20
VERSION = 1


class Memory:
    """`folder`: the audit's state; None: remembers as long as it lives. One process at a time, as the audit's store."""

    def __init__(self, folder: Path | None) -> None:
        self._path = folder / FILE if folder is not None else None
        self._tally: Tally | None = None

    def recall(self) -> tuple[Tally, str]:
        """What is known, and a problem when the file was of no use: empty, there was none."""
        if self._tally is not None:
            return self._tally, ""
        if self._path is None or not self._path.exists():
            return Tally(), ""
        try:
            return _tally(json.loads(read_bytes(self._path, LIMIT_BYTES))), ""
        except (Unreadable, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            what = f"{self._path} is of no use ({str(error)[:200] or type(error).__name__})"
            return Tally(), f"{what}: what was counted between two runs is lost once. It is written anew."

    def keep(self, tally: Tally) -> str:
        """Replaces the file as a whole. Returns why it could not; empty: it could."""
        self._tally = tally
        if self._path is None:
            return ""
        partial = self._path.with_suffix(".partial")
        try:
            partial.write_text(json.dumps(_plain(tally)), encoding="ascii")
            os.replace(partial, self._path)  # noqa: PTH105 - the system call by its name
        except OSError as error:
            return f"{self._path}: not written: {error.strerror}. Is the disk full, may this user write there?"
        return ""


def _plain(tally: Tally) -> dict[str, Any]:
    read = {
        lb: {"started_s": reading.started_s, "counts": _nested(reading.counts)} for lb, reading in tally.read.items()
    }
    return {"version": VERSION, "at_s": tally.at_s, "totals": _nested(tally.totals), "read": read}


def _tally(plain: Mapping[str, Any]) -> Tally:
    if plain["version"] != VERSION:
        raise ValueError(f"version {plain['version']!r}, and {VERSION} is known here")
    read = {
        str(lb): Reading(lb=str(lb), started_s=_number(one["started_s"]), counts=_flat(one["counts"]))
        for lb, one in plain["read"].items()
    }
    return Tally(at_s=_number(plain["at_s"]), totals=_flat(plain["totals"]), read=read)


def _nested(counts: Counts) -> dict[str, dict[str, float]]:
    nested: dict[str, dict[str, float]] = {}
    for (node, indicator), count in counts.items():
        nested.setdefault(node, {})[indicator] = count
    return nested


def _flat(nested: Mapping[str, Mapping[str, Any]]) -> dict[tuple[str, str], float]:
    return {(node, indicator): _number(count) for node, one in nested.items() for indicator, count in one.items()}


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{number} is no count")
    return number
