"""SoftLayer (IBM Cloud classic), by its own Python client over REST.

A global IP is a SoftLayer_Network_Subnet_IpAddress_Global, and moves between datacenters by its `route`. What is no
global IP is looked for among the static subnets, which move inside a datacenter by the newer
SoftLayer_Network_Subnet::route (false: it is so already). Both are asynchronous: `activeTransaction` says whether one
is under way. `unroute` and `clearRoute`, which leave the address nowhere, are never called.

    https://sldn.softlayer.com/reference/services/SoftLayer_Network_Subnet_IpAddress_Global/
    https://sldn.softlayer.com/reference/services/SoftLayer_Network_Subnet/route/
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from backstay.estate.model import Secret, SoftlayerProvider
from backstay.failover.ports import IpProvider, ProviderDenied, ProviderError, ProviderUnreachable
from backstay.failover.providers.flow import (
    READ_AGAIN,
    Ask,
    Reading,
    Routed,
    bounded_retry_after_s,
    nonsense,
    said,
)

ENDPOINT_URL = "https://api.softlayer.com/rest/v3.1"
GLOBAL = "SoftLayer_Network_Subnet_IpAddress_Global"
SUBNET = "SoftLayer_Network_Subnet"
GLOBAL_MASK = "mask[id,ipAddress[ipAddress],destinationIpAddress[ipAddress],activeTransaction[id]]"
SUBNET_MASK = "mask[id,networkIdentifier,endPointIpAddress[ipAddress],activeTransaction[id]]"


def provider(provider: SoftlayerProvider, nodes: Mapping[str, str], secrets: Callable[[Secret], str]) -> IpProvider:
    """For the entry point `softlayer`."""
    return Routed("softlayer", Softlayer(provider, nodes, secrets), nodes)


@dataclass(frozen=True, slots=True)
class _Ref:
    service: str  # GLOBAL or SUBNET
    id: int


class Softlayer:
    """A client a request: it holds no connection, so an agent that has nothing to move keeps none open."""

    def __init__(self, provider: SoftlayerProvider, nodes: Mapping[str, str], secrets: Callable[[Secret], str]) -> None:
        self._provider = provider
        self._secrets = secrets
        self._nodes = nodes
        self._names = {address: name for name, address in nodes.items()}

    async def read(self, address: str, ask: Ask) -> Reading:
        where: dict[str, Any] = {"globalIpRecords": {"ipAddress": {"ipAddress": {"operation": address}}}}
        found = await self._call(ask, "SoftLayer_Account", "getGlobalIpRecords", mask=GLOBAL_MASK, filter=where)
        for record in _records(found):
            if _dig(record, "ipAddress", "ipAddress") == address:
                return self._reading(GLOBAL, record, _dig(record, "destinationIpAddress", "ipAddress"))
        where = {"subnets": {"networkIdentifier": {"operation": address}}}
        found = await self._call(ask, "SoftLayer_Account", "getSubnets", mask=SUBNET_MASK, filter=where)
        for record in _records(found):
            if record.get("networkIdentifier") == address:
                return self._reading(SUBNET, record, _dig(record, "endPointIpAddress", "ipAddress"))
        raise ProviderError("the account has no such global IP and no such static subnet. Check address and user.")

    async def route(self, address: str, target: str, reading: Reading, ask: Ask) -> None:
        assert isinstance(reading.ref, _Ref)
        where = self._nodes[target]
        arguments = (where,) if reading.ref.service == GLOBAL else ("SoftLayer_Network_Subnet_IpAddress", where)
        await self._call(ask, reading.ref.service, "route", *arguments, id=reading.ref.id)

    async def close(self) -> None:
        pass  # nothing is kept open

    def _reading(self, service: str, record: Mapping[str, Any], where: object) -> Reading:
        if not isinstance(record.get("id"), int) or not (where is None or isinstance(where, str)):
            raise nonsense(record)
        return Reading(
            holder=None if where is None else self._names.get(where, where),
            moving=bool(record.get("activeTransaction")),
            ref=_Ref(service, record["id"]),
        )

    async def _call(self, ask: Ask, service: str, method: str, *arguments: str, **options: Any) -> Any:
        return await ask(lambda timeout_s: self._request(timeout_s, service, method, arguments, options))

    def _request(
        self, timeout_s: float, service: str, method: str, arguments: tuple[str, ...], options: dict[str, Any]
    ) -> Any:
        """One request, in a thread. Raises ProviderError."""
        library = _library()
        headers: list[Mapping[str, str]] = []
        client = self._client(library, timeout_s, lambda response, **_: headers.append(response.headers))
        try:
            return client.call(service, method, *arguments, **options)
        except library.SoftLayerAPIError as error:
            raise _told(error, headers[-1] if headers else {}) from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:  # the client trips over an odd body
            raise nonsense(error) from error
        finally:
            client.transport.client.close()

    def _client(self, library: Any, timeout_s: float, heard: Callable[..., None]) -> Any:
        from requests.adapters import HTTPAdapter

        transport = library.RestTransport(
            endpoint_url=self._provider.endpoint_url or ENDPOINT_URL, timeout=timeout_s, user_agent="backstay"
        )
        # The client's own session tries again by itself and sleeps for Retry-After: too long for a takeover, and
        # twice is not once. Repeating is for those who know what was asked.
        transport.client.mount("https://", HTTPAdapter(max_retries=0))
        transport.client.hooks["response"].append(heard)
        auth = library.BasicHTTPAuthentication(
            self._secrets(self._provider.username), self._secrets(self._provider.api_key)
        )
        return library.BaseClient(auth=auth, transport=transport, config_file=os.devnull)


def _library() -> Any:
    if sys.modules.get("rich", sys) is None:
        del sys.modules["rich"]  # agent/lean.py bars it, for structlog's sake; this client cannot do without
    try:
        import SoftLayer
    except ImportError as error:
        raise ProviderError("the SoftLayer client is not installed. Install backstay[softlayer].") from error
    return SoftLayer


def _told(error: Any, headers: Mapping[str, str]) -> ProviderError:
    """`faultCode` is the HTTP status; 0 when there was no answer."""
    status, words = error.faultCode, said(error.faultString)
    if status in (401, 403):
        return ProviderDenied(f"denied: {words}. Check user and key, and what the user may do.")
    if status == 429:
        wait_s = bounded_retry_after_s(headers.get("Retry-After"))
        return ProviderError(f"too many requests: {words}. Wait.", retry_after_s=wait_s)
    if status == 0 or status in (502, 503, 504):
        return ProviderUnreachable(f"{words}. {READ_AGAIN}")
    if status == 200:
        return nonsense(error.faultString)
    return ProviderError(f"refused: {words} (HTTP {status}).")


def _records(found: object) -> list[Mapping[str, Any]]:
    if not isinstance(found, list) or not all(isinstance(record, dict) for record in found):
        raise nonsense(found)
    return list(found)


def _dig(record: Mapping[str, Any], *keys: str) -> object:
    value: object = record
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value
