"""What is declared: the estate file's model, loader with line numbers, checks, schema, placement arithmetic.

YAML text -> tree (places) -> overrides -> Estate -> select, spare
                                        -> every fault at once, with line and column

The door: `load_file` and `load_text`. Other rooms read the nouns from `estate.model` and ask `estate.select`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from backstay.estate.files import locate
from backstay.estate.model import Estate

if TYPE_CHECKING:
    from backstay.estate.load import EstateFaults, EstateUnreadable
    from backstay.estate.origin import Origin, Overrides
    from backstay.estate.read import Loaded, load_file, load_text
    from backstay.estate.spare import spare_left
    from backstay.estate.tree import Fault

# Imported when used: an agent knows the nouns and has a child process read the file (1.3 MB).
_FROM = {
    "EstateFaults": "load",
    "EstateUnreadable": "load",
    "Origin": "origin",
    "Overrides": "origin",
    "Loaded": "read",
    "load_file": "read",
    "load_text": "read",
    "spare_left": "spare",
    "Fault": "tree",
}


def __getattr__(name: str) -> Any:
    """PEP 562."""
    if name not in _FROM:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_FROM[name]}"), name)


__all__ = [
    "Estate",
    "EstateFaults",
    "EstateUnreadable",
    "Fault",
    "Loaded",
    "Origin",
    "Overrides",
    "load_file",
    "load_text",
    "locate",
    "spare_left",
]
