"""Kernel, its command line and settings, the distribution, mounts, packages. Pure."""

from __future__ import annotations

import re
import shlex

from backstay.audit.sources.names import SECRET
from backstay.audit.sources.reports import NEEDS_ROOT
from backstay.audit.sources.ssh.parse.cpu import several_of
from backstay.audit.sources.ssh.parse.devices import cards
from backstay.audit.sources.ssh.parse.sections import Found, Node, chosen, fields, files

IDENTITY = ("kernel.release", "kernel.version", "kernel.machine", "hostname")  # behind the user's number
OS = {"ID": "os.id", "VERSION_ID": "os.version", "PRETTY_NAME": "os.release"}
MEMORY = {
    "MemTotal": "memory.total", "SwapTotal": "memory.swap total", "HugePages_Total": "memory.huge pages total",
    "Hugepagesize": "memory.huge page size",
}  # fmt: skip
# Settings of an interface are facts where the interface is: containers' come and go by the hundred.
OF_INTERFACE = re.compile(r"net\.(?:ipv4|ipv6|mpls)\.(?:conf|neigh)\.(.+)\.[^.]+")
EVERYWHERE = frozenset({"all", "default", "lo"})
NO_KEY = re.compile(r"permission denied on key '([^']+)'|reading key \"([^\"]+)\"", re.I)
NETWORKED = ("nfs", "cifs", "smb", "ceph", "gluster", "lustre", "zfs", "fuse.", "9p")
ESCAPE = re.compile(r"\\([0-7]{3})")


def read_kernel(node: Node, found: Found) -> None:
    lines = (node.text("identity", found, *IDENTITY) or "").split("\n")[1:]
    for fact, value in zip(IDENTITY, lines, strict=False):
        found.tell(fact, value)
    words: dict[str, list[str]] = {}
    cmdline = node.text("cmdline", found, "kernel.cmdline.*") or ""
    for word in re.split(r"\s--(?:\s|$)", cmdline)[0].split():  # behind "--" it speaks to init
        name, equals, value = word.partition("=")
        words.setdefault(name, []).append(value if equals else "set")
    for name, values in words.items():
        found.tell(f"kernel.cmdline.{name}", ", ".join(values))
    shown = node.text("kernel-settings", found, "kernel.transparent hugepage*", "kernel.clocksource", partly=True)
    for path, value in files(shown or ""):
        what = path.rpartition("/")[2]
        name = "clocksource" if what == "current_clocksource" else f"transparent hugepage {what}"
        found.tell(f"kernel.{name}", chosen(value))


def read_release(node: Node, found: Found) -> None:
    for line in (node.text("os-release", found, *OS.values()) or "").split("\n"):
        name, equals, value = line.partition("=")
        if equals and name in OS:
            found.tell(OS[name], _unquoted(value))
    for _, value in files(node.text("debian-version", found, "os.debian version", partly=True) or ""):
        found.tell("os.debian version", value)


def _unquoted(value: str) -> str:
    """os-release(5) is quoted as for a shell."""
    try:
        return " ".join(shlex.split(value))
    except ValueError:
        return value


def read_memory(node: Node, found: Found) -> None:
    for name, value in fields(node.text("memory", found, *MEMORY.values(), partly=True) or ""):
        if name in MEMORY:
            found.tell(MEMORY[name], value)


def read_sysctl(node: Node, found: Found) -> None:
    kept = EVERYWHERE | frozenset(cards(node))
    for line in (node.text("sysctl", found, "sysctl.*", partly=_says_keys(node)) or "").split("\n"):
        name, equals, value = line.partition(" =")
        if equals and re.fullmatch(r"[\w.\-/:@]+", name):
            interface = OF_INTERFACE.fullmatch(name)
            if not SECRET.search(name) and (interface is None or interface[1] in kept):
                found.tell(f"sysctl.{name}", " ".join(value.split()))
        elif (key := NO_KEY.search(line)) and not SECRET.search(line):
            found.hide(NEEDS_ROOT, f"sysctl.{key[1] or key[2]}")


def _says_keys(node: Node) -> bool:
    """sysctl -a also fails where it read all keys but a few, which it names. Without any key it read nothing."""
    read = node.sections.get("sysctl")
    return read is not None and read.status not in (124, 126, 127, 137, 143) and "\nkernel." in f"\n{read.text}"


def read_mounts(node: Node, found: Found) -> None:
    """File systems on disks and over the network; what the kernel and containers mount for themselves is left out."""
    for line in (node.text("mounts", found, "mount.*") or "").split("\n"):
        words = [ESCAPE.sub(lambda code: chr(int(code[1], 8)), word) for word in line.split(" ")]
        if len(words) < 4 or not (words[0].startswith("/") or words[2].startswith(NETWORKED)):
            continue
        device, where, kind, options = words[:4]
        if kind == "squashfs" or where.startswith(("/snap/", "/var/lib/docker/", "/var/lib/containers/", "/run/")):
            continue
        found.tell(f"mount.{where}.device", device)
        found.tell(f"mount.{where}.type", kind)
        found.tell(f"mount.{where}.options", options)


def read_packages(node: Node, found: Found) -> None:
    group = "package.*"
    if node.text("packages", found, group, partly=True) is None:
        return
    versions: dict[str, list[str]] = {}
    if "dpkg" in node.sections:
        for line in (node.text("dpkg", found, group) or "").split("\n"):
            status, _, rest = line.partition("\t")
            name, tab, version = rest.partition("\t")
            if tab and status[1:2] == "i":  # installed, not the configuration of what is gone
                versions.setdefault(name, []).append(version)
    elif "rpm" in node.sections:
        for line in (node.text("rpm", found, group) or "").split("\n"):
            name, tab, version = line.partition("\t")
            if tab:
                versions.setdefault(name, []).append(version.removeprefix("0:"))
    else:
        found.hide("neither dpkg-query nor rpm there", group)
    for name, several in versions.items():
        found.tell(f"package.{name}", several_of(several))
