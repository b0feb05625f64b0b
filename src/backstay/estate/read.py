"""Reads an estate whole: text -> tree -> model, with everything that its reader may want to know of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from backstay.estate.check import of
from backstay.estate.check.traffic import unused
from backstay.estate.files import FILE_LIMIT_BYTES, Unreadable, read_bytes
from backstay.estate.load import EstateFaults, EstateUnreadable, load_tree, located
from backstay.estate.model import Estate
from backstay.estate.origin import Origin, Overrides, origins
from backstay.estate.spare import warnings
from backstay.estate.tree import Fault, Item, Syntax, decode, plain

NO_OVERRIDES = Overrides()


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """An estate that holds, and what its reader may want to know of it."""

    estate: Estate
    name: str  # of the file, for messages
    folder: Path  # relative file names of the estate are relative to it
    text: str  # YAML that says the same: the file's own, or with overrides in it
    tree: Item = field(repr=False)

    @cached_property
    def origins(self) -> tuple[Origin, ...]:
        """Every value in force and where it came from."""
        return tuple(origins(self.tree, self.name))

    @cached_property
    def warnings(self) -> tuple[Fault, ...]:
        """What holds and is still unwise: placement that breaks N+1, what nobody uses."""
        found = [*warnings(self.estate), *unused(of(self.estate))]
        faults = [located(finding, self.tree, self.name) for finding in found]
        return tuple(sorted(faults, key=lambda fault: fault.line or 0))


def load_text(text: str, name: str, folder: Path, overrides: Overrides = NO_OVERRIDES) -> Loaded:
    """The estate of a YAML text. Raises EstateFaults with every fault."""
    try:
        given = tuple(overrides.read())
    except Syntax as syntax:
        raise EstateFaults(syntax.faults) from None
    estate, tree = load_tree(text, name, given)
    if given:
        text = json.dumps(plain(tree), indent=1, ensure_ascii=False)  # JSON is YAML
    return Loaded(estate=estate, name=name, folder=folder, text=text, tree=tree)


def load_file(path: Path, overrides: Overrides = NO_OVERRIDES) -> Loaded:
    """The estate of a file. Raises EstateFaults with every fault, also when the file cannot be read."""
    name = str(path)
    try:
        text = decode(read_bytes(path, FILE_LIMIT_BYTES), name)
    except Unreadable as error:
        what = f"Not readable: {error} `backstay init` writes an estate file."
        raise EstateUnreadable([Fault(where=name, message=what)]) from None
    except Syntax as syntax:
        raise EstateFaults(syntax.faults) from None
    return load_text(text, name, path.resolve().parent, overrides)
