"""Established TCP connections by the kernel's socket diagnostics (sock_diag(7)), in our network namespace.

Written on the netlink socket itself: pyroute2's way to the same answer costs 14 MB of the agent's memory; this
costs none and about 15 us a connection, and the kernel filters by port.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST_DUMP = 0x301
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_TCP_ESTABLISHED = 1
_INET_DIAG_INFO = 2
_TIMEOUT_S = 5.0
_RECEIVE_BYTES = 1_048_576
_PORTS_ASKED_ONE_BY_ONE = 16

_HEADER = struct.Struct("=IHHII")  # nlmsghdr
_REQUEST = struct.Struct("=BBBBIHH16s16sIII")  # inet_diag_req_v2; ports in network order
_MESSAGE = struct.Struct("=BBBBHH16s16sIIIIIIII")  # inet_diag_msg: family, state, ..., inode
_ATTRIBUTE = struct.Struct("=HH")
_LAST_DATA = struct.Struct("=I4xI")  # of tcp_info, from byte 44: last_data_sent, last_ack_sent, last_data_recv
_LAST_DATA_AT = 44
_BYTES_RECEIVED = struct.Struct("=Q")
_BYTES_RECEIVED_AT = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """An established connection; `since` is milliseconds since data last went that way."""

    local: tuple[str, int]
    remote: tuple[str, int]
    inode: int
    since_sent_ms: int
    since_received_ms: int
    received_bytes: int  # since it was established


def established(*, local_ports: Collection[int] = (), remote_ports: Collection[int] = ()) -> list[Connection]:
    """Established TCP connections from `local_ports` or to `remote_ports` (one of the two is given).

    Raises OSError when the kernel has no socket diagnostics.
    """
    assert bool(local_ports) != bool(remote_ports), "ask by local or by remote ports"
    wanted = frozenset(local_ports or remote_ports)
    # Few ports: the kernel filters. Many: one dump, filtered here.
    asked = sorted(wanted) if len(wanted) <= _PORTS_ASKED_ONE_BY_ONE else [0]
    found: list[Connection] = []
    for family in (socket.AF_INET, socket.AF_INET6):
        for port in asked:
            source, target = (port, 0) if local_ports else (0, port)
            for connection in _dump(family, source, target):
                end = connection.local if local_ports else connection.remote
                if end[1] in wanted:
                    found.append(connection)
    return found


def socket_inodes(pids: Iterable[int]) -> dict[int, set[int]]:
    """Inodes of the sockets that each process holds; a process that we may not look into has none."""
    return {pid: set(_inodes_of(pid)) for pid in pids}


def _inodes_of(pid: int) -> Iterator[int]:
    try:
        descriptors = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return
    for descriptor in descriptors:
        try:
            target = os.readlink(descriptor)  # noqa: PTH115 - thousands of them, and no Path is wanted
        except OSError:
            continue  # closed since
        if target.startswith("socket:["):
            yield int(target[8:-1])


def _dump(family: int, source_port: int, target_port: int) -> Iterator[Connection]:
    request = _REQUEST.pack(
        family,
        socket.IPPROTO_TCP,
        1 << (_INET_DIAG_INFO - 1),
        0,
        1 << _TCP_ESTABLISHED,
        socket.htons(source_port),
        socket.htons(target_port),
        b"",
        b"",
        0,
        0xFFFFFFFF,  # INET_DIAG_NOCOOKIE
        0xFFFFFFFF,
    )
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as netlink:
        netlink.settimeout(_TIMEOUT_S)
        netlink.send(
            _HEADER.pack(_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST_DUMP, 1, 0) + request
        )
        while True:
            data = memoryview(netlink.recv(_RECEIVE_BYTES))
            while data:
                length, kind, *_ = _HEADER.unpack_from(data)
                if kind == _NLMSG_DONE:
                    return
                if kind == _NLMSG_ERROR:
                    (code,) = struct.unpack_from("=i", data, _HEADER.size)
                    raise OSError(-code, f"socket diagnostics: {os.strerror(-code)}")
                yield _parse(data[_HEADER.size : length])
                data = data[(length + 3) & ~3 :]


def _parse(message: memoryview) -> Connection:
    family, _, _, _, sport, dport, source, target, *_, inode = _MESSAGE.unpack_from(message)
    since_sent_ms = since_received_ms = received_bytes = 0
    position = _MESSAGE.size
    while position + _ATTRIBUTE.size <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, position)
        info = position + _ATTRIBUTE.size
        if kind == _INET_DIAG_INFO and length >= _ATTRIBUTE.size + _BYTES_RECEIVED_AT + _BYTES_RECEIVED.size:
            since_sent_ms, since_received_ms = _LAST_DATA.unpack_from(message, info + _LAST_DATA_AT)
            (received_bytes,) = _BYTES_RECEIVED.unpack_from(message, info + _BYTES_RECEIVED_AT)
        position += max(_ATTRIBUTE.size, (length + 3) & ~3)
    return Connection(
        local=(_address(family, source), socket.ntohs(sport)),
        remote=(_address(family, target), socket.ntohs(dport)),
        inode=inode,
        since_sent_ms=since_sent_ms,
        since_received_ms=since_received_ms,
        received_bytes=received_bytes,
    )


def _address(family: int, raw: bytes) -> str:
    if family == socket.AF_INET:
        return socket.inet_ntop(family, raw[:4])
    address = socket.inet_ntop(socket.AF_INET6, raw)
    # A listener on [::] sees IPv4 clients as ::ffff:192.0.2.1.
    return address if not address.startswith("::ffff:") else str(ip_address(address[7:]))
