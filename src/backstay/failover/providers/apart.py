"""A provider in a process of its own (backstay/apart.py): what the agent uses.

When the child dies, what was in flight is unknown (ProviderUnreachable: read the owner again), and the next question
starts another. Nothing is lost with it: the vendor's word is the truth, and it is read anew.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from pydantic import TypeAdapter

from backstay import apart
from backstay.estate.model import Provider, Secret
from backstay.failover import ports
from backstay.failover.ports import Assigned, IpProvider, Owner, ProviderError, ProviderUnreachable

START_S = 20.0  # Python and the vendor's library, on a machine that has other troubles

_PROVIDER: TypeAdapter[Provider] = TypeAdapter(Provider)
_ERRORS = {
    kind.__name__: kind for kind in (ProviderError, ports.OwnerChanged, ProviderUnreachable, ports.ProviderDenied)
}


class Apart:
    """An `IpProvider` that asks the one in the child."""

    def __init__(
        self, provider: Provider, nodes: Mapping[str, str], secrets: Mapping[str, str], faults: Mapping[str, str]
    ) -> None:
        """`secrets`: a reference (`secret_key`) -> the secret; `faults`: why it was not to be had."""
        declared = _PROVIDER.dump_python(provider, mode="json")
        begin = {"provider": declared, "nodes": dict(nodes), "secrets": dict(secrets), "faults": dict(faults)}
        self._child = apart.Child(__name__, begin)

    async def owner(self, address: str, *, timeout_s: float) -> Owner:
        return Owner(**await self._ask("owner", timeout_s, address=address))

    async def assign(self, address: str, target: str, *, expect: str | None, timeout_s: float) -> Assigned:
        return Assigned(**await self._ask("assign", timeout_s, address=address, target=target, expect=expect))

    async def close(self) -> None:
        await self._child.close()

    async def _ask(self, call: str, timeout_s: float, **arguments: str | None) -> dict[str, Any]:
        question = {"call": call, "arguments": {**arguments, "timeout_s": timeout_s}}
        try:
            # The call ends by itself in the child; the time beyond is for a child that does not answer at all.
            told = await self._child.ask(question, timeout_s=timeout_s + START_S)
        except apart.ChildGone as gone:
            raise ProviderUnreachable(f"the process that asks the provider: {gone}") from gone
        if "error" in told:
            error = _ERRORS.get(told["error"], ProviderError)
            raise error(told["message"], retry_after_s=told["retry_after_s"])
        result: dict[str, Any] = told["result"]
        return result


def secret_key(secret: Secret) -> str:
    """A secret reference as a key that both processes make alike."""
    return secret.model_dump_json()


def _begun(begin: Mapping[str, Any]) -> apart.Answer:
    """The child: the provider that was declared, as what answers."""
    from backstay.failover.providers import NoSuchProvider, load_provider

    declared = _PROVIDER.validate_json(json.dumps(begin["provider"]))
    try:
        provider = load_provider(declared, begin["nodes"], _secret_of(begin["secrets"], begin["faults"]))
    except NoSuchProvider as error:
        absent = _told(ProviderError(str(error)))

        async def nobody(_: Mapping[str, Any]) -> Mapping[str, Any]:
            return absent

        return nobody

    return lambda question: _answer(provider, question)


def _secret_of(secrets: Mapping[str, str], faults: Mapping[str, str]) -> Callable[[Secret], str]:
    def secret(reference: Secret) -> str:
        key = secret_key(reference)
        if key in secrets:
            return secrets[key]
        raise ports.ProviderDenied(faults.get(key, f"the secret {key} was not had"))

    return secret


async def _answer(provider: IpProvider, question: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        call = provider.owner if question["call"] == "owner" else provider.assign
        return {"result": asdict(await call(**question["arguments"]))}
    except ProviderError as error:
        return _told(error)
    except Exception as error:  # a fault of a provider is told as one, and does not end the process
        return _told(ProviderError(f"{type(error).__name__}: {error}"))


def _told(error: ProviderError) -> Mapping[str, Any]:
    return {"error": type(error).__name__, "message": str(error), "retry_after_s": error.retry_after_s}


if __name__ == "__main__":
    asyncio.run(apart.serve(_begun))
