"""What collect.sh printed, cut into its sections; each usable, or with the reason why not. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from backstay.audit.sources.reports import NEEDS_ROOT
from backstay.audit.sources.values import FACTS_LIMIT, is_name, one_line, tidy

TIMED_OUT = (124, 137, 143)  # timeout(1) ended it
NOT_THERE = (126, 127)  # the shell found no such program
DENIED = re.compile(r"permission denied|not permitted|password is required|may not run sudo|not in the sudoers", re.I)
UNSUPPORTED = re.compile(r"not supported|no such (file|device)|invalid argument", re.I)
ROOT = "0"


@dataclass(frozen=True, slots=True)
class Section:
    text: str
    status: int | None  # of its command; None: the output ends within it


def split(out: bytes, mark: str) -> dict[str, Section]:
    """Sections by name. `mark` is what collect.sh was given; sections within sections are sections of their own."""
    # Bytes that are no UTF-8 become escapes: two that differ must not become one. A line without its end may be cut.
    lines = out.decode("utf-8", "backslashreplace").split("\n")[:-1]
    found: dict[str, Section] = {}
    open_: list[tuple[str, list[str]]] = []
    for line in lines:
        words = line.split(" ", 2) if line.startswith(mark) else []
        if words[:2] == [mark, "begin"] and len(words) == 3:
            open_.append((words[2], []))
        elif words[:2] == [mark, "end"] and len(words) == 3 and open_ and words[2].isdecimal():
            name, text = open_.pop()
            found[name] = Section("\n".join(text), int(words[2]))
        elif open_ and line:
            open_[-1][1].append(line)
    for name, text in open_:
        found[name] = Section("\n".join(text), None)
    return found


@dataclass(slots=True)
class Found:
    """Facts as they are found: the first to tell one wins, and no value is "not read" while another has it."""

    values: dict[str, str] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)

    def tell(self, name: str, value: str) -> None:
        """Nothing is no value: the node has no such fact. Beyond FACTS_LIMIT nothing more is known of the node."""
        value = value.strip()
        if not value or name in self.values:
            return
        if not is_name(name):
            self.hide("a name there cannot be printed", f"{tidy(name.partition('.')[0])}.*")
            return
        if len(self.values) >= FACTS_LIMIT:
            self.unread["*"] = f"more than {FACTS_LIMIT} facts"
            return
        self.values[name] = tidy(value)

    def hide(self, why: str, *names: str) -> None:
        """`names`: facts, or groups as "memory.*"."""
        for name in names:
            self.unread.setdefault(name, why)


@dataclass(frozen=True, slots=True)
class Node:
    """The sections of one node. `cut`: why the output is not whole; empty: it is."""

    sections: dict[str, Section]
    cut: str
    root: bool

    @classmethod
    def of(cls, out: bytes, mark: str, cut: str) -> Node:
        sections = split(out, mark)
        user = sections.get("identity", Section("", None)).text.partition("\n")[0]
        return cls(sections, cut, user == ROOT)

    def text(self, section: str, found: Found, *groups: str, partly: bool = False) -> str | None:
        """What the section says; None, with `groups` told as unread, where it cannot be used.

        `partly`: its command fails where one of many files is missing, and the rest counts.
        """
        read = self.sections.get(section)
        why = self._why(section, read, partly)
        if why:
            found.hide(why, *groups)
            return None
        return read.text if read is not None else None

    def _why(self, section: str, read: Section | None, partly: bool) -> str:
        if read is None or read.status is None:
            return self.cut or "the node ended before it came to this"
        tool = section.partition(" ")[0]
        if read.status in TIMED_OUT:
            return f"{tool} was not done in time"
        if read.status in NOT_THERE:
            return f"no {tool} there"
        if read.status == 0 or partly:
            return ""
        if DENIED.search(read.text) or (tool == "dmidecode" and not self.root):
            return NEEDS_ROOT
        said = one_line(read.text.rpartition("\n")[2])
        return f"{tool} failed: {said or f'exit status {read.status}'}"


def files(text: str) -> Iterator[tuple[str, str]]:
    """Path and content of what `show` printed; a file of several lines comes several times."""
    for line in text.split("\n"):
        path, colon, value = line.partition(":")
        if colon and path.startswith("/"):
            yield path, value.strip()


def denied(text: str) -> Iterator[str]:
    """Paths that grep or cat was not let read, or could not."""
    for line in text.split("\n"):
        tool, _, rest = line.partition(": ")
        path, colon, why = rest.rpartition(": ")
        if tool in ("grep", "cat") and colon and path.startswith("/") and not UNSUPPORTED.search(why):
            yield path


def fields(text: str) -> Iterator[tuple[str, str]]:
    """Name and value of lines as "Name: value"."""
    for line in text.split("\n"):
        name, colon, value = line.partition(":")
        if colon:
            yield name.strip(), value.strip()


def chosen(value: str) -> str:
    """Of the kernel's "always [madvise] never": what is chosen."""
    match = re.search(r"\[([^\]]+)\]", value)
    return match.group(1) if match else value
