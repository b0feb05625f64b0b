"""Where an agent keeps what it needs: one place for agents and commands alike (see docs/agent.md, On disk)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

SOCKET_PATH_LIMIT_BYTES = 107  # sun_path of unix(7) is 108 bytes, the closing zero included


def run_dir() -> Path:
    """BACKSTAY_RUN_DIR, else /run/backstay as root, else XDG_RUNTIME_DIR/backstay, else a folder of the state."""
    named = os.environ.get("BACKSTAY_RUN_DIR")
    if named:
        return Path(named)
    if os.geteuid() == 0:
        return Path("/run/backstay")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime) / "backstay" if runtime else _user_state() / "run"


def state_dir(node: str) -> Path:
    """The folder of one agent, in BACKSTAY_STATE_DIR, else /var/lib/backstay as root, else XDG_STATE_HOME/backstay."""
    named = os.environ.get("BACKSTAY_STATE_DIR")
    if named:
        return Path(named) / node
    return (Path("/var/lib/backstay") if os.geteuid() == 0 else _user_state()) / node


def control_socket(run: Path, node: str) -> Path:
    """The control API's unix socket. Raises ValueError when the path is longer than a socket's may be."""
    path = run / f"{node}.sock"
    if len(os.fsencode(path)) > SOCKET_PATH_LIMIT_BYTES:
        raise ValueError(
            f"{path}: longer than the {SOCKET_PATH_LIMIT_BYTES} bytes that a unix socket's path may have. "
            "Name a shorter run directory (--run-dir or BACKSTAY_RUN_DIR)."
        )
    return path


def _user_state() -> Path:
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / "backstay"


@dataclass(frozen=True, slots=True)
class StateFiles:
    """The files of one agent's STATE."""

    root: Path

    @property
    def estate(self) -> Path:
        """The last good estate."""
        return self.root / "estate.yaml"

    @property
    def adopted(self) -> Path:
        """Which estate was adopted, and what the given file was at that moment."""
        return self.root / "adopted.json"

    @property
    def changes(self) -> Path:
        return self.root / "changes.json"

    @property
    def applied(self) -> Path:
        """What the engine was made to run last."""
        return self.root / "applied.json"

    @property
    def certificates(self) -> Path:
        """Checked copies of certificates and keys."""
        return self.root / "tls"

    @property
    def checkpoint(self) -> Path:
        """Health, shares and drain proofs, to go on with after a restart."""
        return self.root / "agent.json"

    @property
    def link(self) -> Path:
        """With which server it is enrolled, and its credential. None is there without a server."""
        return self.root / "link.json"

    @property
    def followed(self) -> Path:
        """What is kept of the server's word."""
        return self.root / "followed.json"

    @property
    def spool(self) -> Path:
        return self.root / "spool"

    @property
    def engine(self) -> Path:
        return self.root / "engine"

    @property
    def rescale_log(self) -> Path:
        """One line a step, for `pool replay`; bounded, the one before as `.1`."""
        return self.root / "rescale.jsonl"
