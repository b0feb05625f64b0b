"""Parameters of a node for its configuration management (Puppet, Ansible): which are taken. Pure.

A parameter is a change as any other: who, why, until when, undo. The server keeps it; no load balancer has to do with
it. Names are those that Puppet takes for a class parameter or a top-scope variable, "::" between them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from backstay.change.model import ChangeInvalid

PARAMETER_NAME_LIMIT = 200
PARAMETER_VALUE_LIMIT_BYTES = 8_192  # of JSON
ENVIRONMENT = "environment"  # this parameter is the node's Puppet environment, not a variable
_DEPTH_LIMIT = 8
_RESERVED = ("backstay", "facts", "server_facts", "settings", "trusted")  # Puppet's own variables, and ours
# Puppet's language reference: lower-case words, numbers and underscores; no upper case, no leading digit.
_NAME = re.compile(r"[a-z_][a-z0-9_]*(::[a-z_][a-z0-9_]*)*", re.ASCII)
_ENVIRONMENT = re.compile(r"[a-z0-9_]+", re.ASCII)  # Puppet's manual, "About environments"


def check_parameter(name: str | None, value: Any) -> None:
    """Raises ChangeInvalid for a name or a value that is not taken."""
    if name is None or len(name) > PARAMETER_NAME_LIMIT or not _NAME.fullmatch(name):
        raise ChangeInvalid(
            f"parameter: {name!r:.60} is no name. Write lower-case letters, digits and _, parts joined by :: "
            f'("nginx::worker_processes"); at most {PARAMETER_NAME_LIMIT} characters.'
        )
    if name in _RESERVED:
        raise ChangeInvalid(f"parameter: {name} is a variable of Puppet's or Backstay's own. Choose another name.")
    fault = _fault(value, _DEPTH_LIMIT)
    if name == ENVIRONMENT and not (isinstance(value, str) and _ENVIRONMENT.fullmatch(value)):
        fault = "is no name of a Puppet environment: lower-case letters, digits and _"
    if fault:
        raise ChangeInvalid(f"value of {name}: {fault}.")
    size = len(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    if size > PARAMETER_VALUE_LIMIT_BYTES:
        raise ChangeInvalid(
            f"value of {name}: {size} bytes of JSON, at most {PARAMETER_VALUE_LIMIT_BYTES}. Name a file instead."
        )


def _fault(value: Any, depth: int) -> str:
    """Why `value` would not come back as it went in through JSON, YAML and a database; "" when it would."""
    if depth < 0:
        return f"nested deeper than {_DEPTH_LIMIT}"
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            return "a key is no text"
        return next((fault for part in (*value, *value.values()) if (fault := _fault(part, depth - 1))), "")
    if isinstance(value, list | tuple):
        return next((fault for inner in value if (fault := _fault(inner, depth - 1))), "")
    if isinstance(value, float):
        return "" if math.isfinite(value) else "not a finite number"
    if isinstance(value, str):
        if "\0" in value:
            return "holds a zero byte"
        return "" if _is_unicode(value) else "holds a half of a character (a lone surrogate)"
    if isinstance(value, int):  # also bool
        return "" if abs(value) < 2**63 else "a number beyond 64 bits"
    return "" if value is None else f"{type(value).__name__} is no JSON value"


def _is_unicode(text: str) -> bool:
    return not any(0xD800 <= ord(letter) <= 0xDFFF for letter in text)
