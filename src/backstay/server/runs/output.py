"""What a program prints, as text that may be kept: bounded, without control codes. Pure."""

from __future__ import annotations

import codecs
import re

from backstay.server.runs.model import Printed

HEAD_CHARS = 64_000  # of the beginning, which says what it was about
TAIL_CHARS = 192_000  # and of the end, which says how it went
# ECMA-48: control sequences (colours); and all other control characters but tab and newline.
_CODES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Output:
    """Grows by pieces of bytes (UTF-8; what is none becomes U+FFFD), never beyond its limits."""

    def __init__(self, head_chars: int = HEAD_CHARS, tail_chars: int = TAIL_CHARS) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._head_chars = head_chars
        self._tail_chars = tail_chars
        self._head = ""
        self._tail = ""
        self._left_out = 0

    def add(self, piece: bytes) -> None:
        text = self._decoder.decode(piece)
        room = self._head_chars - len(self._head)
        self._head += text[:room]
        tail = self._tail + text[room:]
        self._left_out += max(0, len(tail) - self._tail_chars)
        self._tail = tail[-self._tail_chars :]

    def printed(self) -> Printed:
        """So far."""
        gap = f"\n[... {self._left_out} characters left out ...]\n" if self._left_out else ""
        return Printed(text=_CODES.sub("", self._head + gap + self._tail), left_out=self._left_out)
