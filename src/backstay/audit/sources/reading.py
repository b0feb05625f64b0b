"""Files that somebody made: read within limits, gz or not, and every fault told with its line."""

from __future__ import annotations

import gzip
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from backstay.audit.ports import SourceError

LINE_LIMIT_BYTES = 16_000_000
TEXT_LIMIT_BYTES = 256_000_000  # of a file that is read at once, unpacked
FAULTS_LIMIT = 20  # shown; more are counted
GZIP_MAGIC = b"\x1f\x8b"


class Faults:
    """Faults of one file. A file with any is not used: half of it might make a wrong claim."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: list[str] = []
        self._more = 0

    def add(self, line: int | None, what: str) -> None:
        """`line`: from 1; None: of the file as a whole. `what`: what is wrong, and what next."""
        if len(self._lines) >= FAULTS_LIMIT:
            self._more += 1
            return
        self._lines.append(f"{self.path}:{line} {what}" if line is not None else f"{self.path}: {what}")

    def end(self) -> None:
        """Raises SourceError when there were any."""
        if self._lines:
            more = [f"{self.path}: and {self._more} faults more of this kind."] if self._more else []
            raise SourceError("\n".join([*self._lines, *more]))


def fault(path: Path, what: str, line: int | None = None) -> SourceError:
    """The one fault after which there is nothing more to read."""
    return SourceError(f"{path}:{line} {what}" if line is not None else f"{path}: {what}")


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines with their number, from 1; without their end. Raises SourceError."""
    number = 0
    try:
        with _opened(path) as file:
            while raw := file.readline(LINE_LIMIT_BYTES + 1):
                number += 1
                if len(raw) > LINE_LIMIT_BYTES:
                    raise fault(path, f"the line is longer than {LINE_LIMIT_BYTES} bytes. Is it text?", number)
                yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise fault(path, "this is no UTF-8 text. Save it as UTF-8.", number) from None
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise fault(path, "the gz file is damaged or cut short. Fetch it again.", number + 1) from None
    except OSError as error:
        raise fault(path, f"not readable: {error.strerror}. Check the name, and who may read it.") from None


def text(path: Path) -> str:
    """The whole file. Raises SourceError, also beyond TEXT_LIMIT_BYTES."""
    parts, size = [], 0
    for _, line in lines(path):
        size += len(line) + 1
        if size > TEXT_LIMIT_BYTES:
            raise fault(path, f"more than {TEXT_LIMIT_BYTES} bytes. Split it, or write JSON lines.")
        parts.append(line)
    return "\n".join(parts)


def _opened(path: Path) -> IO[bytes]:
    """Raises OSError. Only a regular file: a pipe would hang us, a device never ends."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(0, "it is no regular file")
    file = path.open("rb")
    packed = file.read(2) == GZIP_MAGIC
    file.close()
    return cast("IO[bytes]", gzip.open(path, "rb")) if packed else path.open("rb")


def kind_of(path: Path) -> str:
    """What the file is by its name, less `.gz`: "jsonl", "csv", ...; empty: it has no such ending."""
    name = path.name.lower().removesuffix(".gz")
    return name.rpartition(".")[2] if "." in name else ""
