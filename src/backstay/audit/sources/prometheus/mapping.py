"""Which node a series is of, and when its values were really scraped. Pure.

query_range evaluates at each step, and repeats a sample for up to five minutes until a newer one is there. A counter
whose scrape is late would stand still and then leap: a rate of nothing, then of too much. So the times of the scrapes
are asked for, too, and a value gets the time at which it was scraped; one that repeats is dropped
(docs/decisions/0154).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from backstay.audit.model import Floats
from backstay.audit.sources.prometheus.answer import Labelled

SHOWN = 5


class By(StrEnum):
    """What of a node the label's value is, without a port (docs/decisions/0152)."""

    ANY = "any"  # whichever fits
    NAME = "name"  # web1, or web1.example.com
    ADDRESS = "address"


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """Whose the values of a label are."""

    nodes: Mapping[str, str]  # value -> node; one that is nobody's is left out
    clashes: Mapping[str, tuple[str, ...]]  # node -> the hosts that could all be it: none of them is


class Naming:
    """The label's values -> nodes: by the whole name or the address, else by the name's first label."""

    def __init__(self, addresses: Mapping[str, str], label: str, by: By) -> None:
        self._names = frozenset(addresses) if by is not By.ADDRESS else frozenset()
        self._of = {address.lower(): node for node, address in addresses.items()} if by is not By.NAME else {}
        self._label = label
        self._by = by

    def named(self, values: Iterable[str]) -> Named:
        """Two hosts whose names begin alike are two machines: guessing would make one node's figures another's."""
        hosts = {value: host_of(value) for value in values}
        whole = {host: node for host in hosts.values() if (node := self._whole(host)) is not None}
        taken = frozenset(whole.values())
        begun: dict[str, set[str]] = {}
        for host in hosts.values():
            first = host.split(".", 1)[0]
            if host not in whole and first in self._names and first not in taken:
                begun.setdefault(first, set()).add(host)
        alone = {next(iter(found)): node for node, found in begun.items() if len(found) == 1}
        of_host = whole | alone
        return Named(
            nodes={value: of_host[host] for value, host in hosts.items() if host in of_host},
            clashes={node: tuple(sorted(found)) for node, found in begun.items() if len(found) > 1},
        )

    def unknown(self, values: Iterable[str]) -> str:
        """For a node that no series is of: what there is, and what next."""
        seen = sorted(set(values))
        more = f" and {len(seen) - SHOWN} more" if len(seen) > SHOWN else ""
        there = ", ".join(seen[:SHOWN]) + more if seen else "none"
        how = {By.ANY: "name or address", By.NAME: "name", By.ADDRESS: "address"}[self._by]
        return (
            f"no series has its {how} as {self._label}. There is: {there[:400]}. "
            "Is it scraped? Else set `label` and `by`, or relabel."
        )

    def _whole(self, host: str) -> str | None:
        return host if host in self._names else self._of.get(host)


def host_of(value: str) -> str:
    """An instance without its port: 10.0.0.1:9100, [2001:db8::1]:9100, web1.example.com, http://web1:80/x."""
    host = value.strip().lower().rpartition("://")[2].split("/", 1)[0]
    if host.startswith("["):
        return host[1:].split("]", 1)[0]
    return host.rsplit(":", 1)[0] if host.count(":") == 1 else host


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrapes:
    """When each target was scraped, by the label's value: (times of evaluation, times of the scrape)."""

    times: Mapping[str, tuple[Floats, Floats]]
    twice: Mapping[str, str]  # label's value -> the targets that are scraped at the same time: sums count them twice


def scrapes_of(series: Sequence[Labelled], label: str) -> Scrapes:
    """`series`: timestamp() of a metric that every target has once."""
    by_value: dict[str, list[Labelled]] = {}
    for one in series:
        if value := one.labels.get(label):  # without it: other targets than those that are asked about
            by_value.setdefault(value, []).append(one)
    times: dict[str, tuple[Floats, Floats]] = {}
    twice: dict[str, str] = {}
    for value, found in by_value.items():
        evaluated = np.concatenate([one.times_s for one in found])
        scraped = np.concatenate([one.values for one in found])
        order = np.argsort(evaluated, kind="stable")
        evaluated, scraped = evaluated[order], scraped[order]
        if (np.diff(evaluated) == 0.0).any():
            twice[value] = differences(found)
        else:
            times[value] = (evaluated, scraped)
    return Scrapes(times=times, twice=twice)


def as_scraped(one: Labelled, scraped: tuple[Floats, Floats] | None) -> tuple[Floats, Floats]:
    """(times, values) of a series, each value once, at the time of its scrape; as it is where that is not known."""
    if scraped is None or not one.times_s.size:
        return one.times_s, one.values
    evaluated, real = scraped
    at = np.searchsorted(evaluated, one.times_s)
    found = at < len(evaluated)
    found[found] = evaluated[at[found]] == one.times_s[found]
    times_s, values = real[at[found]], one.values[found]
    first = np.append(True, np.diff(times_s) > 0.0)[: len(times_s)]
    return times_s[first], values[first]


def differences(found: Sequence[Labelled]) -> str:
    """The labels in which they differ."""
    names = sorted({name for one in found for name in one.labels})
    differ = [name for name in names if len({one.labels.get(name) for one in found}) > 1]
    return " and ".join(
        "{" + ", ".join(f'{name}="{one.labels.get(name, "")}"' for name in differ) + "}" for one in found[:SHOWN]
    )
