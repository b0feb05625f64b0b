"""Network cards (/sys and ethtool -i -g -l -k -c) and disks (/sys). Pure.

A card's facts begin with its name ("eth0.driver"), or with "nic" where the name does not say what it is
("nic.p4p1.driver").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from backstay.audit.sources.names import of_card
from backstay.audit.sources.ssh.parse.sections import UNSUPPORTED, Found, Node, chosen, denied, fields, files

SYSFS = {
    "address": "mac address", "mtu": "mtu", "speed": "speed", "duplex": "duplex", "tx_queue_len": "tx queue length",
    "vendor": "pci vendor", "device": "pci device", "subsystem_vendor": "pci subsystem vendor",
    "subsystem_device": "pci subsystem device", "numa_node": "numa node", "driver": "driver",
    "mode": "mode", "slaves": "members", "xmit_hash_policy": "transmit hash policy",
}  # fmt: skip
DRIVER = {
    "driver": "driver", "version": "driver version", "firmware-version": "firmware", "bus-info": "bus",
    "expansion-rom-version": "expansion rom",
}  # fmt: skip
# ethtool's own short words (ethtool(8), -K); other features keep their long names.
SHORT = {
    "rx-checksumming": "rx", "tx-checksumming": "tx", "scatter-gather": "sg", "tcp-segmentation-offload": "tso",
    "udp-fragmentation-offload": "ufo", "generic-segmentation-offload": "gso", "generic-receive-offload": "gro",
    "large-receive-offload": "lro", "rx-vlan-offload": "rxvlan", "tx-vlan-offload": "txvlan",
    "ntuple-filters": "ntuple", "receive-hashing": "rxhash",
}  # fmt: skip
DISK = {
    "queue/scheduler": "scheduler", "queue/rotational": "rotational", "queue/nr_requests": "nr requests",
    "queue/read_ahead_kb": "read ahead kb", "queue/write_cache": "write cache", "device/model": "model",
    "device/rev": "firmware", "device/firmware_rev": "firmware", "device/vendor": "vendor",
}  # fmt: skip
UNKNOWN = ("-1", "unknown", "n/a", "N/A", "")
SECTOR_BYTES = 512  # of /sys/block/*/size, whatever the disk's own sectors are

Pairs = Iterator[tuple[str, str]]


def cards(node: Node) -> tuple[str, ...]:
    """The network cards that the node has."""
    return tuple(name.removeprefix("nic ") for name in node.sections if name.startswith("nic "))


def read_cards(node: Node, found: Found) -> None:
    """A list of cards that was cut is a list of some: there may be others."""
    if node.text("nics", found, "nic.*", partly=True) is None:
        found.hide(node.cut or "the list of network cards was cut", "eth*", "en*", "bond*")
    for card in cards(node):
        name = of_card(card)
        for option, (groups, pairs) in ETHTOOL.items():
            text = _ethtool(node, found, f"ethtool -{option} {card}", [f"{name}.{group}" for group in groups])
            for called, value in pairs(text):
                if value not in UNKNOWN:
                    found.tell(f"{name}.{called}", value)
        shown = node.text(f"nic {card}", found, f"{name}.*", partly=True) or ""
        for path, value in files(shown):
            if value not in UNKNOWN and (fact := SYSFS.get(path.rpartition("/")[2])):
                found.tell(f"{name}.{fact}", value)
        for path in denied(shown):
            found.hide("not readable", f"{name}.{SYSFS.get(path.rpartition('/')[2], '*')}")


def _ethtool(node: Node, found: Found, section: str, groups: list[str]) -> str:
    """What it printed. A card that has no such thing has no such facts; that is no failure to read."""
    read = node.sections.get(section)
    if read is not None and read.status not in (0, None, 126, 127) and UNSUPPORTED.search(read.text):
        return ""
    return node.text(section, found, *groups) or ""


def _driver(text: str) -> Pairs:
    return ((DRIVER[name], value) for name, value in fields(text) if name in DRIVER)


def _limits(word: str) -> Callable[[str], Pairs]:
    """Two tables of one kind: what may be set, what is."""

    def pairs(text: str) -> Pairs:
        most, _, now = text.partition("Current hardware settings:")
        for name, value in fields(now):
            yield f"{word} {name.lower()}", value
        for name, value in fields(most.partition("maximums:")[2]):
            yield f"{word} max {name.lower()}", value

    return pairs


def _features(text: str) -> Pairs:
    for name, value in fields(text.partition("\n")[2]):
        yield f"offload {SHORT.get(name, name)}", value.partition(" ")[0]  # "off [fixed]"


def _coalesce(text: str) -> Pairs:
    for line in text.split("\n")[1:]:
        if both := re.fullmatch(r"(Adaptive|CQE mode) RX: (\S+)\s+TX: (\S+)\s*", line):
            yield f"coalesce {both[1].lower()} rx", both[2]
            yield f"coalesce {both[1].lower()} tx", both[3]
        else:
            yield from ((f"coalesce {name}", value) for name, value in fields(line))


ETHTOOL: Mapping[str, tuple[tuple[str, ...], Callable[[str], Pairs]]] = {
    "i": (tuple(DRIVER.values()), _driver),
    "g": (("ring*",), _limits("ring")),
    "l": (("queues*",), _limits("queues")),
    "k": (("offload*",), _features),
    "c": (("coalesce*",), _coalesce),
}


def read_disks(node: Node, found: Found) -> None:
    if "disks" not in node.sections or node.sections["disks"].status is None:
        found.hide(node.cut or "the list of disks was cut", "disk.*")
    for section in [name for name in node.sections if name.startswith("disk ")]:
        name = f"disk.{section.removeprefix('disk ')}"
        for path, value in files(node.text(section, found, f"{name}.*", partly=True) or ""):
            key = "/".join(path.split("/")[4:])  # behind /sys/block/NAME/
            if key == "size" and value.isdecimal():
                found.tell(f"{name}.size bytes", str(int(value) * SECTOR_BYTES))
            elif key in DISK:
                found.tell(f"{name}.{DISK[key]}", chosen(value))
