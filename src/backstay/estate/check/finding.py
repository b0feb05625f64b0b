"""What a check finds, and the words that checks share. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from backstay.estate.model import Estate
from backstay.estate.tree import KeyPath, shown

LISTED = 8  # names in a message; nobody reads 2,000
SUGGEST_FROM = 100  # names; beyond it a did-you-mean for each of many faults would take seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A fault of the estate at a path of keys; the loader knows its line."""

    path: KeyPath
    message: str
    at_key: bool = False  # the key is wrong, not its value


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """The estate as far as it holds, and every name that the file gives, also those whose entry is faulty.

    A reference to a faulty entry is no second fault, so references are looked up in `names`, and what an entry says
    in `estate`, where it may be absent. A section missing from `names` is unreadable: nothing can be said of it.
    """

    estate: Estate
    names: Mapping[str, Collection[str]]  # section ("nodes", "zones", ...) -> names


def of(estate: Estate) -> Declared:
    """A whole estate."""
    sections = ("providers", "regions", "nodes", "clusters", "tiers", "global_ips", "services", "pools")
    zones = [zone for region in estate.regions.values() for zone in region.zones]
    return Declared(estate=estate, names={**{name: getattr(estate, name) for name in sections}, "zones": zones})


def quoted(text: str) -> str:
    return f'"{shown(text)}"'


def listed(names: Iterable[str]) -> str:
    """A few names in the order given, and how many there are beyond."""
    every = list(names)
    if not every:
        return "none"
    rest = f" and {len(every) - LISTED:,} more" if len(every) > LISTED else ""
    return ", ".join(shown(name) for name in every[:LISTED]) + rest


def suggestion(name: str, known: Collection[str]) -> str:
    """' Did you mean "x"?', or nothing."""
    if len(known) > SUGGEST_FROM or len(name) > SUGGEST_FROM:
        return ""
    close = get_close_matches(name, list(known), n=1, cutoff=0.7)
    return f" Did you mean {quoted(close[0])}?" if close else ""


def dangling(path: KeyPath, name: str, noun: str, section: str, declared: Declared) -> Iterable[Finding]:
    """One finding when `name` is not among the names of `section`; `noun` is what it should be."""
    known = declared.names.get(section)
    if known is None or name in known:
        return
    plural = {"failure path": "Failure paths", "global IP": "Global IPs"}.get(noun, f"{noun.capitalize()}s")
    yield Finding(
        path=path,
        message=f"{quoted(name)} is no {noun}.{suggestion(name, known)} {plural}: {listed(known)}. "
        f"Add it under {'regions.*.zones' if section == 'zones' else section}, or remove it here.",
    )


def twice(path: KeyPath, names: Iterable[str]) -> Iterable[Finding]:
    """Findings for each name that a list holds a second time."""
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            yield Finding(path=(*path, index), message=f"{quoted(name)} is in this list twice. Remove one of them.")
        seen.add(name)
