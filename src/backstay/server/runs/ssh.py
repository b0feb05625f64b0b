"""One node over SSH: its host key is known or nothing is sent, a key logs in, one command, what it prints, its end."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backstay.server.settings import RunSettings

if TYPE_CHECKING:
    import asyncssh

PIECE_BYTES = 16_384
KEEPALIVE_S = 15
KILL_AFTER_S = 10  # a command that does not end when it is told to
LATE_S = 30.0  # for the word that it has ended, after that
TIMED_OUT = (124, 137)  # timeout(1): it was told to end; it had to be killed


class Unreachable(Exception):
    """Nothing was run there: what, where, what next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a node's SSH server is. Its host key is known by either."""

    node: str
    address: str


class Ssh:
    """Logs in as the settings say; relative files are of `folder`."""

    def __init__(self, settings: RunSettings, folder: Path) -> None:
        self._settings = settings
        self._key = folder / settings.key
        self._known_hosts = folder / settings.known_hosts
        self.command = shlex.join(settings.command)
        # The node itself ends what lasts too long, also when this server or the network is gone by then. (sshd passes
        # on no signals to what root runs.)
        self._bounded = f"timeout --kill-after={KILL_AFTER_S} {settings.timeout_s:g} {self.command}"

    async def run(self, place: Place, hear: Callable[[bytes], None]) -> int | None:
        """The exit code of the command there; None when a signal ended it. stdout and stderr go to `hear`.

        Raises Unreachable, and TimeoutError when it was ended because it lasted too long.
        """
        connection = await self._connect(place)
        try:
            async with asyncio.timeout(self._settings.timeout_s + KILL_AFTER_S + LATE_S):
                exit_code = await self._command(connection, hear)
        except ConnectionError as error:
            raise Unreachable(f"{place.node}: the connection broke off: {error}. Puppet may have gone on.") from error
        finally:
            connection.abort()
        if exit_code in TIMED_OUT:
            raise TimeoutError
        return exit_code

    async def _connect(self, place: Place) -> asyncssh.SSHClientConnection:
        import asyncssh

        settings = self._settings
        where = f"{place.node} ({place.address} port {settings.port})"
        try:
            return await asyncssh.connect(
                place.address,
                settings.port,
                username=settings.user,
                client_keys=[str(self._key)],
                known_hosts=str(self._known_hosts),
                host_key_alias=place.node,
                config=None,  # nobody's ~/.ssh
                agent_path=None,
                preferred_auth="publickey",
                connect_timeout=settings.connect_timeout_s,
                login_timeout=settings.connect_timeout_s,
                keepalive_interval=KEEPALIVE_S,
            )
        except asyncssh.HostKeyNotVerifiable as error:
            what = f"{where}: its host key is not that of {self._known_hosts} ({error.reason})"
            raise Unreachable(f"{what}. Nothing was sent. Put the right key there, if it is one.") from error
        except asyncssh.PermissionDenied as error:
            raise Unreachable(f"{where}: {settings.user} is not let in with {self._key}. {error.reason}") from error
        except (asyncssh.Error, asyncssh.KeyImportError, ValueError) as error:
            raise Unreachable(f"{where}: {error}. See docs/integrations.md, Run now.") from error
        except TimeoutError as error:
            raise Unreachable(f"{where}: no answer within {settings.connect_timeout_s:g} s.") from error
        except OSError as error:
            raise Unreachable(f"{where}: {error}. Is it up? Are the files of the settings there?") from error

    async def _command(self, connection: asyncssh.SSHClientConnection, hear: Callable[[bytes], None]) -> int | None:
        import asyncssh

        try:
            process = await connection.create_process(
                self._bounded, stdin=asyncssh.DEVNULL, stderr=asyncssh.STDOUT, encoding=None
            )
            while piece := await process.stdout.read(PIECE_BYTES):
                hear(piece)
            await process.wait_closed()
        except asyncssh.Error as error:
            raise ConnectionError(error.reason) from error
        if process.exit_status is None and process.exit_signal is None:
            raise ConnectionError("it said nothing of the command's end")
        return process.exit_status if process.exit_signal is None else None
