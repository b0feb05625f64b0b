"""A lab on disk: one folder with its record, its layout, its processes and its faults in force.

Everything that `lab down` needs is here before it is needed, so who never saw a lab start can end it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from backstay.lab import proc
from backstay.lab.machines.parts import Stand
from backstay.lab.model import FabricKind, LabError, Layout, Published, Served, Spawned
from backstay.lab.plan.faults import Fault
from backstay.lab.plan.layout import FACTS_FOLDER

T = TypeVar("T")
SOCKET_PATH_MAX = 107  # sun_path of unix(7), less its final zero


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is known of a lab before its keeper starts, and of the keeper as soon as it runs."""

    id: str
    name: str
    fabric: FabricKind
    why: str  # why this fabric
    source: str  # the estate file that it was made of
    created_at: str  # ISO 8601, UTC
    slot: int  # second octet of its loopback addresses
    pid: int = 0  # of the keeper as this machine sees it (of `unshare`, where there is one)
    start_time_ticks: int = 0
    published: tuple[Published, ...] = ()
    served: Served | None = None  # None: no server, or it is not made yet


_RECORD = TypeAdapter(Record)
_LAYOUT = TypeAdapter(Layout)
_FAULTS = TypeAdapter(tuple[Fault, ...])


def labs_root(state_dir: Path | None = None) -> Path:
    """Where labs live: `state_dir`, else XDG_STATE_HOME/backstay/labs."""
    if state_dir:
        return state_dir.absolute()
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / "backstay" / "labs"


class LabFolder:
    """Paths and records of one lab."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.keeper_socket = path / "keeper.sock"
        self.estate_file = path / "estate.yaml"
        self.run = path / "run"  # RUN/NODE.sock of the agents
        self.control = path / "ctl"  # control sockets of web servers and relays
        self.nodes = path / "node"  # control sockets of what tells of the machines
        self.facts = path / FACTS_FOLDER  # a file a machine, as `facter --json` prints it
        self.machines_file = path / "machines.json"
        self.log = path / "log"
        self.hosts = path / "hosts"  # a folder a host, in which its processes work
        self.tls = path / "tls"
        self.ca = self.tls / "ca.crt"
        self.server = path / "server"  # the state of the lab's server
        self.server_ca = self.server / "tls" / "ca.crt"
        self.server_token = path / "secrets" / "server-token"

    @property
    def audit(self) -> Path:
        """The state in which commands find the audit's store: the server's, where there is one."""
        return (self.server if self.layout.server is not None else self.path) / "audit"

    def create(self, nodes: Iterable[str]) -> None:
        """Make the folders. Raises LabError when the path is too long for unix sockets."""
        longest = max((len(str(self.nodes / f"{node}.sock")) for node in nodes), default=0)
        if longest > SOCKET_PATH_MAX:
            raise LabError(
                f"{self.path} is too long for unix sockets ({longest} bytes, at most {SOCKET_PATH_MAX}). "
                "Give a shorter --state-dir."
            )
        self.path.mkdir(parents=True, mode=0o700)
        made = (self.run, self.control, self.nodes, self.facts, self.log, self.hosts, self.tls, self.path / "secrets")
        for folder in made:
            folder.mkdir()
        for node in nodes:
            (self.hosts / node).mkdir()

    def write_record(self, record: Record) -> None:
        _replace(self.path / "lab.json", json.dumps(asdict(record)))

    @property
    def record(self) -> Record:
        """Raises LabError when the record is missing or damaged."""
        return self._read("lab.json", _RECORD)

    def write_layout(self, layout: Layout) -> None:
        _replace(self.path / "layout.json", json.dumps(asdict(layout)))

    @cached_property
    def layout(self) -> Layout:
        return self._read("layout.json", _LAYOUT)

    def write_faults(self, faults: Iterable[Fault]) -> None:
        _replace(self.path / "faults.json", json.dumps([asdict(fault) for fault in faults]))

    def faults(self) -> tuple[Fault, ...]:
        return self._read("faults.json", _FAULTS) if (self.path / "faults.json").exists() else ()

    def write_machines(self, stand: Stand) -> None:
        _replace(self.machines_file, stand.as_json())

    def machines(self) -> Stand:
        """Raises LabError when the record is missing or damaged."""
        try:
            return Stand.of_json(self.machines_file.read_text(encoding="utf-8"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _unreadable(self.machines_file, error) from error

    def note_process(self, event: str, host: str, role: str, spawned: Spawned | None = None) -> None:
        """Append to processes.jsonl: "starting" before a start, "started" with its pid after it."""
        line = {"event": event, "host": host, "role": role} | (asdict(spawned) if spawned else {})
        with (self.path / "processes.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def keeper_alive(self) -> bool:
        record = self.record
        return record.pid > 0 and proc.alive(record.pid, record.start_time_ticks)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        if self.path.exists():
            raise LabError(f"{self.path} could not be removed: remove it by hand.")

    def _read(self, name: str, adapter: TypeAdapter[T]) -> T:
        file = self.path / name
        try:
            return adapter.validate_json(file.read_bytes())
        except (OSError, ValidationError) as error:
            raise _unreadable(file, error) from error


def find_labs(root: Path) -> list[LabFolder]:
    """Every lab under `root`, alive or not, by name."""
    if not root.is_dir():
        return []
    return [LabFolder(path) for path in sorted(root.iterdir()) if (path / "lab.json").exists()]


def the_lab(root: Path, name: str | None) -> LabFolder:
    """The lab called `name`, or the only one there is. Raises LabError."""
    labs = find_labs(root)
    names = ", ".join(lab.path.name for lab in labs) or "none"
    if name is not None:
        for lab in labs:
            if lab.path.name == name:
                return lab
        raise LabError(f'There is no lab "{name}" under {root}. Labs: {names}. Start one: backstay lab up.')
    if len(labs) == 1:
        return labs[0]
    if not labs:
        raise LabError(f"There is no lab under {root}. Start one: backstay lab up.")
    raise LabError(f"There are several labs: {names}. Say which: --name NAME.")


def _unreadable(file: Path, error: Exception) -> LabError:
    return LabError(f"{file} cannot be read ({error}). End this lab: backstay lab down.")


def _replace(file: Path, text: str) -> None:
    """Write `file` so that a crash at any moment leaves the old or the new content."""
    fresh = file.with_suffix(".new")
    with fresh.open("w") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    fresh.replace(file)
