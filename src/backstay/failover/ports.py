"""What failover needs from outside: a provider that routes a global IP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The provider's word on an address: the truth."""

    holder: str | None  # a node of the estate; the provider's own name for a machine that is none; None: nobody
    moving: bool  # a route is under way: nobody starts another


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned:
    """The provider says that the address is routed. Still to be verified through the address itself."""

    holder: str
    calls: int  # to the provider's API, reads included
    took_s: float
    already: bool  # it was so before: no call was made that changes anything


class ProviderError(Exception):
    """The provider did not do it: what was asked, what it said, what next."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class OwnerChanged(ProviderError):
    """The owner is not the one that was expected: somebody else moved it; nothing was done."""


class ProviderUnreachable(ProviderError):
    """No answer in time, cut in the middle, or nonsense: what was done is not known. Read the owner again."""


class ProviderDenied(ProviderError):
    """The credentials do not do: a person is needed."""


class IpProvider(Protocol):
    """Found by the entry points `backstay.providers`; called as
    `factory(provider: estate.Provider, nodes: Mapping[str, str], secrets: Callable[[Secret], str])`, `nodes` being
    node -> address.

    Every call ends by `timeout_s`, raises ProviderError and nothing else, and may be cancelled.
    """

    async def owner(self, address: str, *, timeout_s: float) -> Owner: ...

    async def assign(self, address: str, target: str, *, expect: str | None, timeout_s: float) -> Assigned:
        """Route `address` to node `target`, and return once the provider says that it is done.

        Reads the owner first: a no-op when it is `target` already, OwnerChanged when it is not `expect`.
        Never unassigns first. Idempotent.
        """
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What another candidate says of itself, for one address."""

    quarantined: bool
    took: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenThrough:
    """Who answered when the address itself was asked."""

    lb: str | None  # X-Backstay-LB; None: nobody, or somebody else's machine
    detail: str
    nameless: bool = False  # somebody serves it, by a protocol that tells no name


class Peers(Protocol):
    """The other load balancers' agents. Never raises: who does not answer is left out."""

    async def standings(self, ip: str, lbs: Sequence[str]) -> Mapping[str, Standing | None]:
        """None: its host says that no agent runs there (a refused connection, which is more than no answer)."""
        ...

    async def see(self, ip: str, lbs: Sequence[str]) -> Mapping[str, SeenThrough]:
        """What each of `lbs` gets when it asks the address of `ip` itself."""
        ...


class Pen(Protocol):
    """The journal. Never raises for a bad disk: the event is held in memory then, and `fault` says so."""

    @property
    def fault(self) -> str: ...

    def __call__(
        self,
        kind: str,
        subject: str,
        reason: str,
        *,
        data: Mapping[str, Any] | None = None,
        actor: str | None = None,
        cause: str | None = None,
    ) -> str:
        """Write what happened, or is about to; the event's id."""
        ...
