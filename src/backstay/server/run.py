"""`backstay server run`: uvicorn with TLS over the application, and the tasks, until SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import uvicorn
import uvloop
from structlog import get_logger

from backstay import systemd
from backstay.estate import EstateFaults
from backstay.server.access.wall import UVICORN
from backstay.server.app import create_app
from backstay.server.certificates import AuthorityFiles, CertificateError, check_pair, ends_at, renew
from backstay.server.model import Principal, PrincipalKind
from backstay.server.ports import StoreError
from backstay.server.protocol import BoundedHttp
from backstay.server.settings import Settings
from backstay.server.shell import Server
from backstay.server.tasks import Tasks

BACKLOG = 2_048  # a thousand agents come back at once after a restart
CERTIFICATE_EVERY_S = 60.0
ENDS_SOON = timedelta(days=14)
MACHINE = Principal(name="server", kind=PrincipalKind.USER)

log = get_logger()


class CannotStart(Exception):
    """What, where, what next."""


def run(settings: Settings, *, estate: Path | None = None) -> None:
    """Serve until SIGTERM or SIGINT. `estate`: adopted when the server has none yet. Raises CannotStart."""
    systemd.take()
    os.umask(0o077)  # nobody else reads the database
    _give_memory_back()
    try:
        server = Server.open(settings.database)
    except StoreError as error:
        raise CannotStart(f"The database cannot be used: {error}") from error
    try:
        with _listener(settings) as listener:
            uvloop.run(_serve(server, settings, estate, listener))
    finally:
        server.close()


def _give_memory_back() -> None:
    """Let glibc return large blocks to the system as soon as they are free (mallopt(3)).

    By itself it learns to keep them: a new estate that a thousand agents are told at once stays in memory for ever.
    """
    mmap_threshold, arena_max = -3, -8
    with contextlib.suppress(OSError, AttributeError):  # another C library has its own ways
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_threshold, 64 * 1024)
        libc.mallopt(arena_max, 2)


async def _serve(server: Server, settings: Settings, estate: Path | None, listener: socket.socket) -> None:
    if estate is not None:
        await _adopt_first(server, estate)
    web = _Web(_config(server, settings), server, f"{settings.base_url} for {server.database.where}")
    async with Tasks(server).running(), _renewing(server, settings, web):
        # What lives as long as the process is not looked at again by every collection of garbage.
        gc.collect()
        gc.freeze()
        address = listener.getsockname()
        log.info("listening", address=address[0], port=address[1], url=settings.base_url, tls=settings.tls is not None)
        await web.serve(sockets=[listener])
    log.info("ended")


class _Web(uvicorn.Server):
    """Tells systemd, and ends the long polls when it is told to end: they would hold it for half a minute."""

    def __init__(self, config: uvicorn.Config, server: Server, words: str) -> None:
        super().__init__(config)
        self._server = server
        self._words = words

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, which lets the signal end the process at once when it is done: then ours is not done yet."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        systemd.ready(self._words)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        systemd.stopping()
        self._server.end()
        await super().shutdown(sockets)


def _config(server: Server, settings: Settings) -> uvicorn.Config:
    tls = settings.tls
    if tls is not None:
        try:
            check_pair(tls.certificate, tls.key)
        except CertificateError as error:
            raise CannotStart(str(error)) from error
    return uvicorn.Config(
        create_app(server, settings),
        ssl_certfile=None if tls is None else str(tls.certificate),
        ssl_keyfile=None if tls is None else str(tls.key),
        loop="none",  # run() has one
        http=BoundedHttp,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        backlog=BACKLOG,
        **UVICORN,
    )


def _listener(settings: Settings) -> socket.socket:
    try:
        found = socket.getaddrinfo(settings.listen, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        raise CannotStart(
            f"{settings.listen} port {settings.port}: cannot listen: {error.strerror or error}. "
            "Is another server there already? Another place: --listen, --port"
        ) from error


async def _adopt_first(server: Server, path: Path) -> None:
    """Adopt the estate of `path`, unless one was adopted: then the server's own word counts, not a file's."""
    if server.snapshot().adopted is not None:
        log.info("keeps the estate that it has", given=str(path))
        return
    try:
        text = path.read_text(encoding="utf-8")
        await server.adopt(text, None, MACHINE, f"the first start, from {path.name}")
    except (OSError, UnicodeDecodeError) as error:
        raise CannotStart(f"{path}: cannot be read: {error}. `backstay init` writes an estate file.") from error
    except EstateFaults as faults:
        raise CannotStart(str(faults)) from faults


@contextlib.asynccontextmanager
async def _renewing(server: Server, settings: Settings, web: uvicorn.Server) -> AsyncIterator[None]:
    """Certificates: ours are renewed, and what anybody renewed is used for new connections, without a restart."""
    if settings.tls is None:
        yield
        return
    task = asyncio.create_task(_renew(server, settings, web))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _renew(server: Server, settings: Settings, web: uvicorn.Server) -> None:
    assert settings.tls is not None
    certificate, key = settings.tls.certificate, settings.tls.key
    own = AuthorityFiles(folder=settings.state_dir / "tls")
    loaded = _stamp(certificate)
    while True:
        await asyncio.sleep(CERTIFICATE_EVERY_S)
        now = datetime.now(UTC)
        try:
            if certificate == own.certificate and renew(own, now):
                log.info("renewed the server's certificate", until=str(ends_at(certificate)))
            if _stamp(certificate) != loaded:
                check_pair(certificate, key)
                assert web.config.ssl is not None
                web.config.ssl.load_cert_chain(certificate, key)
                loaded = _stamp(certificate)
                log.info("uses a renewed certificate", until=str(ends_at(certificate)))
            left = ends_at(certificate) - now
            words = f"The certificate {certificate} ends in {left.days} days. Renew it." if left < ENDS_SOON else None
        except (CertificateError, ssl.SSLError, OSError) as error:
            words = f"The certificate cannot be used: {error}"
        server.newest.trouble("certificate", words)


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_ino
