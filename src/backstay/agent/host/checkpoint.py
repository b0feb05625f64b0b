"""`STATE/agent.json`: what the agent goes on with after a restart. Losing it costs a few seconds of looking anew.

Changes are not in it (they have a store of their own, fsynced before they are acknowledged).
"""

from __future__ import annotations

import json
from typing import Any

from backstay.agent.paths import StateFiles
from backstay.journal.disk import Disk, replace_file

FORMAT = 1
LIMIT_BYTES = 32 * 2**20


def save(files: StateFiles, sections: dict[str, Any], disk: Disk | None = None) -> None:
    """Replace the checkpoint. Raises OSError; the one before is still there then."""
    body = json.dumps({"format": FORMAT, **sections}, separators=(",", ":"))
    replace_file(disk or Disk(), files.checkpoint, body.encode() + b"\n")


def load(files: StateFiles) -> tuple[dict[str, Any], str]:
    """The sections, and what was wrong ("" when nothing was). Never raises for what is in the file."""
    try:
        with files.checkpoint.open("rb") as file:
            raw = file.read(LIMIT_BYTES + 1)
    except FileNotFoundError:
        return {}, ""
    except OSError as error:
        return {}, f"{files.checkpoint}: {error.strerror}. Looking anew."
    try:
        sections = json.loads(raw) if len(raw) <= LIMIT_BYTES else None
    except (ValueError, RecursionError):
        sections = None
    if not isinstance(sections, dict) or sections.get("format") != FORMAT:
        return {}, f"{files.checkpoint}: damaged, or of another version. Looking anew."
    return sections, ""
