"""The audit's sources: secrets by reference there, too. What else a source takes is its own kind's to say. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from backstay.estate.check.addresses import password_in_url
from backstay.estate.check.finding import Declared, Finding, quoted
from backstay.estate.tree import KeyPath

_SECRET = re.compile(r"(^|_)(password|passphrase|secret|token|bearer|api_key)$")
_INSTEAD = "Write a reference: {env: NAME}, {file: PATH}, {command: [PROGRAM, ARGUMENT]}."


def audit(declared: Declared) -> Iterator[Finding]:
    """Literal secrets among the settings of sources."""
    settings = declared.estate.audit
    for family in ("facts", "indicators"):
        for index, source in enumerate(getattr(settings, family)):
            yield from _literals(("audit", family, index), source.settings)


def _literals(path: KeyPath, value: Any) -> Iterator[Finding]:
    if isinstance(value, dict):
        for key, below in value.items():
            if _SECRET.search(key) and not isinstance(below, dict):
                message = f"{quoted(key)} is a secret, and a literal one must not stand in the file. {_INSTEAD}"
                yield Finding(path=(*path, key), message=message)
            else:
                yield from _literals((*path, key), below)
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from _literals((*path, index), below)
    elif isinstance(value, str):
        yield from password_in_url(path, value)
