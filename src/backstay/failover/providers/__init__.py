"""Providers: who routes a global IP. One vendor a module, found by the entry points `backstay.providers`.

    flow        the one way to assign (read, compare, route, wait until it is so), the same for every vendor
    softlayer   IBM Cloud classic: global IPs and static subnets, by the SoftLayer client's REST transport
    hetzner     Hetzner Cloud: floating IPs, by hcloud
    aws         Amazon: elastic IPs, by boto3
    command     two programs of the user's own
    apart       any of them in a process of its own: what the agent uses

A vendor's library is imported when its provider is first asked, in a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points

from backstay.estate.model import PluginProvider, Provider, Secret
from backstay.failover.ports import IpProvider

GROUP = "backstay.providers"


class NoSuchProvider(Exception):
    """No installed package brings this kind of provider."""


def load_provider(provider: Provider, nodes: Mapping[str, str], secrets: Callable[[Secret], str]) -> IpProvider:
    """The adapter of `provider`, not yet connected. `nodes`: node -> address. Raises NoSuchProvider."""
    name = provider.plugin if isinstance(provider, PluginProvider) else provider.kind
    for point in entry_points(group=GROUP, name=name):
        adapter: IpProvider = point.load()(provider, nodes, secrets)
        return adapter
    known = ", ".join(sorted({point.name for point in entry_points(group=GROUP)})) or "none"
    raise NoSuchProvider(
        f'No provider "{name}" is installed here. Providers: {known}. Install the package that brings it.'
    )


__all__ = ["GROUP", "NoSuchProvider", "load_provider"]
