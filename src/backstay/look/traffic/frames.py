"""WebSocket frames (RFC 6455) as a client needs them: text out, anything in, one frame a message. Pure."""

from __future__ import annotations

import base64
import hashlib
from enum import IntEnum
from typing import NamedTuple

_MOST_BYTES = 65_535
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3


class Opcode(IntEnum):
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class Frame(NamedTuple):
    opcode: int
    payload: bytes


class BadFrame(ValueError):
    """A frame that no server may send, or one beyond 64 KB."""


def accept_key(key: bytes) -> bytes:
    """What a server must answer to `Sec-WebSocket-Key: key`, in lower case as `Answer.head` keeps it."""
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest()).lower()


def encode(opcode: Opcode, payload: bytes, mask: bytes) -> bytes:
    """A client's frame: always masked, with 4 bytes of the caller's own."""
    if len(payload) > _MOST_BYTES:
        raise BadFrame(f"a payload of {len(payload)} bytes; at most {_MOST_BYTES}")
    size = len(payload)
    head = bytes((0x80 | opcode, 0x80 | size)) if size < 126 else bytes((0x80 | opcode, 0xFE)) + size.to_bytes(2)
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


def decode(buffer: bytes) -> tuple[Frame | None, bytes]:
    """The first frame of `buffer`, when it is complete, and the bytes after it. Raises BadFrame."""
    if len(buffer) < 2:
        return None, buffer
    size, start = buffer[1] & 0x7F, 2
    if buffer[1] & 0x80 or not buffer[0] & 0x80 or size == 127:
        raise BadFrame("a masked, fragmented or too long frame")
    if size == 126:
        if len(buffer) < 4:
            return None, buffer
        size, start = int.from_bytes(buffer[2:4]), 4
    if len(buffer) < start + size:
        return None, buffer
    return Frame(buffer[0] & 0x0F, buffer[start : start + size]), buffer[start + size :]
