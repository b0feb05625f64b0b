"""A rig for each kind of source of facts: the real thing behind it, and how that is made half, silent or wrong.

`web1` and `web2` are nodes that every rig knows; `fact` is one of theirs. Nobody answers for `GONE`.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from facts_puppetdb import Mood, PuppetDbServer

from backstay.audit.ports import FactSource, Surroundings
from backstay.audit.sources import ansible, facter, file, osquery, puppetdb, ssh
from real_sshd import Sshd, new_host_key

GONE = "gone"
ADDRESSES = {"web1": "127.0.0.41", "web2": "127.0.0.42", GONE: "127.0.0.43"}
READER_UID = 4242  # a user without root, who exists in sshd's own /etc/passwd alone


class Rig:
    """`source()` makes one as the estate would, from the kind's factory."""

    kind: Any  # the module
    fact = "kernel"
    value = "Linux"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.addresses: Mapping[str, str] = ADDRESSES
        self.settings: dict[str, Any] = {}

    def source(self, **more: Any) -> FactSource:
        around = Surroundings(addresses=self.addresses, base=self.folder, clock=lambda: datetime.now(UTC))
        made: FactSource = self.kind.facts(self.settings | more, around)
        return made

    async def start(self) -> None:
        """Bring up the real thing, well."""

    async def stop(self) -> None:
        """End it."""

    async def half(self) -> None:
        """From now on some of web1's facts cannot be read."""
        raise NotImplementedError

    async def nothing(self) -> None:
        """From now on nothing of web1 can be read."""
        raise NotImplementedError

    async def stall(self) -> None:
        """From now on web1 takes for ever."""
        raise NotImplementedError

    async def well(self) -> None:
        """As at the start."""
        raise NotImplementedError


class OverSsh(Rig):
    """A real OpenSSH server. Half: a program there that hangs. Nothing: another host's key. Stalled: nobody speaks."""

    def __init__(self, folder: Path, sshd: Sshd) -> None:
        super().__init__(folder)
        self.sshd = sshd
        self._silent: asyncio.Server | None = None

    async def start(self) -> None:
        self.settings = {
            "key": {"file": str(self.sshd.key)},
            "known_hosts": "known_hosts",
            "user": self.sshd.user,
            "port": self.sshd.port,
        }
        self._knows(self.sshd.host_key)

    def _knows(self, host_key: str) -> None:
        names = ",".join(f"[{name}]:{self.sshd.port}" for name in ADDRESSES)
        (self.folder / "known_hosts").write_text(f"{names} {host_key}\n")

    async def stop(self) -> None:
        if self._silent is not None:
            self._silent.close()
        for program in programs_of(self.sshd).iterdir():
            program.unlink()

    async def nothing(self) -> None:
        self._knows(new_host_key(self.folder / "nobodys"))

    async def stall(self) -> None:
        async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        self._silent = await asyncio.start_server(silence, "127.0.0.44", self.sshd.port)
        self.addresses = ADDRESSES | {"web1": "127.0.0.44"}

    async def well(self) -> None:
        self.addresses = ADDRESSES
        self._knows(self.sshd.host_key)


class SshRig(OverSsh):
    kind = ssh
    fact, value = "kernel.release", os.uname().release

    async def half(self) -> None:
        program(self.sshd, "dmidecode", "exec sleep 600")
        self.settings["timeout_s"] = 2.0


class FacterSshRig(OverSsh):
    kind = facter

    async def start(self) -> None:
        await super().start()
        self.settings["command"] = ["a-facter", "--json"]
        self._facter(privileged=True)

    def _facter(self, *, privileged: bool) -> None:
        document = {"kernel": "Linux", "identity": {"privileged": privileged}}
        program(self.sshd, "a-facter", f"cat <<'END'\nWARN: a warning {{ }}\n{json.dumps(document, indent=1)}\nEND")

    async def half(self) -> None:
        self._facter(privileged=False)


class FolderRig(Rig):
    """Files. web1 is known by its full name, as it is to many tools."""

    async def start(self) -> None:
        self.files = self.folder / "facts"
        self.files.mkdir()
        self.settings = {"path": "facts"}
        await self.well()

    def write(self, name: str, content: Any) -> None:
        (self.files / name).write_text(content if isinstance(content, str) else json.dumps(content))

    async def nothing(self) -> None:
        for path in self.files.iterdir():
            if path.name.startswith(("web1", "s1_web1")):
                path.write_bytes(b"\x00\xff{nonsense" * 1_000)


class FacterFolderRig(FolderRig):
    kind = facter

    async def well(self) -> None:
        self.write("web1.example.com.json", {"kernel": "Linux", "identity": {"privileged": True}})
        self.write("web2", {"kernel": "Linux"})

    async def half(self) -> None:
        self.write("web1.example.com.json", {"kernel": "Linux", "identity": {"privileged": False}})


class AnsibleRig(FolderRig):
    kind = ansible
    fact = "ansible.kernel"
    value = "6.1"

    async def well(self) -> None:
        whole = {"ansible_kernel": "6.1", "gather_subset": ["all"]}
        self.write("s1_web1", {"__payload__": json.dumps(whole)})
        self.write("web2.example.com", whole)

    async def half(self) -> None:
        self.write("s1_web1", {"ansible_kernel": "6.1", "gather_subset": ["!all", "min"]})


class OsqueryFolderRig(FolderRig):
    kind = osquery
    fact = "osquery.kernel_info.version"
    value = "6.1"

    async def well(self) -> None:
        rows = [{"version": "6.1", "path": "/vmlinuz"}]
        self.write("web1.json", {"kernel_info": rows})
        (self.files / "web2.example.com").mkdir(exist_ok=True)
        self.write("web2.example.com/kernel_info.json", rows)  # as osqueryi prints it


