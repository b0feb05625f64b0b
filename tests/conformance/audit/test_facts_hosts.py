"""Facts of this very machine: by our own collector as root and without, by Debian's Facter, by Ansible's setup."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from facts_rigs import ADDRESSES, an_sshd_for_a_user_without_root, an_sshd_with_programs, program

from backstay.audit.model import FactReport
from backstay.audit.ports import SourceError, Surroundings
from backstay.audit.sources import ansible, facter, ssh
from backstay.audit.sources.merge import merge
from real_sshd import Sshd, needs_sshd

TIMEOUT_S = 60.0
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="root reads what others may not")
needs_facter = pytest.mark.skipif(shutil.which("facter") is None, reason="no facter on this machine")
ANSIBLE = Path(sys.executable).with_name("ansible")
needs_ansible = pytest.mark.skipif(not os.access(ANSIBLE, os.X_OK), reason="no ansible-core beside this Python")


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    with Sshd(tmp_path / "sshd", [ADDRESSES["web1"]]) as sshd:
        yield sshd


def around(folder: Path) -> Surroundings:
    return Surroundings(addresses=ADDRESSES, base=folder, clock=lambda: datetime.now(UTC))


def login(sshd: Sshd, folder: Path, **more: Any) -> dict[str, Any]:
    (folder / "known_hosts").write_text(f"[web1]:{sshd.port} {sshd.host_key}\n")
    given = {"key": {"file": str(sshd.key)}, "known_hosts": "known_hosts", "user": sshd.user, "port": sshd.port}
    return given | more


async def of(kind: Any, folder: Path, settings: dict[str, Any]) -> FactReport:
    source = kind.facts(settings, around(folder))
    (report,) = await source.read(["web1"], timeout_s=TIMEOUT_S)
    await source.close()
    assert isinstance(report, FactReport)
    return report


@needs_sshd
@needs_root
async def test_root_reads_what_the_machine_is_made_of(tmp_path: Path, sshd: Sshd) -> None:
    report = await of(ssh, tmp_path, login(sshd, tmp_path))
    assert report.problem == ""
    assert report.values["kernel.release"] == os.uname().release
    assert report.values["hostname"] == os.uname().nodename
    said = Path("/proc/cpuinfo").read_text()
    for fact in ("cpu.microcode", "cpu.bugs", "cpu.flags"):  # an ARM has others
        assert report.values.get(fact, "").partition(",")[0] in said
    assert any(fact.startswith("cpu.mitigations.") for fact in report.values)
    assert report.values["sysctl.kernel.ostype"] == "Linux"
    assert any(fact.startswith("package.") for fact in report.values) or "package.*" in report.unread
    assert "tcp_fastopen_key" not in " ".join(report.values)
    assert "needs root" not in report.unread.values()


@needs_sshd
async def test_a_user_without_root_says_what_root_would_have_read(tmp_path: Path) -> None:
    with an_sshd_for_a_user_without_root() as sshd:
        report = await of(ssh, tmp_path, login(sshd, tmp_path))
    assert report.problem == "", sshd
    assert report.values["kernel.release"] == os.uname().release
    for group in ("memory.*", "bios.*", "board.*", "system.*"):
        assert report.unread[group] in ("needs root", "no dmidecode there")
    assert any(fact.startswith("sysctl.") and why == "needs root" for fact, why in report.unread.items())


@needs_sshd
async def test_a_host_with_another_key_is_sent_nothing(tmp_path: Path, sshd: Sshd) -> None:
    settings = login(sshd, tmp_path)
    (tmp_path / "known_hosts").write_text("")
    report = await of(ssh, tmp_path, settings)
    assert "its host key is not that of" in report.problem
    assert "Nothing was sent" in report.problem


@needs_sshd
async def test_host_keys_may_be_known_by_address_too(tmp_path: Path, sshd: Sshd) -> None:
    settings = login(sshd, tmp_path)
    (tmp_path / "known_hosts").write_text(f"[{ADDRESSES['web1']}]:{sshd.port} {sshd.host_key}\n")
    assert (await of(ssh, tmp_path, settings)).problem == ""


@needs_sshd
async def test_a_key_that_is_not_let_in_or_none_at_all_is_told(tmp_path: Path, sshd: Sshd) -> None:
    settings = login(sshd, tmp_path, user="nobody" if os.geteuid() != 0 else "no-such-user")
    assert "is not let in with the key" in (await of(ssh, tmp_path, settings)).problem
    (tmp_path / "not-a-key").write_text("hello")
    with pytest.raises(SourceError, match=r"source ssh: key: .*Give a private key as ssh-keygen writes it"):
        await of(ssh, tmp_path, settings | {"key": {"file": "not-a-key"}})


@needs_sshd
@pytest.mark.parametrize(
    ("command", "said"),
    [("exec yes", "printed more than"), ("exec false", "told nothing"), ("kill -9 $$", "broke off|told nothing")],
)
async def test_a_node_that_answers_something_else_is_a_problem(
    tmp_path: Path, command: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backstay.audit.sources.ssh.source.OUTPUT_LIMIT_BYTES", 1_000_000)
    with Sshd(tmp_path / "sshd", [ADDRESSES["web1"]], [f"ForceCommand {command}"]) as sshd:
        report = await of(ssh, tmp_path, login(sshd, tmp_path))
    assert not report.values
    assert any(words in report.problem for words in said.split("|")), report.problem


@needs_sshd
async def test_a_program_that_hangs_loses_its_own_facts_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backstay.audit.sources.ssh.source.COMMAND_S", 1)
    with an_sshd_with_programs(tmp_path) as sshd:
        program(sshd, "lscpu", "echo 'Model name: half a te'; exec sleep 600")
        report = await of(ssh, tmp_path, login(sshd, tmp_path))
    assert report.unread["cpu.*"] == "lscpu was not done in time"
    assert "half a te" not in report.values.values()
    assert report.values["sysctl.kernel.ostype"] == "Linux"


@needs_sshd
async def test_sudo_is_put_before_what_only_root_reads_and_before_nothing_else(tmp_path: Path) -> None:
    with an_sshd_with_programs(tmp_path) as sshd:
        program(sshd, "sudo", f'printf "%s\\n" "$*" >> {tmp_path}/asked; shift; exec "$@"')
        report = await of(ssh, tmp_path, login(sshd, tmp_path, sudo=True))
        assert report.values["sysctl.kernel.ostype"] == "Linux"
        asked = (tmp_path / "asked").read_text().splitlines()
        assert asked == ["-n dmidecode -t 0 -t 1 -t 2 -t 3 -t 4 -t 17", "-n sysctl -a"]
        program(sshd, "sudo", "echo 'sudo: a password is required'; exit 1")
        report = await of(ssh, tmp_path, login(sshd, tmp_path, sudo=True))
        assert (report.unread["sysctl.*"], report.unread["memory.*"]) == ("needs root", "needs root")


async def test_many_nodes_that_say_nothing_are_each_told_in_time(tmp_path: Path) -> None:
    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(tmp_path / "key")
    (tmp_path / "known_hosts").write_text("")
    silent = await asyncio.start_server(silence, "127.0.0.1", 0)
    nodes = [f"web{at}" for at in range(60)]
    settings = {
        "key": {"file": "key"},
        "known_hosts": "known_hosts",
        "port": silent.sockets[0].getsockname()[1],
        "at_once": 20,
    }
    here = Surroundings(addresses=dict.fromkeys(nodes, "127.0.0.1"), base=tmp_path, clock=lambda: datetime.now(UTC))
    async with asyncio.timeout(TIMEOUT_S):
        reports = await ssh.facts(settings, here).read(nodes, timeout_s=1.0)
    silent.close()
    assert [report.node for report in reports] == nodes
    assert all("not read in the time" in report.problem for report in reports)


@needs_sshd
@needs_facter
async def test_facter_and_our_collector_agree_on_one_machine(tmp_path: Path, sshd: Sshd) -> None:
    settings = login(sshd, tmp_path)
    ours, theirs = await asyncio.gather(of(ssh, tmp_path, settings), of(facter, tmp_path, settings))
    assert theirs.values["kernel"] == "Linux"
    (both,) = merge([[ours], [theirs]])
    assert both.report.source == "ssh+facter"
    assert len(both.report.values) < len(ours.values) + len(theirs.values)  # some facts are one
    (alone,) = merge([[theirs]])
    shared = alone.report.values.keys() & ours.values.keys()
    assert {"kernel.release"} <= shared
    assert {fact: alone.report.values[fact] for fact in shared} == {fact: ours.values[fact] for fact in shared}


@needs_ansible
async def test_ansible_fills_its_cache_and_we_read_it(tmp_path: Path) -> None:
    """A part of setup: all of it takes seconds. What was not gathered is unread."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "ANSIBLE_LOCAL_TEMP": str(tmp_path / "tmp"),
        "ANSIBLE_CACHE_PLUGIN": "jsonfile",
        "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(tmp_path / "cache"),
        "ANSIBLE_CACHE_PLUGIN_PREFIX": "fleet_",
        "ANSIBLE_GATHER_SUBSET": "!all,min",
        "LANG": "C.UTF-8",
    }
    argv = [str(ANSIBLE), "web1", "-i", "web1,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}"]
    argv += ["-m", "setup", "-a", "gather_subset=!all,min"]
    subprocess.run(argv, env=environment, cwd=tmp_path, check=True, timeout=TIMEOUT_S, capture_output=True)
    report = await of(ansible, tmp_path, {"path": "cache", "prefix": "fleet_"})
    assert report.problem == ""
    assert report.values["ansible.kernel"] == os.uname().release
    assert "only a part was gathered" in report.unread["ansible.*"]
    assert not any(fact.startswith("ansible.env") for fact in report.values)
