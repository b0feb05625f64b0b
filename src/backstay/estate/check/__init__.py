"""Cross checks of a whole estate: all faults at once, each with the path of keys to it. Pure.

references: every name finds what it names      addresses: one owner an address, secrets by reference
traffic: services, routes, pools and ports fit together, and traffic does not go round
audit: secrets of its sources, by reference too
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from backstay.estate.check import addresses, audit, references, traffic
from backstay.estate.check.finding import Declared, Finding, listed, of, quoted, suggestion

FINDINGS_LIMIT = 500  # nobody reads more; a file with one wrong section must not take seconds

CHECKS: tuple[Callable[[Declared], Iterator[Finding]], ...] = (
    references.references,
    addresses.addresses,
    addresses.literal_secrets,
    addresses.agents,
    traffic.services,
    traffic.hostnames,
    traffic.pools,
    traffic.ports,
    traffic.cycles,
    audit.audit,
)


def check(declared: Declared) -> list[Finding]:
    """Every fault of the references and relations in `declared`, at most FINDINGS_LIMIT."""
    return list(islice((finding for one in CHECKS for finding in one(declared)), FINDINGS_LIMIT))


__all__ = ["CHECKS", "FINDINGS_LIMIT", "Declared", "Finding", "check", "listed", "of", "quoted", "suggestion"]
