"""ICMP echo to thousands of targets through one socket.

icmplib opens the socket and builds the packets: unprivileged (SOCK_DGRAM, `net.ipv4.ping_group_range`) where the
kernel lets us, else raw (root, CAP_NET_RAW). Replies are read here, because its own `receive` serves one request at a
time and drops the payload. A reply counts only with our identifier and sequence number, from the address that was
asked, with the secret of that request in its payload; anything else is ignored: it is somebody else's, late, or forged.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from icmplib.exceptions import ICMPLibError, ICMPSocketError, SocketPermissionError
from icmplib.models import ICMPRequest
from icmplib.sockets import ICMPv4Socket, ICMPv6Socket

from backstay.look.model import Outcome
from backstay.look.probes.verdict import Verdict

_MAX_IN_FLIGHT = 2**15  # half of the sequence numbers, so that a late reply meets no new request
_COOKIE_BYTES = 16
_BATCH = 256  # packets read before other work of the event loop has its turn
_IP_RECVERR, _IPV6_RECVERR = 11, 25  # linux/in.h, linux/in6.h: queue ICMP errors on the socket
_ICMP_FILTER = 1  # linux/icmp.h, linux/icmpv6.h: a mask of the types that a raw socket does not want
_SOL_RAW = 255


@dataclass(frozen=True, slots=True)
class Wire:
    """The numbers that differ between ICMP (RFC 792) and ICMPv6 (RFC 4443)."""

    request: int
    reply: int
    errors: dict[int, str]
    codes: dict[tuple[int, int], str]  # (type, code) -> words


V4 = Wire(
    request=8,
    reply=0,
    errors={3: "unreachable", 11: "time exceeded"},
    codes={(3, 0): "network unreachable", (3, 1): "host unreachable", (3, 13): "prohibited by a filter"},
)
V6 = Wire(
    request=128,
    reply=129,
    errors={1: "unreachable", 3: "time exceeded"},
    codes={(1, 0): "no route", (1, 1): "prohibited by a filter", (1, 3): "address unreachable"},
)


@dataclass(frozen=True, slots=True)
class Reply:
    """An ICMP message about one of our requests; `error` is None for an echo reply."""

    identifier: int
    sequence: int
    cookie: bytes  # shorter than sent when a router quoted only a part of the request
    target: str | None  # whom an error is about; None: the sender itself
    error: str | None


def parse(packet: bytes, wire: Wire, *, ip_header: bool) -> Reply | None:
    """Read an ICMP message. `ip_header`: an IPv4 header comes first (raw sockets). None for anything else. Pure."""
    if ip_header:
        packet = packet[(packet[0] & 0x0F) * 4 :] if packet else b""
    if len(packet) < 8:
        return None
    kind, code = packet[0], packet[1]
    if kind == wire.reply:
        identifier, sequence = struct.unpack_from("!HH", packet, 4)
        return Reply(identifier, sequence, packet[8:], None, None)
    if kind not in wire.errors:
        return None
    quoted = packet[8:]  # the IP header and the beginning of the request that could not be delivered
    size = 40 if wire is V6 else (quoted[0] & 0x0F) * 4 if quoted else 0
    inner = quoted[size:]
    if size < 20 or len(inner) < 8 or inner[0] != wire.request:
        return None
    target = str(ip_address(quoted[24:40] if wire is V6 else quoted[16:20]))
    identifier, sequence = struct.unpack_from("!HH", inner, 4)
    return Reply(identifier, sequence, inner[8:], target, wire.codes.get((kind, code), wire.errors[kind]))


def is_genuine(reply: Reply, sender: str, *, address: str, identifier: int, cookie: bytes) -> bool:
    """Does `reply`, from `sender`, belong to the request that was sent to `address` with `identifier` and `cookie`?

    A router may quote only a part of the request (RFC 792 asks for 8 bytes), so an error's cookie may be short. Pure.
    """
    if reply.identifier != identifier:
        return False
    if reply.error is None:
        return sender == address and reply.cookie == cookie
    return reply.target == address and cookie.startswith(reply.cookie[: len(cookie)])


@dataclass(slots=True)
class _Waiting:
    address: str
    cookie: bytes
    verdict: asyncio.Future[Verdict]


class Echo:
    """One socket for one address family and source address. Opens at once; raises OSError when it may not."""

    def __init__(self, *, v6: bool, source: str | None) -> None:
        self._wire = V6 if v6 else V4
        self._socket = _open(ICMPv6Socket if v6 else ICMPv4Socket, source)
        self._identifier = secrets.randbits(16)
        self._next = secrets.randbits(16)
        self._waiting: dict[int, _Waiting] = {}
        self._loop = asyncio.get_running_loop()
        raw: socket.socket = self._socket.sock
        raw.setblocking(False)
        with contextlib.suppress(OSError):  # a bigger buffer is a help, not a need
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 2**20)
        if self._socket.is_privileged:
            _want_only(raw, self._wire)
        elif v6:
            raw.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
        else:
            raw.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        self._loop.add_reader(raw.fileno(), self._read)

    @property
    def unprivileged(self) -> bool:
        return not self._socket.is_privileged

    async def probe(self, address: str) -> Verdict:
        """Send one echo request and wait for what comes back; the caller bounds the time. Raises OSError."""
        if len(self._waiting) >= _MAX_IN_FLIGHT:
            return Verdict(outcome=Outcome.NOT_SENT, detail=f"{_MAX_IN_FLIGHT} echo requests are in flight already")
        sequence = self._sequence()
        plain = str(ip_address(address.partition("%")[0]))  # as replies name it: no zone
        waiting = _Waiting(plain, secrets.token_bytes(_COOKIE_BYTES), self._loop.create_future())
        self._waiting[sequence] = waiting
        try:
            request = ICMPRequest(address, self._identifier, sequence, payload=waiting.cookie)  # type: ignore[no-untyped-call]
            self._socket.send(request)  # type: ignore[no-untyped-call]  # icmplib has no types
            return await waiting.verdict
        except ICMPLibError as error:
            # icmplib keeps only the text of the system's error; the error itself is the context.
            raise error.__context__ if isinstance(error.__context__, OSError) else OSError(str(error)) from error
        finally:
            del self._waiting[sequence]

    def close(self) -> None:
        """Close the socket; who still waits is told that nothing was sent."""
        if not self._socket.is_closed:
            self._loop.remove_reader(self._socket.sock.fileno())
            self._socket.close()  # type: ignore[no-untyped-call]
        for waiting in self._waiting.values():
            if not waiting.verdict.done():
                waiting.verdict.set_result(Verdict(outcome=Outcome.NOT_SENT, detail="the prober was closed"))

    def _sequence(self) -> int:
        while True:
            self._next = (self._next + 1) & 0xFFFF
            if self._next not in self._waiting:
                return self._next

    def _read(self) -> None:
        for reply, sender in self._replies():
            waiting = self._waiting.get(reply.sequence)
            # The kernel sorts the replies of unprivileged sockets, and chooses their identifier.
            identifier = reply.identifier if self.unprivileged else self._identifier
            if (
                waiting is None
                or waiting.verdict.done()
                or not is_genuine(reply, sender, address=waiting.address, identifier=identifier, cookie=waiting.cookie)
            ):
                continue
            if reply.error is None:
                waiting.verdict.set_result(Verdict(outcome=Outcome.ANSWERED))
            else:
                words = f"{reply.error}, says {sender}"
                waiting.verdict.set_result(Verdict(outcome=Outcome.UNREACHABLE, detail=words))

    def _replies(self) -> Iterator[tuple[Reply, str]]:
        raw: socket.socket = self._socket.sock
        ip_header = self._socket.is_privileged and self._wire is V4
        for _ in range(_BATCH):
            try:
                packet, sender = raw.recvfrom(2048)
            except BlockingIOError:
                return
            except OSError:
                # An ICMP error about one of our requests waits on the error queue (unprivileged sockets).
                yield from self._errors(raw)
                continue
            reply = parse(packet, self._wire, ip_header=ip_header)
            if reply:
                yield reply, str(sender[0]).partition("%")[0]

    def _errors(self, raw: socket.socket) -> Iterator[tuple[Reply, str]]:
        """Read the error queue (ip(7), IP_RECVERR): our own request back, and who could not deliver it, and why."""
        for _ in range(_BATCH):
            try:
                request, control, _, target = raw.recvmsg(2048, 512, socket.MSG_ERRQUEUE)
            except OSError:
                return
            if len(request) < 8 or not control:
                continue
            extended = control[0][2]  # struct sock_extended_err, then the address of who said it
            _, _, kind, code = struct.unpack_from("=IBBB", extended)
            identifier, sequence = struct.unpack_from("!HH", request, 4)
            words = self._wire.codes.get((kind, code), self._wire.errors.get(kind, f"error {kind}/{code}"))
            yield Reply(identifier, sequence, request[8:], str(target[0]).partition("%")[0], words), _offender(extended)


def _offender(extended: bytes) -> str:
    """Who sent the ICMP error: a struct sockaddr behind the 16 bytes of struct sock_extended_err."""
    if len(extended) >= 24 and struct.unpack_from("=H", extended, 16)[0] == socket.AF_INET:
        return str(ip_address(extended[20:24]))
    if len(extended) >= 40 and struct.unpack_from("=H", extended, 16)[0] == socket.AF_INET6:
        return str(ip_address(extended[24:40]))
    return "this machine"


def _want_only(raw: socket.socket, wire: Wire) -> None:
    """Have the kernel give a raw socket only replies and errors: it would see every echo request as well."""
    wanted = (wire.reply, *wire.errors)
    if wire is V4:
        mask = 0xFFFFFFFF & ~sum(1 << kind for kind in wanted)
        raw.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", mask))
        return
    blocked = [0xFFFFFFFF] * 8
    for kind in wanted:
        blocked[kind >> 5] &= ~(1 << (kind & 31))
    raw.setsockopt(socket.IPPROTO_ICMPV6, _ICMP_FILTER, struct.pack("=8I", *blocked))


def _open(kind: type[ICMPv4Socket | ICMPv6Socket], source: str | None) -> ICMPv4Socket | ICMPv6Socket:
    """Unprivileged where the kernel lets us, else raw. Raises OSError that says what to do about it."""
    for privileged in (False, True):
        try:
            return kind(address=source, privileged=privileged)
        except SocketPermissionError:
            continue
        except ICMPSocketError as error:
            raise error.__context__ if isinstance(error.__context__, OSError) else OSError(str(error)) from error
    raise PermissionError(
        "ICMP is not permitted: set net.ipv4.ping_group_range to include this group, or grant CAP_NET_RAW"
    )
