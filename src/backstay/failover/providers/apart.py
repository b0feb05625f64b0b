"""A provider in a process of its own: vendors' libraries are large (boto3: 33 MB), and an agent stays small.

The child is started when first asked, answers one JSON line with another, and lives as long as its standard input is
open. When it dies, what was in flight is unknown (ProviderUnreachable: read the owner again), and the next question
starts another. Nothing is lost with it: the vendor's word is the truth, and it is read anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from pydantic import TypeAdapter

from backstay.estate.model import Provider, Secret
from backstay.failover import ports
from backstay.failover.ports import Assigned, IpProvider, Owner, ProviderError, ProviderUnreachable

LINE_LIMIT_BYTES = 1024 * 1024
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
        """`secrets`: a reference (`secret_key`) -> the secret; `faults`: why it was not to be had.

        They go to the child by its pipe: not by argv, not by disk.
        """
        declared = _PROVIDER.dump_python(provider, mode="json")
        self._begin = {"provider": declared, "nodes": dict(nodes), "secrets": dict(secrets), "faults": dict(faults)}
        self._child: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._count = 0

    async def owner(self, address: str, *, timeout_s: float) -> Owner:
        return Owner(**await self._ask("owner", timeout_s, address=address))

    async def assign(self, address: str, target: str, *, expect: str | None, timeout_s: float) -> Assigned:
        return Assigned(**await self._ask("assign", timeout_s, address=address, target=target, expect=expect))

    async def close(self) -> None:
        child, self._child = self._child, None
        if child is not None and child.returncode is None:
            child.kill()
            await child.wait()
        if self._listening is not None:
            await asyncio.gather(self._listening, return_exceptions=True)

    async def _ask(self, call: str, timeout_s: float, **arguments: str | None) -> dict[str, Any]:
        self._count += 1
        number, answer = self._count, asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        line = json.dumps({"number": number, "call": call, "arguments": {**arguments, "timeout_s": timeout_s}})
        try:
            child = await self._running()
            assert child.stdin is not None
            child.stdin.write(line.encode() + b"\n")
            # The call ends by itself in the child; this is for a child that does not answer at all.
            async with asyncio.timeout(timeout_s + START_S):
                await child.stdin.drain()
                told = await answer
        except TimeoutError:
            await self.close()
            raise ProviderUnreachable(
                "the process that asks the provider did not answer in time; it was ended"
            ) from None
        except asyncio.CancelledError:
            await self.close()  # nobody waits any more: the next step of the call must not begin
            raise
        except OSError as gone:
            raise ProviderUnreachable(f"the process that asks the provider is gone: {gone}") from gone
        finally:
            self._asked.pop(number, None)
        if "error" in told:
            error = _ERRORS.get(told["error"], ProviderError)
            raise error(told["message"], retry_after_s=told["retry_after_s"])
        result: dict[str, Any] = told["result"]
        return result

    async def _running(self) -> asyncio.subprocess.Process:
        async with self._starting:
            if self._child is None or self._child.returncode is not None:
                self._child = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "backstay.failover.providers.apart",
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    limit=LINE_LIMIT_BYTES,
                )
                assert self._child.stdin is not None
                self._child.stdin.write(json.dumps(self._begin).encode() + b"\n")
                self._listening = asyncio.create_task(self._listen(self._child))
            return self._child

    async def _listen(self, child: asyncio.subprocess.Process) -> None:
        assert child.stdout is not None
        with contextlib.suppress(ValueError):  # a line beyond the limit: no child of ours
            while line := await child.stdout.readline():
                told = json.loads(line)
                waiting = self._asked.get(told["number"])
                if waiting is not None and not waiting.done():
                    waiting.set_result(told)
        gone = {"error": "ProviderUnreachable", "message": "the process that asks the provider ended"}
        for waiting in self._asked.values():
            if not waiting.done():
                waiting.set_result(gone | {"retry_after_s": None})


def secret_key(secret: Secret) -> str:
    """A secret reference as a key that both processes make alike."""
    return secret.model_dump_json()


async def _serve() -> None:
    """The child: the provider by its first line, then an answer for each question."""
    from backstay.failover.providers import NoSuchProvider, load_provider

    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=16 * LINE_LIMIT_BYTES)  # the nodes of a large estate are in the first line
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
    first = await reader.readline()
    if not first:
        return
    begin = json.loads(first)
    declared = _PROVIDER.validate_json(json.dumps(begin["provider"]))
    provider: IpProvider | NoSuchProvider
    try:
        provider = load_provider(declared, begin["nodes"], _secret_of(begin["secrets"], begin["faults"]))
    except NoSuchProvider as error:
        provider = error
    calls: set[asyncio.Task[None]] = set()
    while line := await reader.readline():
        task = asyncio.create_task(_answer(provider, json.loads(line)))
        calls.add(task)
        task.add_done_callback(calls.discard)


def _secret_of(secrets: Mapping[str, str], faults: Mapping[str, str]) -> Callable[[Secret], str]:
    def secret(reference: Secret) -> str:
        key = secret_key(reference)
        if key in secrets:
            return secrets[key]
        raise ports.ProviderDenied(faults.get(key, f"the secret {key} was not had"))

    return secret


async def _answer(provider: IpProvider | Exception, asked: Mapping[str, Any]) -> None:
    told: dict[str, Any] = {"number": asked["number"]}
    if isinstance(provider, Exception):
        _tell(told | {"error": "ProviderError", "message": str(provider), "retry_after_s": None})
        return
    try:
        call = provider.owner if asked["call"] == "owner" else provider.assign
        told["result"] = asdict(await call(**asked["arguments"]))
    except ProviderError as error:
        told |= {"error": type(error).__name__, "message": str(error), "retry_after_s": error.retry_after_s}
    except Exception as error:  # a fault of a provider is told as one, and does not end the process
        told |= {"error": "ProviderError", "message": f"{type(error).__name__}: {error}", "retry_after_s": None}
    _tell(told)


def _tell(told: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_serve())
