"""An address belongs to one thing; a secret stands nowhere in the file. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from backstay.estate.check.finding import Declared, Finding, quoted
from backstay.estate.model import Address, Agents
from backstay.estate.tree import KeyPath


def addresses(declared: Declared) -> Iterator[Finding]:
    """Two nodes with one address, a global IP that is a node's, and addresses that no host can have."""
    owners: dict[Address, str] = {}
    everything: list[tuple[str, str, Address]] = [
        *(("nodes", name, node.address) for name, node in declared.estate.nodes.items()),
        *(("global_ips", name, ip.address) for name, ip in declared.estate.global_ips.items()),
    ]
    for section, name, address in everything:
        path = (section, name, "address")
        noun = "node" if section == "nodes" else "global IP"
        if address.is_multicast or address.is_unspecified:
            yield Finding(path=path, message=f"{address} is no address of one host. Give the host's own.")
        owner = owners.setdefault(address, f"{noun} {quoted(name)}")
        if owner != f"{noun} {quoted(name)}":
            yield Finding(path=path, message=f"{address} is the address of the {owner} already. Give each its own.")


_USERINFO = re.compile(r"^[a-z][a-z0-9+.-]*://[^/@\s]*:[^/@\s]+@", re.IGNORECASE)


def literal_secrets(declared: Declared) -> Iterator[Finding]:
    """A password inside a URL. (A literal where a reference belongs is a fault of the schema.)"""
    for name, provider in declared.estate.providers.items():
        yield from password_in_url(("providers", name, "endpoint_url"), getattr(provider, "endpoint_url", None))
    pagerduty = declared.estate.notify.pagerduty
    if pagerduty is not None:
        yield from password_in_url(("notify", "pagerduty", "endpoint_url"), pagerduty.endpoint_url)


def password_in_url(path: KeyPath, url: str | None) -> Iterator[Finding]:
    """A finding when the text is a URL with a password in it."""
    if url is not None and _USERINFO.match(url):
        yield Finding(path=path, message="A password stands in this URL. Remove it; secrets are references.")


def agents(declared: Declared) -> Iterator[Finding]:
    """What HTTPS to the agents needs, together or not at all."""
    settings: Agents = declared.estate.agents
    for there, absent in (("certificate", "key"), ("key", "certificate")):
        if getattr(settings, there) is not None and getattr(settings, absent) is None:
            yield Finding(path=("agents", there), message=f"agents.{absent} is missing. HTTPS needs both. Add it.")
    if settings.token is not None and settings.certificate is None and settings.key is None:
        message = "The token is for HTTPS, which needs agents.certificate and agents.key. Add them."
        yield Finding(path=("agents", "token"), message=message)
