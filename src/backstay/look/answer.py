"""One HTTP/1.1 answer, as its bytes arrive (RFC 9112). Pure. The probes and the witness read with it.

Strict where a wrong guess would hide a fault, lenient about bare line feeds (health pages written by shell scripts),
and bounded: a head of 64 KB, a body of 16 MB, of which only the beginning is kept.
"""

from __future__ import annotations

import re

_HEAD_LIMIT_BYTES = 65_536
_BODY_LIMIT_BYTES = 16 * 2**20
_KEPT_BYTES = 65_536
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")


class BadAnswer(ValueError):
    """What came is no HTTP/1.1 answer, or beyond the limits: what was wrong with it."""


class Answer:
    """Feed it bytes until `feed` says that the answer is complete."""

    __slots__ = (
        "_buffer",
        "_chunked",
        "_in_body",
        "_keep_bytes",
        "_left",
        "_seen",
        "body",
        "head",
        "keep_alive",
        "status",
    )

    def __init__(self, *, keep_bytes: int = _KEPT_BYTES) -> None:
        """`keep_bytes`: how much of the body is kept."""
        self.status = 0
        self.head = b""  # status line and headers, in lower case, lines end with "\\n"
        self.body = b""  # the beginning of it
        self.keep_alive = False
        self._buffer = b""
        self._in_body = False
        self._chunked = False
        self._left: int | None = None  # bytes of the body (or chunk) to come; None: until the connection closes
        self._seen = 0
        self._keep_bytes = keep_bytes

    @property
    def begun(self) -> bool:
        return bool(self._buffer or self.head)

    def feed(self, data: bytes) -> bool:
        """True when the answer is complete. Raises BadAnswer."""
        self._buffer = self._buffer + data if self._buffer else data
        while not self._in_body:
            if not self._take_head():
                return False
        return self._take_chunks() if self._chunked else self._take_body()

    def closed(self) -> bool:
        """The connection was closed: True when that is how this answer ends."""
        return self._in_body and not self._chunked and self._left is None

    def _take_head(self) -> bool:
        end = _END_OF_HEAD.search(self._buffer)
        if end is None or end.end() > _HEAD_LIMIT_BYTES:
            if len(self._buffer) > _HEAD_LIMIT_BYTES:
                raise BadAnswer(f"headers of more than {_HEAD_LIMIT_BYTES} bytes")
            if not b"HTTP/1.".startswith(self._buffer[:7]):
                raise BadAnswer(f"begins with {self._buffer[:20]!r}")
            return False
        head = self._buffer[: end.start()].lower().replace(b"\r\n", b"\n") + b"\n"
        self._buffer = self._buffer[end.end() :]
        if not (head.startswith(b"http/1.") and head[8:9] == b" " and head[9:12].isdigit()):
            raise BadAnswer(f"begins with {head[:20]!r}")
        status = int(head[9:12])
        if 100 <= status < 200 and status != 101:
            return bool(self._buffer)  # interim: the answer itself follows
        self.status, self.head = status, head
        connection = self.header(b"connection") or b""
        self.keep_alive = head.startswith(b"http/1.1") and b"close" not in connection
        self._begin_body()
        return True

    def _begin_body(self) -> None:
        self._in_body = True
        length = self.header(b"content-length")
        if self.status in (101, 204, 304):
            self._left = 0
        elif b"chunked" in (self.header(b"transfer-encoding") or b""):
            self._chunked, self._left = True, 0
        elif length is not None:
            if not length.isdigit() or int(length) > _BODY_LIMIT_BYTES:
                raise BadAnswer(f"content-length {length[:20]!r}")
            self._left = int(length)
        else:
            self.keep_alive = False

    def header(self, name: bytes) -> bytes | None:
        """The value of the first header `name` (lower case), in lower case."""
        start = self.head.find(b"\n" + name + b":")
        if start < 0:
            return None
        start += len(name) + 2
        return self.head[start : self.head.find(b"\n", start)].strip()

    def _take_body(self) -> bool:
        if self._left is None:
            self._keep(self._buffer)
            self._buffer = b""
            return False
        taken, self._buffer = self._buffer[: self._left], self._buffer[self._left :]
        self._left -= len(taken)
        self._keep(taken)
        return self._left == 0

    def _take_chunks(self) -> bool:
        while True:
            if self._left:
                taken, self._buffer = self._buffer[: self._left], self._buffer[self._left :]
                self._keep(taken[: max(self._left - 2, 0)])  # a chunk's last two bytes are its CRLF
                self._left -= len(taken)
                if self._left:
                    return False
            line, found, rest = self._buffer.partition(b"\r\n")
            if not found:
                if len(line) > 1024:
                    raise BadAnswer("a chunk size of more than 1,024 bytes")
                return False
            try:
                size = int(line.partition(b";")[0], 16)
            except ValueError:
                raise BadAnswer(f"chunk size {line[:20]!r}") from None
            if size == 0:
                if len(rest) > _HEAD_LIMIT_BYTES:
                    raise BadAnswer(f"trailers of more than {_HEAD_LIMIT_BYTES} bytes")
                if rest != b"\r\n" and not rest.endswith(b"\r\n\r\n"):  # no trailers, or the end of them
                    return False
                self._buffer = b""
                return True
            self._buffer, self._left = rest, size + 2

    def _keep(self, data: bytes) -> None:
        self._seen += len(data)
        if self._seen > _BODY_LIMIT_BYTES:
            raise BadAnswer(f"a body of more than {_BODY_LIMIT_BYTES} bytes")
        if len(self.body) < self._keep_bytes:
            self.body += data[: self._keep_bytes - len(self.body)]

    @property
    def surplus(self) -> bytes:
        """What followed the end: after a 101 the first bytes of the new protocol, else a fault of the server."""
        return self._buffer
