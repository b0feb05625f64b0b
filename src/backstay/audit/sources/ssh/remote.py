"""One node over SSH: its host key is known or nothing is sent, a key logs in, one command, what it prints, its end.

For whatever reads nodes without an agent: facts, counters. asyncssh is imported when the first node is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, StringConstraints

from backstay.audit.ports import SourceError, Surroundings
from backstay.audit.sources.settings import below, secret_of
from backstay.estate.model import Model, Secret

if TYPE_CHECKING:
    import asyncssh

PIECE_BYTES = 65_536
KEEPALIVE_S = 15
NEXT = "Is it up, and is sshd there?"


class Unreachable(Exception):
    """Nothing was run there: what, where, what next; a sentence without the node's name."""


class Login(Model):
    """How a source logs in to nodes. Sources add their own keys."""

    key: Secret
    """Private key (OpenSSH or PEM, without a passphrase) that the nodes let in: a secret reference."""
    known_hosts: Annotated[str, StringConstraints(min_length=1, max_length=4_096)]
    """File of host keys by node name or address, as OpenSSH writes them."""
    user: Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_-]{0,31}$")] = "backstay"
    """Who it logs in as."""
    port: Annotated[int, Field(ge=1, le=65_535)] = 22
    """Of the nodes' SSH servers."""
    connect_timeout_s: Annotated[float, Field(gt=0, le=120, allow_inf_nan=False)] = 10.0
    """A node that lets nobody in for so long is unreachable."""
    at_once: Annotated[int, Field(ge=1, le=200)] = 16
    """Nodes that are read at the same time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What a command printed (stdout and stderr as they came), and how it ended."""

    out: bytes
    exit_code: int | None = None  # None: a signal, or it was cut
    cut: str = ""  # why this is not all of it; empty: it is


class Remote:
    """Logs in to nodes as `login` says. The key is read once, at the first use."""

    def __init__(self, login: Login, around: Surroundings, kind: str) -> None:
        self._login = login
        self._around = around
        self._kind = kind
        self._known_hosts = below(around, login.known_hosts)
        self._key: asyncssh.SSHKey | None = None

    async def ready(self) -> None:
        """Have the key, and a file of host keys. Raises SourceError: without them no node can be read."""
        import asyncssh

        if not self._known_hosts.is_file():
            what = f"source {self._kind}: known_hosts: no file {self._known_hosts}"
            raise SourceError(f"{what}. Make it: ssh-keyscan NODE... , and compare what it says on the nodes.")
        if self._key is None:
            text = await secret_of(self._login.key, self._around, self._kind)
            try:
                self._key = asyncssh.import_private_key(text + "\n")
            except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, ValueError) as error:
                what = f"source {self._kind}: key: {error}"
                raise SourceError(
                    f"{what}. Give a private key as ssh-keygen writes it, without a passphrase."
                ) from None

    @asynccontextmanager
    async def connected(self, node: str) -> AsyncIterator[asyncssh.SSHClientConnection]:
        """A connection to `node`, ended at once afterwards. Raises Unreachable; SourceError as `ready`."""
        await self.ready()
        connection = await self._connect(node)
        try:
            yield connection
        finally:
            connection.abort()

    async def _connect(self, node: str) -> asyncssh.SSHClientConnection:
        import asyncssh

        login, address = self._login, self._around.addresses.get(node)
        if address is None:
            raise Unreachable("the estate has no such node, so there is no address. Add it under nodes.")
        where = f"{address} port {login.port}"
        try:
            return await asyncssh.connect(
                address,
                login.port,
                username=login.user,
                client_keys=[self._key],
                known_hosts=str(self._known_hosts),
                host_key_alias=node,
                config=None,  # nobody's ~/.ssh
                agent_path=None,
                preferred_auth="publickey",
                connect_timeout=login.connect_timeout_s,
                login_timeout=login.connect_timeout_s,
                keepalive_interval=KEEPALIVE_S,
            )
        except asyncssh.HostKeyNotVerifiable as error:
            what = f"{where}: its host key is not that of {self._known_hosts} ({error.reason})"
            raise Unreachable(f"{what}. Nothing was sent. Put the right key there, if it is one.") from error
        except asyncssh.PermissionDenied as error:
            what = f"{where}: {login.user} is not let in with the key. {error.reason}"
            raise Unreachable(f"{what}. Put its public half into authorized_keys there.") from error
        except TimeoutError as error:
            raise Unreachable(f"{where}: no answer within {login.connect_timeout_s:g} s. {NEXT}") from error
        except (asyncssh.Error, ValueError) as error:
            raise Unreachable(f"{where}: {error}. {NEXT}") from error
        except OSError as error:
            raise Unreachable(f"{where}: {error.strerror or error}. {NEXT}") from error


async def run(
    connection: asyncssh.SSHClientConnection, command: str, feed: bytes, *, timeout_s: float, limit_bytes: int
) -> Ended:
    """Run `command` (the node's shell reads it) with `feed` on its stdin, to its end, `timeout_s` or `limit_bytes`.

    Never raises for what the node does: what was printed until then is there, and `cut` says why it is not all.
    """
    import asyncssh

    out = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            process = await connection.create_process(command, stderr=asyncssh.STDOUT, encoding=None)
            process.stdin.write(feed)
            process.stdin.write_eof()
            while piece := await process.stdout.read(PIECE_BYTES):
                out += piece
                if len(out) > limit_bytes:
                    return Ended(out=bytes(out[:limit_bytes]), cut=f"it printed more than {limit_bytes} bytes")
            await process.wait_closed()
    except TimeoutError:
        return Ended(out=bytes(out), cut=f"it was not done within {timeout_s:.0f} s")
    except (asyncssh.Error, OSError) as error:
        return Ended(out=bytes(out), cut=f"the connection broke off: {str(error)[:200] or type(error).__name__}")
    if process.exit_status is None:
        return Ended(out=bytes(out), cut="the connection broke off before its end")
    return Ended(out=bytes(out), exit_code=process.exit_status)
