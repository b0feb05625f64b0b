"""A real OpenSSH server on addresses of loopback, with keys and a configuration of its own; any user may run it.

with Sshd(folder, ["127.0.0.21"]) as sshd:
    sshd.port, sshd.key, sshd.user; sshd.host_key: as known_hosts has it
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

PROGRAM = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin")
needs_sshd = pytest.mark.skipif(
    PROGRAM is None or shutil.which("ssh-keygen") is None, reason="no openssh-server on this machine"
)
PRIVILEGES = Path("/run/sshd")  # root's sshd wants it, as systemd makes it. It stays: others use it
START_S = 20.0


class Sshd:
    def __init__(
        self, folder: Path, addresses: Sequence[str], config: Sequence[str] = (), launcher: Sequence[str] = ()
    ) -> None:
        """`config`: more lines of sshd_config. `launcher`: a command that starts the server as its last arguments."""
        self.folder = folder
        self.addresses = tuple(addresses)
        self.config = tuple(config)
        self.launcher = tuple(launcher)
        self.user = getpass.getuser()
        folder.mkdir()
        self.key = _keygen(folder / "client")
        self.host_key = _keygen(folder / "host").with_suffix(".pub").read_text().rsplit(" ", 1)[0]
        with socket.create_server((self.addresses[0], 0)) as free:
            self.port = int(free.getsockname()[1])

    def __enter__(self) -> Sshd:
        shutil.copy(self.key.with_suffix(".pub"), self.folder / "authorized")
        config = self.folder / "sshd_config"
        config.write_text(
            "\n".join(
                [
                    f"Port {self.port}",
                    *(f"ListenAddress {address}" for address in self.addresses),
                    f"HostKey {self.folder / 'host'}",
                    f"AuthorizedKeysFile {self.folder / 'authorized'}",
                    f"PidFile {self.folder / 'pid'}",
                    "StrictModes no",  # a temporary folder is below one that others may write
                    "UsePAM no",
                    "PasswordAuthentication no",
                    "PermitRootLogin prohibit-password",
                    *self.config,
                ]
            )
        )
        if os.geteuid() == 0:
            PRIVILEGES.mkdir(mode=0o755, exist_ok=True)
        self._log = (self.folder / "log").open("wb")
        assert PROGRAM is not None
        self._process = subprocess.Popen([*self.launcher, PROGRAM, "-D", "-e", "-f", str(config)], stderr=self._log)
        end = time.monotonic() + START_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection((self.addresses[0], self.port), 1.0):
                return self
            assert self._process.poll() is None and time.monotonic() < end, self.log()
            time.sleep(0.02)

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(START_S)
        self._log.close()

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")


def _keygen(path: Path) -> Path:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)], check=True, timeout=30
    )
    return path


def new_host_key(path: Path) -> str:
    """Of nobody: for a known_hosts that is wrong."""
    return _keygen(path).with_suffix(".pub").read_text().rsplit(" ", 1)[0]
