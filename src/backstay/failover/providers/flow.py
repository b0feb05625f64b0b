"""The one way to assign an address, whoever the vendor is. A vendor says only how to read and how to route.

    read the owner -> is it the target? done, nothing called -> is it whom we expect? else OwnerChanged
        -> route, once -> read until the vendor says that it is so

Each request to a vendor is a step of its own. So when the time is up, or the caller is cancelled, no further step
begins: a request that alters something is never sent by a call that nobody waits for any more.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from backstay.blocking import in_thread
from backstay.failover.ports import Assigned, Owner, OwnerChanged, ProviderError, ProviderUnreachable

REQUEST_S = 5.0  # one request; a vendor that needs longer is as good as down for a takeover
RETRY_AFTER_LIMIT_S = 3_600.0  # Hetzner's Robot allows 50 requests an hour: no vendor should need more
SAID_LIMIT = 200  # characters of what a vendor said that we pass on
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the vendor says of an address."""

    holder: str | None  # a node; the vendor's own name for a machine that is none; None: nobody
    moving: bool
    ref: object = None  # what the adapter needs again to route it


class Ask:
    """One operation's way to its vendor: counts the requests, and gives none more time than there is."""

    def __init__(self, timeout_s: float) -> None:
        self.calls = 0
        self._began_s = time.monotonic()
        self._timeout_s = timeout_s

    @property
    def took_s(self) -> float:
        return time.monotonic() - self._began_s

    def begin(self) -> float:
        """Count a request that is about to be sent; the seconds that it may take."""
        self.calls += 1
        return max(0.05, min(REQUEST_S, self._timeout_s - self.took_s))

    async def __call__(self, request: Callable[[float], T]) -> T:
        """Do one blocking request in a thread. `request` takes its timeout and sets it on its library's transport."""
        limit_s = self.begin()
        try:
            # The library's own timeout comes first, except for an answer that trickles: those count between bytes.
            return await in_thread(lambda: request(limit_s), timeout_s=limit_s + 0.5)
        except TimeoutError as error:
            raise ProviderUnreachable(f"no answer in {limit_s:.1f} s {error}".rstrip() + ". " + READ_AGAIN) from error


READ_AGAIN = "What was done is not known: read the owner again."


class Vendor(Protocol):
    """What an adapter says of its vendor. Its calls raise ProviderError; anything else is made one by `Routed`."""

    async def read(self, address: str, ask: Ask) -> Reading: ...

    async def route(self, address: str, target: str, reading: Reading, ask: Ask) -> None:
        """Have `address` routed to node `target`; never unassign. Return when the vendor took it, or has done it."""
        ...

    async def close(self) -> None: ...


class Routed:
    """An IpProvider over a Vendor."""

    def __init__(self, name: str, vendor: Vendor, nodes: Mapping[str, str]) -> None:
        self._name = name
        self._vendor = vendor
        self._nodes = nodes

    async def owner(self, address: str, *, timeout_s: float) -> Owner:
        async with self._within(timeout_s, f"owner of {address}") as ask:
            reading = await self._vendor.read(address, ask)
            return Owner(holder=reading.holder, moving=reading.moving)

    async def assign(self, address: str, target: str, *, expect: str | None, timeout_s: float) -> Assigned:
        if target not in self._nodes:
            raise ProviderError(f'{self._name}: "{target}" is no node of the estate, so {address} stays where it is.')
        async with self._within(timeout_s, f"routing {address} to {target}") as ask:
            reading = await self._at_rest(address, ask)
            already = reading.holder == target
            if not already:
                if reading.holder != expect:
                    raise _changed(address, reading.holder, expect)
                await self._vendor.route(address, target, reading, ask)
                await self._arrived(address, target, reading.holder, ask)
            return Assigned(holder=target, calls=ask.calls, took_s=ask.took_s, already=already)

    async def close(self) -> None:
        await self._vendor.close()

    async def _at_rest(self, address: str, ask: Ask) -> Reading:
        """Wait while a route is under way, ours of before a restart or somebody else's: nobody starts another."""
        pause_s = FIRST_PAUSE_S
        while (reading := await self._vendor.read(address, ask)).moving:
            await asyncio.sleep(pause_s)
            pause_s = min(LONGEST_PAUSE_S, pause_s * 2)
        return reading

    async def _arrived(self, address: str, target: str, before: str | None, ask: Ask) -> None:
        """Read until the vendor says that it is routed. It was accepted: a reading that fails changes nothing."""
        moved, pause_s = False, FIRST_PAUSE_S
        while True:
            wait_s = pause_s
            try:
                reading = await self._vendor.read(address, ask)
            except ProviderError as error:
                if error.retry_after_s is None and not isinstance(error, ProviderUnreachable):
                    raise
                wait_s = max(pause_s, error.retry_after_s or 0.0)
            else:
                if reading.holder == target and not reading.moving:
                    return
                if reading.holder not in (before, target) and not reading.moving:
                    raise _changed(address, reading.holder, target)
                if moved and not reading.moving:
                    raise ProviderError(
                        f"{address}: the route was begun, and ended with {_named(reading.holder)} as before. "
                        "See the provider's own log, then try again."
                    )
                moved = moved or reading.moving
            await asyncio.sleep(wait_s)
            pause_s = min(LONGEST_PAUSE_S, pause_s * 2)

    @asynccontextmanager
    async def _within(self, timeout_s: float, what: str) -> AsyncIterator[Ask]:
        """Every call ends by `timeout_s`; every error names the provider and what was asked."""
        ask = Ask(timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                yield ask
        except TimeoutError as error:
            raise ProviderUnreachable(f"{self._name}: {what}: not done in {timeout_s:g} s. {READ_AGAIN}") from error
        except ProviderError as error:
            named = type(error)(f"{self._name}: {what}: {error}", retry_after_s=error.retry_after_s)
            raise named from error
        except Exception as error:  # a secret that cannot be had; a fault of ours, of a library, of a plugin
            raise ProviderError(f"{self._name}: {what}: {type(error).__name__}: {said(error)}") from error


def bounded_retry_after_s(header: str | None) -> float | None:
    """Retry-After in seconds (RFC 9110, 10.2.3), 0 to an hour. A date, or nonsense: None."""
    try:
        seconds = float((header or "").strip())
    except ValueError:
        return None
    return None if math.isnan(seconds) else min(RETRY_AFTER_LIMIT_S, max(0.0, seconds))


def said(text: object) -> str:
    """What a vendor said, on one line and of bounded length: it ends on terminals and in pages."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in str(text)[:2_000]).split())
    return line if len(line) <= SAID_LIMIT else line[:SAID_LIMIT] + "..."


def nonsense(what: object) -> ProviderUnreachable:
    return ProviderUnreachable(f"the answer makes no sense: {said(what)}. {READ_AGAIN}")


def _changed(address: str, holder: str | None, expect: str | None) -> OwnerChanged:
    return OwnerChanged(
        f"{address} is with {_named(holder)}, not with {_named(expect)}: somebody else moved it. Nothing was done."
    )


def _named(holder: str | None) -> str:
    return holder if holder is not None else "nobody"
