"""WebSockets that are kept open: each sends a message now and then, and awaits the same message back."""

from __future__ import annotations

import asyncio
import base64
import secrets
from typing import Literal, cast

from backstay.look.answer import Answer, BadAnswer
from backstay.look.traffic import frames
from backstay.look.traffic.connection import Endpoint
from backstay.look.traffic.frames import BadFrame, Opcode
from backstay.look.traffic.report import Report
from backstay.look.witness import Fate, Witness

_RETRY_S = 0.5  # a user's page reconnects by itself


class _Wire(asyncio.Protocol):
    """Bytes to messages. `gone` is set when the connection is over, and `reason` says how it ended."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.answer: Answer | None = Answer()
        self.upgraded: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.messages: asyncio.Queue[bytes] = asyncio.Queue(maxsize=16)
        self.gone = asyncio.Event()
        self.reason = "connection closed"
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            if self.answer is not None:
                if not self.answer.feed(data):
                    return
                answer, self.answer = self.answer, None
                data = answer.surplus
                if not self.upgraded.done():
                    self.upgraded.set_result(answer)
            self._buffer += data
            self._take_frames()
        except (BadAnswer, BadFrame, asyncio.QueueFull) as error:
            self._fail(f"no WebSocket: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"connection closed: {exc}" if exc else self.reason)

    def send(self, opcode: Opcode, payload: bytes) -> None:
        if self.transport:
            self.transport.write(frames.encode(opcode, payload, secrets.token_bytes(4)))

    def _take_frames(self) -> None:
        while True:
            frame, self._buffer = frames.decode(self._buffer)
            if frame is None:
                return
            if frame.opcode == Opcode.PING:
                self.send(Opcode.PONG, frame.payload)
            elif frame.opcode == Opcode.CLOSE:
                self._fail("the server said goodbye")
            elif frame.opcode in (Opcode.TEXT, Opcode.BINARY):
                self.messages.put_nowait(frame.payload)

    def _fail(self, reason: str) -> None:
        if not self.gone.is_set():
            self.reason = reason
            self.gone.set()
        if not self.upgraded.done():
            self.upgraded.set_exception(ConnectionError(reason))
        if self.transport:
            self.transport.abort()


class EchoSocket:
    """One WebSocket, opened again when it is cut. Each message counts as a request, and so does a failed opening."""

    def __init__(
        self, endpoint: Endpoint, path: str, witness: Witness, report: Report, *, every_s: float, timeout_s: float
    ) -> None:
        self._endpoint, self._path = endpoint, path
        self._witness, self._report = witness, report
        self._every_s, self._timeout_s = every_s, timeout_s
        self._clock = asyncio.get_running_loop().time

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            began = self._clock()
            try:
                async with asyncio.timeout(self._timeout_s):
                    wire = await self._open()
            except OSError as error:
                fate = Fate.TIMED_OUT if isinstance(error, TimeoutError) else Fate.NO_CONNECTION
                self._ended(self._witness.sent(began), fate, f"no WebSocket: {error}", "open")
                await _wait(stop, _RETRY_S)
                continue
            try:
                await self._talk(wire, stop)
            finally:
                if wire.transport:
                    wire.transport.abort()

    async def _open(self) -> _Wire:
        """Connect and upgrade. Raises OSError."""
        at = self._endpoint
        _, wire = await asyncio.get_running_loop().create_connection(
            _Wire,
            at.address,
            at.port,
            ssl=at.tls,
            server_hostname=at.host if at.tls else None,
            local_addr=(at.source, 0) if at.source else None,
        )
        key = base64.b64encode(secrets.token_bytes(16))
        request = (
            f"GET {self._path} HTTP/1.1\r\nHost: {at.host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key.decode()}\r\n\r\n"
        )
        assert wire.transport is not None
        try:
            wire.transport.write(request.encode())
            answer = await wire.upgraded
        except BaseException:
            wire.transport.abort()
            raise
        if answer.status != 101 or answer.header(b"sec-websocket-accept") != frames.accept_key(key):
            wire.transport.abort()
            raise ConnectionError(f"status {answer.status} instead of an upgrade")
        return wire

    async def _talk(self, wire: _Wire, stop: asyncio.Event) -> None:
        """Send and await echoes until the connection is cut or the run ends."""
        gone = asyncio.create_task(wire.gone.wait())
        try:
            while not stop.is_set():
                fate = await self._echo(wire, gone)
                if fate is Fate.LOST:
                    self._report.websockets_cut += 1
                if fate is not Fate.ANSWERED:
                    return
                await _wait(stop, self._every_s, gone)
                if wire.gone.is_set():
                    # Cut while idle: nothing was in flight, yet the user's page lost its connection.
                    self._report.websockets_cut += 1
                    self._ended(self._witness.sent(self._clock()), Fate.LOST, wire.reason, "idle")
                    return
        finally:
            gone.cancel()

    async def _echo(self, wire: _Wire, gone: asyncio.Task[Literal[True]]) -> Fate:
        message = secrets.token_hex(16).encode()
        number = self._witness.sent(self._clock())
        wire.send(Opcode.TEXT, message)
        echo = asyncio.create_task(wire.messages.get())
        await asyncio.wait((echo, gone), timeout=self._timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if echo.done():
            fate = Fate.ANSWERED if echo.result() == message else Fate.WRONG
            detail = "" if fate is Fate.ANSWERED else "the echo is another message"
        else:
            echo.cancel()
            fate, detail = (Fate.LOST, wire.reason) if gone.done() else (Fate.TIMED_OUT, "no echo")
        self._ended(number, fate, detail, message.decode())
        return fate

    def _ended(self, number: int, fate: Fate, detail: str, ident: str) -> None:
        self._witness.ended(number, fate, self._clock())
        if fate is not Fate.ANSWERED:
            self._report.failure(ident=ident, method="WEBSOCKET", fate=fate, detail=detail, local_port=None)


async def _wait(stop: asyncio.Event, seconds: float, also: asyncio.Task[Literal[True]] | None = None) -> None:
    """Wait `seconds`, or until `stop` (or `also`)."""
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({stopped, also} if also else {stopped}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
