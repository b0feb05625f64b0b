"""Parses an estate in a process of its own, so that the agent stays small and its event loop turns.

A YAML tree with its lines and columns is a hundred times the size of its text, and a large estate takes seconds. The
child sends the checked estate back as JSON, which the agent's model takes in milliseconds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backstay.estate.model import Estate

TIMEOUT_S = 60.0


class EstateRefused(Exception):
    """This estate cannot be in force here: every fault, a line each; the one in force stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """An estate that holds."""

    estate: Estate
    text: str  # YAML that says the same: the file's own, or with overrides in it


# The file, or the text of an estate and the folder that its relative names are relative to. Raises EstateRefused.
Parse = Callable[[Path | str, Path], Parsed]


def parse_here(source: Path | str, folder: Path) -> Parsed:
    """Parse in this process."""
    from backstay.estate import EstateFaults, Overrides, load_file, load_text

    try:
        if isinstance(source, Path):
            loaded = load_file(source, Overrides(env=os.environ))
        else:
            loaded = load_text(source, "estate", folder)
    except EstateFaults as faults:
        raise EstateRefused(str(faults)) from None
    return Parsed(estate=loaded.estate, text=loaded.text)


def parse_apart(source: Path | str, folder: Path) -> Parsed:
    """Parse in a child process. Blocks for about half a second, so the event loop calls it in a thread."""
    is_file = isinstance(source, Path)
    argv = [sys.executable, "-m", __name__, str(source) if is_file else "-", str(folder)]
    given = b"" if is_file else str(source).encode("utf-8", "surrogatepass")
    try:
        done = subprocess.run(argv, input=given, capture_output=True, timeout=TIMEOUT_S, check=False)
        answer = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise EstateRefused(f"the estate was not parsed within {TIMEOUT_S:g} s.") from None
    except (OSError, ValueError) as error:
        raise EstateRefused(f"the estate could not be parsed: {error}. Is there memory left?") from error
    if "faults" in answer:
        raise EstateRefused(answer["faults"])
    return Parsed(estate=Estate.model_validate_json(answer["estate"]), text=answer["text"])


def _answer(source: str, folder: Path) -> dict[str, Any]:
    """What the child tells the agent."""
    try:
        given = sys.stdin.buffer.read().decode("utf-8", "replace") if source == "-" else Path(source)
        parsed = parse_here(given, folder)
    except EstateRefused as refused:
        return {"faults": str(refused)}
    return {"estate": parsed.estate.model_dump_json(exclude_unset=True), "text": parsed.text}


if __name__ == "__main__":
    json.dump(_answer(sys.argv[1], Path(sys.argv[2])), sys.stdout)
