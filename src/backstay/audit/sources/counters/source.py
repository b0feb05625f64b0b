"""One command a node: it prints the kernel's counters, and nothing is installed or left there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from backstay.audit.model import Series
from backstay.audit.ports import Surroundings
from backstay.audit.sources.asked import NotAnswered, ask_each
from backstay.audit.sources.counters import ethtool, proc
from backstay.audit.sources.hosts.table import FORMULAS, single, values
from backstay.audit.sources.settings import checked
from backstay.audit.sources.ssh.remote import Login, Remote, Unreachable, run

KIND = "ssh"
OUTPUT_LIMIT_BYTES = 8 * 2**20
MARK = "#### "
# Cards have a device of their own; what is virtual has none.
SCRIPT = rf"""
LC_ALL=C PATH=$PATH:/usr/sbin:/sbin; export LC_ALL PATH
for f in {" ".join(proc.READERS)}; do echo "{MARK}$f"; cat "/proc/$f" 2>/dev/null; done
for d in /sys/class/net/*; do
  if [ -e "$d/device" ]; then echo "{MARK}ethtool ${{d##*/}}"; ethtool -S "${{d##*/}}" 2>/dev/null; fi
done
echo "{MARK}end"
""".encode()


class CountersSettings(Login):
    timeout_s: Annotated[float, Field(gt=0, le=120, allow_inf_nan=False)] = 15.0
    """For what one node prints."""


def indicators(settings: Mapping[str, Any], around: Surroundings) -> SshIndicators:
    """The source of these settings. Raises SourceError for settings that it does not take."""
    return SshIndicators(checked(CountersSettings, settings, KIND), around)


class SshIndicators:
    """Logs in to every node, and reads what is now."""

    name = KIND

    def __init__(self, settings: CountersSettings, around: Surroundings) -> None:
        self.problems: Sequence[str] = ()
        self._settings = settings
        self._around = around
        self._remote = Remote(settings, around, KIND)

    async def read(
        self, nodes: Sequence[str], *, start: datetime, end: datetime, step_s: float, timeout_s: float
    ) -> Sequence[Series]:
        """As IndicatorSource says: a sample an indicator, with our own time: a node's clock does not matter."""
        await self._remote.ready()
        wanted = tuple(nodes) or tuple(self._around.addresses)
        asked = await ask_each(wanted, self._ask, at_once=self._settings.at_once, timeout_s=timeout_s)
        half = [
            f"{node}: not read: {'; '.join(unread)}. May {self._settings.user} read it?"
            for node, (_, unread) in asked.answers.items()
            if unread
        ]
        self.problems = (*asked.problems, *half)
        return [series for found, _ in asked.answers.values() for series in found]

    async def close(self) -> None:
        """Nothing is held open."""

    async def _ask(self, node: str) -> tuple[list[Series], list[str]]:
        """What it counted, and what of it could not be read."""
        clock = self._around.clock
        try:
            async with self._remote.connected(node) as connection:
                before = clock().timestamp()
                ended = await run(
                    connection, "sh", SCRIPT, timeout_s=self._settings.timeout_s, limit_bytes=OUTPUT_LIMIT_BYTES
                )
                time_s = 0.5 * (before + clock().timestamp())
        except Unreachable as error:
            raise NotAnswered(str(error).removeprefix(f"{node} ")) from error
        sections = parts(ended.out.decode(errors="replace"))
        if ended.cut or "end" not in sections:
            raise NotAnswered(f"its counters were not read to their end: {ended.cut or 'does `sh` run there?'}.")
        found, unread = counted(sections)
        if not found:
            raise NotAnswered("nothing of /proc could be read. Is it Linux?")
        return [single(node, indicator, time_s, value) for indicator, value in found.items()], unread


def parts(text: str) -> dict[str, str]:
    """What the script printed: file -> its text."""
    pieces = re.split(rf"^{MARK}(.+)\n", text, flags=re.MULTILINE)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


def counted(sections: Mapping[str, str]) -> tuple[dict[str, float], list[str]]:
    """Indicators, and what could not be read, why."""
    samples, unread = [], []
    losses: dict[str, float] = {}
    for name in proc.READERS:
        if not sections.get(name, "").strip():
            unread.append(f"/proc/{name} is empty or not there")
            continue
        try:
            samples += proc.read(name, sections[name])
        except ValueError as error:
            unread.append(str(error))
    for name, text in sections.items():
        if name.startswith("ethtool "):
            for indicator, count in ethtool.losses(text).items():
                losses[indicator] = losses.get(indicator, 0.0) + count
    return values(FORMULAS, samples) | losses, unread
