"""YAML text -> Estate, or every fault of it at once. Pure but for the reading of a file in `__init__.py`.

text -> tree (lines and columns) -> overrides (BACKSTAY_*, --set) -> pydantic, strict -> cross checks

When parts of the file are faulty, the cross checks still run over the parts that hold: one run shows all faults.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import ValidationError

from backstay.estate.check import Declared, Finding, check, of
from backstay.estate.explain import explain
from backstay.estate.model import Estate
from backstay.estate.origin import Override, apply_overrides
from backstay.estate.schema import adapter
from backstay.estate.tree import Fault, Item, Syntax, dotted, find, parse, place, plain

FAULTS_LIMIT = 1_000


class EstateFaults(Exception):
    """The estate does not hold. `faults` are all of them, in the order of the file; `str()` is one a line."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        assert faults
        self.faults = tuple(faults)
        super().__init__(self.faults)

    def __str__(self) -> str:
        return "\n".join(map(str, self.faults))


class EstateUnreadable(EstateFaults):
    """The file is not there, or not for us to read."""


def load_tree(text: str, name: str, overrides: Iterable[Override] = ()) -> tuple[Estate, Item]:
    """The estate of a YAML text, and the tree that knows each value's place. Raises EstateFaults."""
    try:
        tree = parse(text, name)
        faults, tree = apply_overrides(tree, overrides)
    except Syntax as syntax:
        raise EstateFaults(syntax.faults) from None
    data = plain(tree)
    if not isinstance(data, dict):
        said = "An estate file is a mapping: estate: NAME, regions:, nodes: ... `backstay init` writes one."
        raise EstateFaults([Fault(where=name, line=tree.line, column=tree.column, message=said)])
    estate: Estate | None = None
    findings: list[Finding] = []
    try:
        # JSON mode is what makes strictness usable: text for an address or an enum is taken, text for a number not.
        estate = Estate.model_validate_json(json.dumps(data), strict=True)
        findings += check(of(estate))
    except ValidationError as invalid:
        findings += explain(invalid, data)
        findings += check(_what_holds(data, invalid))
    except ValueError as error:  # a number or a text that JSON cannot carry
        findings.append(Finding(path=(), message=f"Not readable: {error}."))
    faults += [located(finding, tree, name) for finding in findings]
    if faults or estate is None:
        raise EstateFaults(_ordered(faults))
    return estate, tree


def _what_holds(data: dict[str, Any], invalid: ValidationError) -> Declared:
    """The entries without a fault of their own, and the names of all."""
    faulty = {tuple(error["loc"][:2]) for error in invalid.errors(include_url=False, include_input=False)}
    sections: dict[str, Any] = {}
    names: dict[str, tuple[str, ...]] = {}
    for section, field in Estate.model_fields.items():
        given = data.get(section, {})
        kept = given
        if isinstance(given, dict):
            names[section] = tuple(given)
            kept = {key: value for key, value in given.items() if (section, key) not in faulty}
        try:
            sections[section] = adapter(section).validate_json(json.dumps(kept), strict=True)
        except ValidationError:  # of the section itself; it is reported already
            sections[section] = {} if field.is_required() else field.get_default()
    zones = _zone_names(data.get("regions"))
    if zones is not None:
        names["zones"] = zones
    return Declared(estate=Estate.model_construct(**sections), names=names)


def _zone_names(regions: Any) -> tuple[str, ...] | None:
    """Names of all zones, also of those whose entry is faulty; None when some cannot be read."""
    found: list[str] = []
    for region in regions.values() if isinstance(regions, dict) else (None,):
        zones = region.get("zones") if isinstance(region, dict) else None
        if not isinstance(zones, dict):
            return None
        found += zones
    return tuple(found)


def located(finding: Finding, tree: Item, name: str) -> Fault:
    """The fault at the place in the file, or at the override, that a finding's path leads to."""
    item, steps = find(tree, finding.path)
    path = dotted(finding.path)
    if item.source is not None:
        return Fault(where=item.source, path=path, message=finding.message)
    line, column = place(item, key=finding.at_key and steps == len(finding.path))
    return Fault(where=name, line=line, column=column, path=path, message=finding.message)


def _ordered(faults: list[Fault]) -> list[Fault]:
    """By place in the file, each once; overrides last."""
    unique = dict.fromkeys(faults)
    ordered = sorted(unique, key=lambda fault: (fault.line is None, fault.line or 0, fault.column or 0, fault.path))
    if len(ordered) <= FAULTS_LIMIT:
        return ordered
    rest = len(ordered) - FAULTS_LIMIT
    return [*ordered[:FAULTS_LIMIT], Fault(where=ordered[0].where, message=f"... and {rest:,} faults more.")]
