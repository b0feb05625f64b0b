"""Means of the failover tests: a disk that is full, a clock that is stepped, certificates that end soon."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from backstay.lab.certs import LIFETIME, Authority
from backstay.lab.plan.layout import tls_files
from backstay.lab.state import LabFolder

SERVICE = "app"


@contextmanager
def full_disk(pid: int) -> Iterator[None]:
    """No file of this process grows any more: every write fails, as on a disk that is full (setrlimit(2))."""
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


class Clock:
    """The wall clock of one process, which can be stepped: libfaketime stands between it and the C library.

    The clocks that nobody steps (CLOCK_MONOTONIC, CLOCK_BOOTTIME) stay the machine's, as with a step of the real one.
    """

    def __init__(self, folder: Path, library: Path) -> None:
        self._file = folder / "clock"
        self.environment = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",  # a step is seen at once
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "PYTHONPATH": str(Path(__file__).with_name("stepped_clock")),
        }
        self.step(0)

    @staticmethod
    def library() -> Path | None:
        """Where Debian's package libfaketime puts it; None where it is not installed."""
        return next(iter(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), None)

    def step(self, seconds: int) -> None:
        """From now on it is so far from the machine's."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n", encoding="ascii")
        new.replace(self._file)


class Certificates:
    """Of the lab's service, by an authority of the tests' own beside the lab's, whose key is kept nowhere."""

    def __init__(self, folder: LabFolder) -> None:
        self._folder = folder
        self._authority = Authority(datetime.now(UTC))
        own = folder.path / "own-ca.crt"
        self._authority.write(own)
        folder.ca.write_bytes(folder.ca.read_bytes() + own.read_bytes())  # probes trust both

    def issue(self, lasts_s: float | None = None) -> datetime:
        """Renew it, for `lasts_s` seconds or for long; when it ends."""
        now = datetime.now(UTC)
        end = now + (LIFETIME if lasts_s is None else timedelta(seconds=lasts_s))
        names = [name for ip in self._folder.layout.ips if ip.front for name in (ip.front.hostname, ip.address)]
        files = [self._folder.path / name for name in tls_files(SERVICE)]
        made = [file.with_suffix(f"{file.suffix}.new") for file in files]
        self._authority.issue(names, *made, ends=end)
        for new, file in zip(made, files, strict=True):
            new.replace(file)
        return end

    def taken_by(self, lb: str) -> bool:
        """Does the agent of `lb` have a copy of what was issued last?"""
        wanted = (self._folder.path / tls_files(SERVICE)[0]).read_bytes()
        copies = (self._folder.hosts / lb / "state/tls" / SERVICE).glob("*/chain.pem")
        return any(copy.read_bytes() == wanted for copy in copies)
