"""What a fact is about, and how it could act on an indicator: the prior of a hypothesis.

The kind of a fact is read from words in its name, whatever source reported it ("processors.models" of Facter,
"cpu.model name" of lscpu). Weights are odds against a fact that names the very part that is measured. They, and
CONCORD, were estimated by conditional logit over families of real machines, in five folds that leave families out,
then shrunk: the estimates are 0.01 to 0.06 for everything that does not name the part, and 2.9 to 4.3 for CONCORD,
which says that the facts of a part that was really swapped change together. `./run bench audit smoking-gun` shows them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache

from backstay.audit.model import Mechanism, Resource

WEIGHTS = {
    Mechanism.DIRECT: 1.0,
    Mechanism.NEAR: 0.1,
    Mechanism.REMOTE: 0.05,
    Mechanism.SIZE: 0.03,
    Mechanism.LABEL: 0.02,
}
CONCORD = 2.0  # exponent of the number of facts that name the part
CONCORD_LIMIT = 8


class Part(StrEnum):
    """What a fact is about; what is swapped, set or updated as one."""

    CPU = "cpu"
    CPU_SETTING = "cpu setting"  # flags, mitigations, microcode, governor: of the CPU, but no name of it
    MEMORY = "memory"
    STORAGE = "storage"
    NIC = "nic"
    NIC_SETTING = "nic setting"  # rings, offloads, queues
    FIRMWARE = "firmware"
    KERNEL = "kernel"  # version, command line, sysctl
    SOFTWARE = "software"
    MACHINE = "machine"  # board, chassis, hypervisor, product
    SIZE = "size"
    LABEL = "label"
    OTHER = "other"


# The first that matches: names are lower case, and a word may end at a dot, an underscore, a dash or a blank.
PATTERNS: tuple[tuple[Part, str], ...] = (
    (Part.LABEL, r"serial|uuid|asset|sku|host[ .-]?name|fqdn|certname|machine.?id|boot.?id|fingerprint|ssh.*key"),
    (Part.LABEL, r"\brack\b|\bmac\b|mac[ .-]?address|\bip(v?[46])?([ .-]?address)?\b"),
    (Part.LABEL, r"netmask|\bnetwork\b$|gateway|uptime|\btags?\b"),
    (Part.KERNEL, r"^sysctl\."),  # before SIZE: net.core is no core
    (Part.SIZE, r"cpu\(s\)(?! scaling)|socket|cores?\b|threads?\b|numa|\bclusters?\b|count$|total|capacity"),
    (Part.SIZE, r"(memory|mem|disk|swap)\w*\b.*(size|bytes|available)"),
    (Part.CPU_SETTING, r"vulnerabilit|mitigation|microcode|governor|cpu ?freq|scaling|turbo|boost|c-?state|flags"),
    (Part.CPU, r"(cpu|processor)s?\b.*(model|version|stepping|famil|vendor|signature|\bid\b|isa|architecture)"),
    (Part.CPU_SETTING, r"\b(cpu|processor)s?\b|bogomips|l[1-3][di]?.cache"),
    (Part.MEMORY, r"memory|\bmem\b|dimm|\bram\b"),
    (Part.NIC_SETTING, r"\brings?\b|offload|coalesc|\bqueues?\b|\bmtu\b|duplex|ethtool\.(k|g|features|rings?)\b"),
    (Part.NIC, r"\bnics?\b|ethernet|ethtool|\b(eth|ens|eno|enp|bond)\w*\b|net\.(driver|firmware)|link speed"),
    (Part.STORAGE, r"\b(storage|disks?|nvme\w*|ssd|hdd|raid|sd[a-z]|filesystems?|mounts?|mountpoints?|scheduler)\b"),
    (Part.FIRMWARE, r"bios|firmware|uefi|\bbmc\b|ipmi"),
    (Part.KERNEL, r"kernel|sysctl|cmdline|\bmodules?\b|selinux|ulimit"),
    (Part.SOFTWARE, r"packages?|\b(dpkg|rpm|os|distro|software|services?|openssl|libc|java|python|ruby)\b"),
    (Part.MACHINE, r"board|chassis|system|product|hypervisor|virtual|manufacturer|dmi"),
)  # fmt: skip
_COMPILED = tuple((part, re.compile(pattern)) for part, pattern in PATTERNS)

DIRECT: dict[Resource, frozenset[Part]] = {
    Resource.CPU: frozenset({Part.CPU}),
    Resource.MEMORY: frozenset({Part.MEMORY}),
    Resource.STORAGE: frozenset({Part.STORAGE}),
    Resource.NETWORK: frozenset({Part.NIC}),
    Resource.SERVICE: frozenset({Part.CPU, Part.MEMORY, Part.STORAGE, Part.NIC}),
}
_EVERYWHERE = frozenset({Part.FIRMWARE, Part.KERNEL, Part.MACHINE})
NEAR: dict[Resource, frozenset[Part]] = {
    Resource.CPU: _EVERYWHERE | {Part.CPU_SETTING},
    Resource.MEMORY: _EVERYWHERE | {Part.CPU, Part.CPU_SETTING},
    Resource.STORAGE: _EVERYWHERE | {Part.CPU},
    Resource.NETWORK: _EVERYWHERE | {Part.NIC_SETTING, Part.CPU, Part.CPU_SETTING},
    Resource.SERVICE: _EVERYWHERE | {Part.CPU_SETTING, Part.NIC_SETTING, Part.SOFTWARE},
}


@lru_cache(maxsize=65536)
def part_of(fact: str) -> Part:
    """What the fact is about, by its name."""
    name = fact.lower().replace("_", " ")
    return next((part for part, pattern in _COMPILED if pattern.search(name)), Part.OTHER)


def mechanism_of(fact: str, resource: Resource) -> Mechanism:
    """How the fact could act on an indicator of this resource."""
    part = part_of(fact)
    if part is Part.LABEL:
        return Mechanism.LABEL
    if part is Part.SIZE:
        return Mechanism.SIZE
    if part in DIRECT[resource]:
        return Mechanism.DIRECT
    return Mechanism.NEAR if part in NEAR[resource] else Mechanism.REMOTE


def class_weight(weights: Iterable[tuple[Mechanism, float]]) -> float:
    """Prior odds of an alias class from the mechanism and weight of each of its facts.

    The best of them counts, not their number: a thousand packages that differ together are one event. Only facts
    that name the part itself corroborate each other, up to CONCORD_LIMIT of them. What speaks for one of them beside
    its mechanism (it changed lately, it came first elsewhere) counts once.
    """
    pairs = list(weights)
    names = [weight for mechanism, weight in pairs if mechanism is Mechanism.DIRECT]
    best = max((weight for _, weight in pairs), default=0.0)
    if not names:
        return best
    agreeing = min(sum(min(weight, 1.0) for weight in names), float(CONCORD_LIMIT))  # a volatile one agrees with less
    return max(best, math.pow(agreeing, CONCORD) * max(1.0, *names))
