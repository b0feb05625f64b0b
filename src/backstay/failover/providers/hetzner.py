"""Hetzner Cloud: floating IPs, by its own Python client.

`assign` takes a floating IP from the server that has it: nothing is unassigned first. A 201 only says that an action
was begun; it is polled until it ends (https://docs.hetzner.cloud/reference/cloud#floating-ip-actions).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from ipaddress import ip_address, ip_network
from typing import Any

from backstay.estate.model import HetznerProvider, Secret
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

ENDPOINT_URL = "https://api.hetzner.cloud/v1"
POLL_S = 0.5  # 3,600 requests an hour are allowed; an action takes seconds

DENIED = {"unauthorized", "forbidden", "token_readonly", 401, 403}
UNREACHABLE = {"bad_gateway", "gateway_timeout", "timeout", "unavailable", "server_error", "service_error"}


def provider(provider: HetznerProvider, nodes: Mapping[str, str], secrets: Callable[[Secret], str]) -> IpProvider:
    """For the entry point `hetzner`."""
    return Routed("hetzner", Hetzner(provider, nodes, secrets), nodes)


class Hetzner:
    """A client a request. What does not change is remembered: the address's id, and which server is which node."""

    def __init__(self, provider: HetznerProvider, nodes: Mapping[str, str], secrets: Callable[[Secret], str]) -> None:
        self._provider = provider
        self._secrets = secrets
        self._names = {address: name for name, address in nodes.items()}
        self._ids: dict[str, int] = {}  # address -> floating IP
        self._servers: dict[int, str] = {}  # server -> node, or the server's own name

    async def read(self, address: str, ask: Ask) -> Reading:
        if address not in self._ids:
            every = await self._request(ask, lambda client: client.floating_ips.get_all())
            found = next((one for one in every if _is(one.ip, address)), None)
            if found is None:
                raise ProviderError("the project has no such floating IP. Check address and token.")
            self._ids[address] = int(found.id)
        id_ = self._ids[address]
        floating = await self._request(ask, lambda client: client.floating_ips.get_by_id(id_))
        server = None if floating.server is None else int(floating.server.id)
        running = await self._request(ask, lambda client: _running(client, id_))
        if server is not None and server not in self._servers:
            await self._learn_servers(ask)
        holder = None if server is None else self._servers.get(server, f"server {server}")
        return Reading(holder=holder, moving=running, ref=id_)

    async def route(self, address: str, target: str, reading: Reading, ask: Ask) -> None:
        server = self._server_of(target)
        if server is None:
            await self._learn_servers(ask)
            server = self._server_of(target)
        if server is None:
            raise ProviderError(f"no server of the project has the address of {target}. Check the estate's address.")
        assert isinstance(reading.ref, int)
        floating_ip, to = reading.ref, server
        action = await self._request(ask, lambda client: _assign(client, floating_ip, to))
        id_ = action.id
        while action.status == "running":
            await asyncio.sleep(POLL_S)
            try:
                action = await self._request(ask, lambda client: client.actions.get_by_id(id_))
            except ProviderUnreachable:
                continue  # it was accepted: a poll that fails changes nothing
            except ProviderError as error:
                if error.retry_after_s is None:
                    raise
                await asyncio.sleep(error.retry_after_s)
        if action.status != "success":
            why = (action.error or {}).get("message", "no reason given")
            raise ProviderError(f"the action failed: {said(why)}. See the project's activities, then try again.")

    async def close(self) -> None:
        pass  # nothing is kept open

    def _server_of(self, node: str) -> int | None:
        return next((server for server, name in self._servers.items() if name == node), None)

    async def _learn_servers(self, ask: Ask) -> None:
        servers = await self._request(ask, lambda client: client.servers.get_all())
        found = {}
        for server in servers:
            node = next((self._names[address] for address in _addresses(server) if address in self._names), None)
            found[int(server.id)] = node or f"server {server.name}"
        self._servers = found

    async def _request(self, ask: Ask, request: Callable[[Any], Any]) -> Any:
        return await ask(lambda timeout_s: self._in_thread(timeout_s, request))

    def _in_thread(self, timeout_s: float, request: Callable[[Any], Any]) -> Any:
        """One request. Raises ProviderError."""
        try:
            import hcloud
            import requests
        except ImportError as error:
            raise ProviderError("the hcloud client is not installed. Install backstay[hetzner].") from error
        client = hcloud.Client(
            token=self._secrets(self._provider.token),
            api_endpoint=self._provider.endpoint_url or ENDPOINT_URL,
            application_name="backstay",
            timeout=timeout_s,
        )
        inner = client._client
        inner._retry_max_retries = 0  # it sleeps up to a minute between five tries; there is no public setting
        headers: list[Mapping[str, str]] = []
        inner._session.hooks["response"].append(lambda response, **_: headers.append(response.headers))
        try:
            return request(client)
        except hcloud.APIException as error:
            raise _told(error, headers[-1] if headers else {}) from error
        except requests.RequestException as error:
            raise ProviderUnreachable(f"{said(error)}. {READ_AGAIN}") from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:  # the client trips over an odd body
            raise nonsense(error) from error
        finally:
            inner._session.close()


def _running(client: Any, floating_ip: int) -> bool:
    """Whether an action on the address is under way."""
    from hcloud.floating_ips import FloatingIP

    return bool(client.floating_ips.get_actions_list(FloatingIP(id=floating_ip), status=["running"]).actions)


def _assign(client: Any, floating_ip: int, server: int) -> Any:
    from hcloud.floating_ips import FloatingIP
    from hcloud.servers import Server

    return client.floating_ips.assign(FloatingIP(id=floating_ip), Server(id=server))


def _addresses(server: Any) -> list[str]:
    """Every address of a server, as the estate would write it."""
    public = server.public_net
    found = [net.ip for net in server.private_net or []]
    if public is not None and public.ipv4 is not None:
        found.append(public.ipv4.ip)
    if public is not None and public.ipv6 is not None:
        found.append(str(ip_network(public.ipv6.ip, strict=False)[1]))  # a server's own is ::1 of its network
    return found


def _is(floating: str, address: str) -> bool:
    """IPv4: the address. IPv6: a network, and the address is one of it."""
    return ip_address(address) in ip_network(floating, strict=False)


def _told(error: Any, headers: Mapping[str, str]) -> ProviderError:
    code, words = error.code, said(error.message)
    if code in DENIED:
        return ProviderDenied(f"denied: {words}. Check the token, and that it may write.")
    if code in ("rate_limit_exceeded", 429):
        return ProviderError(f"too many requests: {words}. Wait.", retry_after_s=_wait_s(headers))
    if code in UNREACHABLE or (isinstance(code, int) and code >= 500):
        return ProviderUnreachable(f"{words} ({code}). {READ_AGAIN}")
    if isinstance(code, int) and code < 300:
        return nonsense(error.details)
    return ProviderError(f"refused: {words} ({code}).")


def _wait_s(headers: Mapping[str, str]) -> float | None:
    """Retry-After; else RateLimit-Reset, the time (Unix) when all requests are allowed again."""
    reset = bounded_retry_after_s(headers.get("Retry-After"))
    if reset is not None or "RateLimit-Reset" not in headers:
        return reset
    try:
        return bounded_retry_after_s(str(float(headers["RateLimit-Reset"]) - time.time()))
    except ValueError:
        return None
