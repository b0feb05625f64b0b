"""What collect.sh printed on a node -> its facts, and those that could not be read there. Pure.

sections.py   the output cut into sections; which of them can be used
cpu.py  board.py  devices.py  system.py   a section's text -> facts
"""

from __future__ import annotations

from backstay.audit.sources.ssh.parse.board import read_board
from backstay.audit.sources.ssh.parse.cpu import read_cpu
from backstay.audit.sources.ssh.parse.devices import read_cards, read_disks
from backstay.audit.sources.ssh.parse.sections import Found, Node
from backstay.audit.sources.ssh.parse.system import (
    read_kernel,
    read_memory,
    read_mounts,
    read_packages,
    read_release,
    read_sysctl,
)

READERS = (
    read_kernel,
    read_release,
    read_cpu,
    read_board,
    read_memory,
    read_cards,
    read_disks,
    read_mounts,
    read_sysctl,
    read_packages,
)


def facts_of(out: bytes, mark: str, cut: str = "") -> Found:
    """The facts in `out`. `mark`: what collect.sh was given. `cut`: why `out` is not whole; empty: it is.

    A section that is not whole is not used, and its facts are unread: half a list of packages would say that the
    others are not installed.
    """
    node, found = Node.of(out, mark, cut), Found()
    for reader in READERS:
        reader(node, found)
    found.unread = {name: why for name, why in found.unread.items() if name not in found.values}
    return found


__all__ = ["Found", "facts_of"]
