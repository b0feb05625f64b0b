"""WebSocket frames, against the websockets library's and RFC 6455's examples."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.look.traffic.frames import BadFrame, Frame, Opcode, accept_key, decode, encode


def test_the_examples_of_rfc_6455() -> None:
    assert accept_key(b"dGhlIHNhbXBsZSBub25jZQ==") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".lower()
    assert encode(Opcode.TEXT, b"Hello", b"\x37\xfa\x21\x3d") == bytes.fromhex("818537fa213d7f9f4d5158")
    assert decode(bytes.fromhex("810548656c6c6f")) == (Frame(Opcode.TEXT, b"Hello"), b"")


@given(st.binary(max_size=65_535), st.binary(max_size=5))
def test_a_frame_is_found_with_its_last_byte_and_what_follows_is_kept(payload: bytes, after: bytes) -> None:
    size = len(payload)
    head = bytes((0x82, size)) if size < 126 else bytes((0x82, 126)) + size.to_bytes(2)
    whole = head + payload
    assert decode(whole + after) == (Frame(Opcode.BINARY, payload), after)
    assert decode(whole[:-1])[0] is None


@pytest.mark.parametrize("data", ["8185", "0105", "817f"], ids=["masked", "fragmented", "too long"])
def test_a_frame_that_a_server_may_not_send_is_refused(data: str) -> None:
    with pytest.raises(BadFrame):
        decode(bytes.fromhex(data))


def test_a_payload_beyond_the_limit_is_refused() -> None:
    with pytest.raises(BadFrame, match="at most 65535"):
        encode(Opcode.TEXT, b"x" * 65_536, b"mask")


def test_a_long_payload_is_masked_and_has_a_two_byte_length() -> None:
    frame = encode(Opcode.TEXT, b"\0" * 200, b"abcd")
    assert frame[:4] == bytes((0x81, 0xFE, 0, 200))
    assert frame[8:] == b"abcd" * 50
