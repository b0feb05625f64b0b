"""An HTTP or HTTPS probe: one GET over a new connection, since a probe must test that the target still accepts.

A small asyncio Protocol over `look.answer` (which the witness reads with as well) rather than aiohttp: two thirds of
the CPU and of the memory (`./run bench probe`), and the connection is gone when the probe is over, with no TLS goodbye
to wait for. No redirect is followed, and of the body no more is awaited than the target's `body_limit_bytes`.
See docs/decisions/0021.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

from backstay import __version__
from backstay.look.answer import Answer, BadAnswer
from backstay.look.model import Outcome, ProbeKind, Target
from backstay.look.probes import certificate
from backstay.look.probes.verdict import Progress, Verdict

_MAX_CONTEXTS = 64  # TLS contexts kept: one for each authority file and its version
_DEFAULT_PORTS = {ProbeKind.HTTP: 80, ProbeKind.HTTPS: 443}


class Http:
    """All HTTP and HTTPS probes of one prober; keeps TLS contexts, since each costs a read of its authority."""

    def __init__(self) -> None:
        self._contexts: OrderedDict[tuple[str | int | None, ...], ssl.SSLContext] = OrderedDict()

    async def probe(self, target: Target, progress: Progress) -> Verdict:
        """GET and judge; the caller bounds the time. Raises OSError (see `verdict.of_error`)."""
        fault = _fault(target)
        if fault:
            return Verdict(outcome=Outcome.NOT_SENT, detail=fault)
        try:
            context = self._context(target) if target.kind is ProbeKind.HTTPS else None
        except OSError as error:  # ssl.SSLError is one
            return Verdict(outcome=Outcome.NOT_SENT, detail=f"ca_file {target.ca_file}: {error.strerror or error}")
        try:
            return await _exchange(target, context, progress)
        except ssl.SSLCertVerificationError as error:
            return await _refused_certificate(target, error, progress)
        except ssl.SSLError as error:
            return Verdict(outcome=Outcome.BAD_ANSWER, detail=f"no TLS: {error.reason or error}")

    def _context(self, target: Target) -> ssl.SSLContext:
        """A context for the target's authority; a file that was replaced is read again."""
        key: tuple[str | int | None, ...] = (target.verify, target.ca_file)
        if target.ca_file:
            version = Path(target.ca_file).stat()
            key += (version.st_ino, version.st_mtime_ns, version.st_size)
        if key not in self._contexts:
            context = ssl.create_default_context(cafile=target.ca_file)
            if not target.verify:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            self._contexts[key] = context
            if len(self._contexts) > _MAX_CONTEXTS:
                self._contexts.popitem(last=False)
        self._contexts.move_to_end(key)
        return self._contexts[key]


async def _exchange(target: Target, context: ssl.SSLContext | None, progress: Progress) -> Verdict:
    connection = await _connected(target)
    progress.connected = True
    transport, exchange = await asyncio.get_running_loop().create_connection(  # which owns the socket from here on
        lambda: _Exchange(target, progress),
        sock=connection,
        ssl=context,
        server_hostname=(target.server_name or target.host or target.address) if context else None,
    )
    try:
        return await exchange.verdict
    finally:
        transport.abort()


async def _connected(target: Target) -> socket.socket:
    """TCP's handshake by itself, so that a host that takes connections is told from one that takes none."""
    family = socket.AF_INET6 if ":" in target.address else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        connection.setblocking(False)
        if target.source:
            connection.bind((target.source, 0))
        await asyncio.get_running_loop().sock_connect(connection, (target.address, _port(target)))
    except BaseException:
        connection.close()
        raise
    return connection


class _Exchange(asyncio.Protocol):
    """One request, one answer; `verdict` is set as soon as enough of the answer is there."""

    def __init__(self, target: Target, progress: Progress) -> None:
        self.verdict: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self._target, self._progress = target, progress
        self._answer = Answer(keep_bytes=target.body_limit_bytes)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(_request(self._target))

    def data_received(self, data: bytes) -> None:
        if self.verdict.done():
            return
        try:
            complete = self._answer.feed(data)
        except BadAnswer as error:
            self.verdict.set_result(Verdict(outcome=Outcome.BAD_ANSWER, detail=f"no HTTP answer: {error}"))
            return
        self._progress.status = self._answer.status or None
        if complete or (self._answer.status and len(self._answer.body) >= self._target.body_limit_bytes):
            self.verdict.set_result(_judge(self._target, self._answer))

    def connection_lost(self, exc: Exception | None) -> None:
        if self.verdict.done():
            return
        if isinstance(exc, ssl.SSLError):
            self.verdict.set_exception(exc)
        elif exc is None and self._answer.closed():
            self.verdict.set_result(_judge(self._target, self._answer))
        else:
            self.verdict.set_result(_cut(self._answer, exc))


def _port(target: Target) -> int:
    return target.port or _DEFAULT_PORTS[target.kind]


def _request(target: Target) -> bytes:
    host = target.host
    if host is None:
        host = f"[{target.address}]" if ":" in target.address else target.address
        if _port(target) != _DEFAULT_PORTS[target.kind]:
            host += f":{target.port}"
    return (
        f"GET {target.path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: backstay-probe/{__version__}\r\n"
        "Accept: */*\r\nConnection: close\r\n\r\n"
    ).encode("ascii")


def _judge(target: Target, answer: Answer) -> Verdict:
    low, high = target.expect_status
    if low <= answer.status <= high:
        return Verdict(outcome=Outcome.ANSWERED, status=answer.status, body=answer.body)
    detail = f"status {answer.status}, expected {low} to {high}"
    return Verdict(outcome=Outcome.BAD_STATUS, status=answer.status, body=answer.body, detail=detail)


def _cut(answer: Answer, exc: Exception | None) -> Verdict:
    how = "connection reset" if isinstance(exc, ConnectionResetError) else "connection closed"
    where = "within the body" if answer.status else "within the header" if answer.begun else "without an answer"
    return Verdict(outcome=Outcome.RESET, status=answer.status or None, detail=f"{how} {where}")


def _fault(target: Target) -> str | None:
    """What is wrong with the target itself; never to be blamed on whom it names."""
    words = target.path + (target.host or "")
    if not target.path.startswith("/") or not words.isascii() or not words.isprintable() or " " in words:
        return (
            f"path {target.path!r} or host {target.host!r} cannot be sent: a path begins with /, both are plain ASCII"
        )
    return None


async def _refused_certificate(target: Target, error: ssl.SSLCertVerificationError, progress: Progress) -> Verdict:
    """The verdict is known at once; dates and names need a second look, within what is left of the time."""
    name = target.server_name or target.host or target.address
    progress.verdict = Verdict(outcome=Outcome.BAD_CERTIFICATE, detail=certificate.describe(error, name, None))
    progress.judged_at = asyncio.get_running_loop().time()
    try:
        leaf = await certificate.fetch(target.address, _port(target), name, target.source)
    except OSError:
        return progress.verdict  # the fault is known; only its dates and names are not
    return replace(progress.verdict, detail=certificate.describe(error, name, leaf))
