"""ICMP packets as they come from the wire: whose are they, and what do they say?"""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.look.probes.icmp import V4, V6, Reply, is_genuine, parse


def icmp(kind: int, code: int, identifier: int = 7, sequence: int = 9, payload: bytes = b"cookie") -> bytes:
    return struct.pack("!BBHHH", kind, code, 0, identifier, sequence) + payload


def ipv4(source: str, target: str, words: int = 5) -> bytes:
    head = bytes((0x40 | words,)) + bytes(11) + ip_address(source).packed + ip_address(target).packed
    return head.ljust(words * 4, b"\0")


def ipv6(source: str, target: str) -> bytes:
    return bytes(8) + ip_address(source).packed + ip_address(target).packed


ECHO_REPLY = Reply(7, 9, b"cookie", None, None)
V4_QUOTE = ipv4("10.0.0.1", "10.9.9.9") + icmp(8, 0)
V6_QUOTE = ipv6("fd00::1", "fd00::9") + icmp(128, 0)


def test_an_echo_reply_of_an_unprivileged_socket_has_no_ip_header() -> None:
    assert parse(icmp(0, 0), V4, ip_header=False) == ECHO_REPLY
    assert parse(icmp(129, 0), V6, ip_header=False) == ECHO_REPLY


@pytest.mark.parametrize("words", [5, 6, 15])
def test_an_echo_reply_of_a_raw_socket_comes_behind_an_ip_header_of_any_length(words: int) -> None:
    assert parse(ipv4("10.9.9.9", "10.0.0.1", words) + icmp(0, 0), V4, ip_header=True) == ECHO_REPLY


@pytest.mark.parametrize(
    ("kind", "code", "words"),
    [
        (3, 0, "network unreachable"),
        (3, 1, "host unreachable"),
        (3, 13, "prohibited by a filter"),
        (3, 3, "unreachable"),
    ],
)
def test_an_error_names_the_target_that_could_not_be_reached(kind: int, code: int, words: str) -> None:
    packet = ipv4("10.0.0.254", "10.0.0.1") + icmp(kind, code, 0, 0, V4_QUOTE)
    assert parse(packet, V4, ip_header=True) == Reply(7, 9, b"cookie", "10.9.9.9", words)


def test_an_error_of_ipv6_names_it_as_well() -> None:
    packet = icmp(1, 3, 0, 0, V6_QUOTE)
    assert parse(packet, V6, ip_header=False) == Reply(7, 9, b"cookie", "fd00::9", "address unreachable")


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\x45",
        icmp(0, 0)[:7],
        icmp(8, 0),  # somebody's request to us
        icmp(5, 0),  # a redirect
        icmp(3, 1, 0, 0, V4_QUOTE[:24]),  # quotes too little to know whose it is
        icmp(3, 1, 0, 0, ipv4("10.0.0.1", "10.9.9.9") + icmp(0, 0)),  # quotes no request
        icmp(3, 1, 0, 0, b""),
    ],
)
def test_anything_else_is_nothing(packet: bytes) -> None:
    assert parse(packet, V4, ip_header=False) is None


ERROR = Reply(7, 9, b"cook", "10.9.9.9", "host unreachable")


@pytest.mark.parametrize(
    ("reply", "sender", "genuine"),
    [
        (ECHO_REPLY, "10.9.9.9", True),
        (ECHO_REPLY, "10.9.9.8", False),  # another machine answers for it
        (Reply(8, 9, b"cookie", None, None), "10.9.9.9", False),  # another process's
        (Reply(7, 9, b"forged", None, None), "10.9.9.9", False),
        (Reply(7, 9, b"cookie and more", None, None), "10.9.9.9", False),
        (ERROR, "10.0.0.254", True),  # any router on the way may say so
        (Reply(7, 9, b"", "10.9.9.9", "host unreachable"), "10.0.0.254", True),  # quoted 8 bytes only
        (Reply(7, 9, b"cake", "10.9.9.9", "host unreachable"), "10.0.0.254", False),
        (Reply(7, 9, b"cook", "10.9.9.8", "host unreachable"), "10.0.0.254", False),  # about another target
    ],
)
def test_only_a_genuine_reply_counts(reply: Reply, sender: str, genuine: bool) -> None:
    assert is_genuine(reply, sender, address="10.9.9.9", identifier=7, cookie=b"cookie") is genuine


@given(st.binary(max_size=120), st.booleans())
def test_no_packet_raises(packet: bytes, ip_header: bool) -> None:
    parse(packet, V4, ip_header=ip_header)
    parse(packet, V6, ip_header=False)