class FileRig(Rig):
    kind = file

    async def start(self) -> None:
        self.settings = {"path": "facts.jsonl"}
        await self.well()

    def _write(self, **of_web1: Any) -> None:
        facts = {"kernel": "Linux"}
        lines = [{"node": "web1", "facts": facts} | of_web1, {"node": "web2", "facts": facts}]
        (self.folder / "facts.jsonl").write_text("\n".join(map(json.dumps, lines)))

    async def well(self) -> None:
        self._write()

    async def half(self) -> None:
        self._write(unread={"dmi.*": "needs root"})

    async def nothing(self) -> None:
        (self.folder / "facts.jsonl").write_bytes(b"\x00\xff{nonsense" * 1_000)


class OsqueryLogRig(Rig):
    kind = osquery
    fact = "osquery.kernel_info.version"
    value = "6.1"

    async def start(self) -> None:
        self.settings = {"path": "osqueryd.results.log"}
        await self.well()

    def _write(self, *more: dict[str, Any]) -> None:
        now = int(datetime.now(UTC).timestamp())
        lines = [
            {
                "name": "pack_inventory_kernel_info",
                "hostIdentifier": host,
                "unixTime": now,
                "action": "snapshot",
                "snapshot": [{"version": "6.1"}],
            }
            for host in ("web1", "web2.example.com")
        ]
        said = [*lines, *({"hostIdentifier": "web1", "unixTime": now} | one for one in more)]
        (self.folder / "osqueryd.results.log").write_text("\n".join(map(json.dumps, said)) + "\n")

    async def well(self) -> None:
        self._write()

    async def half(self) -> None:
        self._write({"name": "deb_packages", "counter": 9, "action": "added", "columns": {"name": "a", "version": "1"}})

    async def nothing(self) -> None:
        (self.folder / "osqueryd.results.log").write_bytes(b"\x00\xff{nonsense" * 1_000)


class PuppetDbRig(Rig):
    """Half: Facter ran there without root."""

    kind = puppetdb

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.server = PuppetDbServer(token="a token")
        (folder / "token").write_text("a token\n")

    async def start(self) -> None:
        now = datetime.now(UTC).isoformat()
        self.server.nodes = {
            "web1.example.com": {"kernel": "Linux", "identity": {"privileged": True}},
            "web2": {"kernel": "Linux"},
        }
        self.server.times = dict.fromkeys(self.server.nodes, now)
        await self.server.start()
        self.settings = {"url": f"http://127.0.0.1:{self.server.port}", "token": {"file": "token"}}

    async def stop(self) -> None:
        await self.server.stop()

    async def half(self) -> None:
        self.server.nodes["web1.example.com"] = {"kernel": "Linux", "identity": {"privileged": False}}

    async def nothing(self) -> None:
        self.server.mood = Mood.BROKEN

    async def stall(self) -> None:
        self.server.mood = Mood.SLOW

    async def well(self) -> None:
        self.server.mood = Mood.WELL


RIGS: dict[str, type[Rig]] = {
    "ssh": SshRig,
    "facter-ssh": FacterSshRig,
    "facter-folder": FacterFolderRig,
    "puppetdb": PuppetDbRig,
    "ansible": AnsibleRig,
    "osquery-folder": OsqueryFolderRig,
    "osquery-log": OsqueryLogRig,
    "file": FileRig,
}


@asynccontextmanager
async def a_rig(name: str, folder: Path, sshd: Sshd | None) -> AsyncIterator[Rig]:
    """`sshd`: of `an_sshd_with_programs`, for the kinds that need one."""
    made: type[Any] = RIGS[name]
    rig: Rig = made(folder) if sshd is None else made(folder, sshd)
    await rig.start()
    try:
        yield rig
    finally:
        await rig.stop()


@contextmanager
def an_sshd_with_programs(folder: Path) -> Iterator[Sshd]:
    """One for web1 and web2, whose programs the rigs replace."""
    path = f"PATH={folder / 'sshd' / 'bin'}:{os.environ['PATH']}"
    with Sshd(folder / "sshd", [ADDRESSES["web1"], ADDRESSES["web2"]], [f"SetEnv {path}"]) as sshd:
        programs_of(sshd).mkdir()
        yield sshd


def programs_of(sshd: Sshd) -> Path:
    return sshd.folder / "bin"


def program(sshd: Sshd, name: str, script: str) -> None:
    """From now on `name` is this script on the nodes of `an_sshd_with_programs`."""
    path = programs_of(sshd) / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@contextmanager
def an_sshd_for_a_user_without_root() -> Iterator[Sshd]:
    """As root: with a user of its own in an /etc/passwd of its own (a mount namespace). Else: ourselves."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # the user's keys are read as that user
        if os.geteuid() != 0:
            with Sshd(folder / "sshd", [ADDRESSES["web1"]]) as sshd:
                yield sshd
            return
        if shutil.which("unshare") is None or subprocess.run(["unshare", "-m", "true"], check=False).returncode != 0:
            pytest.skip("unshare makes no mount namespace here (util-linux, CAP_SYS_ADMIN)")
        users = folder / "passwd"
        users.write_text(f"{Path('/etc/passwd').read_text()}reader:*:{READER_UID}:{READER_UID}::/:/bin/sh\n")
        script = 'mount --bind "$0" /etc/passwd && exec "$@"'
        sshd = Sshd(folder / "sshd", [ADDRESSES["web1"]], launcher=["unshare", "-m", "sh", "-c", script, str(users)])
        sshd.user = "reader"
        with sshd:
            (sshd.folder / "authorized").chmod(0o644)
            yield sshd
