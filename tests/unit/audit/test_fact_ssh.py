"""What programs print on a node -> its facts: tables of their real texts, and what is cut, damaged or hostile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from backstay.audit.explain.mechanism import Part, part_of
from backstay.audit.sources.ssh.parse import Found, facts_of
from backstay.audit.sources.ssh.parse.sections import split
from backstay.audit.sources.values import VALUE_LIMIT

MARK = "=5d41402abc4b2a76"
CASES = Path(__file__).parents[2] / "cases" / "audit" / "ssh"


def cases() -> list[Any]:
    found = [
        pytest.param(case, id=f"{path.stem}: {case['case']}")
        for path in sorted(CASES.glob("*.yaml"))
        for case in yaml.safe_load(path.read_text())
    ]
    assert len(found) > 25
    return found


def printed(sections: dict[str, Any], *, root: bool = True) -> bytes:
    """As collect.sh prints it. `open`: it ends within this section, and those after it."""
    said = {"identity": {"text": f"{0 if root else 1000}\n"}} | sections
    out = ""
    for name, section in said.items():
        out += f"\n{MARK} begin {name}\n{section.get('text', '')}"
        out += "" if section.get("open") else f"\n{MARK} end {section.get('status', 0)}\n"
    return out.encode()


def read(case: dict[str, Any]) -> Found:
    return facts_of(printed(case["sections"], root=case.get("root", True)), MARK, case.get("cut", ""))


@pytest.mark.parametrize("case", cases())
def test_a_nodes_programs_tell(case: dict[str, Any]) -> None:
    found = read(case)
    assert {fact: found.values.get(fact) for fact in case.get("values", {})} == case.get("values", {})
    assert [fact for fact in case.get("absent", []) if fact in found.values] == []
    assert {fact: found.unread.get(fact) for fact in case.get("unread", {})} == case.get("unread", {})
    assert [fact for fact in case.get("read", []) if fact in found.unread] == []
    assert not found.unread.keys() & found.values.keys()


@pytest.mark.parametrize(
    ("fact", "part"),
    [
        ("cpu.model name", Part.CPU),
        ("cpu.stepping", Part.CPU),
        ("cpu.microcode", Part.CPU_SETTING),
        ("cpu.mitigations.mds", Part.CPU_SETTING),
        ("cpu.governor", Part.CPU_SETTING),
        ("memory.dimm DIMM_A1.part number", Part.MEMORY),
        ("memory.configured speed", Part.MEMORY),
        ("eth0.driver", Part.NIC),
        ("eth0.firmware", Part.NIC),
        ("nic.p4p1.driver", Part.NIC),
        ("eth0.ring rx", Part.NIC_SETTING),
        ("eth0.offload gro", Part.NIC_SETTING),
        ("eth0.queues combined", Part.NIC_SETTING),
        ("eth0.coalesce rx-usecs", Part.NIC_SETTING),
        ("disk.sda.firmware", Part.STORAGE),
        ("mount./.options", Part.STORAGE),
        ("bios.version", Part.FIRMWARE),
        ("kernel.release", Part.KERNEL),
        ("sysctl.net.core.netdev_max_backlog", Part.KERNEL),
        ("package.openssl", Part.SOFTWARE),
        ("os.release", Part.SOFTWARE),
        ("board.version", Part.MACHINE),
        ("system.serial number", Part.LABEL),
        ("memory.dimm DIMM_A1.serial number", Part.LABEL),
        ("eth0.mac address", Part.LABEL),
        ("hostname", Part.LABEL),
    ],
)
def test_facts_are_named_so_that_it_is_known_what_they_are_about(fact: str, part: Part) -> None:
    assert part_of(fact) is part


def test_nothing_that_a_node_prints_can_look_like_a_section() -> None:
    text = "microcode\t: 0x1\n=0000 end 0\n=0000 begin sysctl\nkernel.evil = 1"
    found = facts_of(printed({"cpuinfo": {"text": text}}), MARK)
    assert found.values["cpu.microcode"] == "0x1"
    assert not any(fact.startswith("sysctl") for fact in found.values)


def test_a_node_that_said_nothing_leaves_everything_unread() -> None:
    found = facts_of(b"", MARK, "it was not done within 30 s")
    assert not found.values
    assert set(found.unread.values()) == {"it was not done within 30 s"}
    groups = ("cpu.*", "memory.*", "bios.*", "sysctl.*", "package.*", "mount.*", "eth*", "disk.*", "kernel.release")
    assert set(groups) <= found.unread.keys()


def test_wherever_the_output_is_cut_no_value_is_cut_with_it() -> None:
    sections = {
        "lscpu": {"text": "Model name:   AMD EPYC 9654 96-Core Processor\nStepping:   1\n"},
        "cpuinfo": {"text": "microcode\t: 0xa101144\n"},
        "mitigations": {"text": "/sys/devices/system/cpu/vulnerabilities/mds:Not affected"},
        "nics": {"text": ""},
        "dmidecode": {"text": "Handle 0x0000, DMI type 0, 26 bytes\nBIOS Information\n\tVersion: 1.10.2\n"},
        "sysctl": {"text": "".join(f"kernel.setting{at} = {at * 1111}\n" for at in range(60))},
        "packages": {"text": ""},
        "dpkg": {"text": "".join(f"ii \tpackage{at}\t1.{at}.33-1\n" for at in range(30))},
    }
    out = printed(sections)
    whole = facts_of(out, MARK)
    assert len(whole.values) == 95
    for at in range(0, len(out), 7):
        half = facts_of(out[:at], MARK, "cut")
        assert half.values.items() <= whole.values.items()
        groups = tuple(name.removesuffix("*") for name in half.unread)
        assert all(fact in half.values or fact.startswith(groups) for fact in whole.values)


def test_control_characters_and_bytes_that_are_no_text_are_told_apart_and_harmless() -> None:
    values = []
    for raw in (b"Model\x1b[31m", b"Model\x1b[32m", b"Model\xff", b"Model\xfe", b"Model\x00"):
        out = printed({"lscpu": {"text": "Model name: X\n"}}).replace(b"X", raw)
        values.append(facts_of(out, MARK).values["cpu.model name"])
    assert len(set(values)) == 5
    assert all(value.isprintable() for value in values)


def test_a_name_that_cannot_be_printed_hides_its_group() -> None:
    found = facts_of(printed({"packages": {}, "dpkg": {"text": "ii \ta\x1b[2J\t1\nii \tb\t2"}}), MARK)
    assert found.values["package.b"] == "2"
    assert found.unread["package.*"] == "a name there cannot be printed"


def test_more_facts_than_the_limit_are_not_taken_for_all() -> None:
    lines = "".join(f"ii \tp{at}\t1\n" for at in range(60_000))
    found = facts_of(printed({"packages": {}, "dpkg": {"text": lines}}), MARK)
    assert len(found.values) == 50_000
    assert found.unread["*"] == "more than 50000 facts"


def test_a_long_value_is_its_beginning_and_a_hash() -> None:
    def flags(last: str) -> str:
        out = printed({"lscpu": {"text": "Flags: " + "flag " * 100_000 + last}})
        return facts_of(out, MARK).values["cpu.flags"]

    assert len(flags("a")) < VALUE_LIMIT
    assert flags("a") != flags("b")
    assert flags("a") == flags("a")


@given(st.binary(max_size=400), st.sampled_from(["lscpu", "dmidecode", "ethtool -g eth0", "nic eth0"]))
def test_nonsense_is_no_error(noise: bytes, section: str) -> None:
    out = printed({section: {"text": "\0"}}).replace(b"\0", noise)
    found = facts_of(out, MARK)
    assert all(fact.isprintable() and value.isprintable() for fact, value in found.values.items())
    assert facts_of(noise, MARK).unread


def test_sections_within_sections_are_sections_of_their_own() -> None:
    out = f"{MARK} begin nics\n{MARK} begin nic eth0\nx\n{MARK} end 2\n{MARK} end 0\n"
    assert {name: (one.text, one.status) for name, one in split(out.encode(), MARK).items()} == {
        "nic eth0": ("x", 2),
        "nics": ("", 0),
    }
