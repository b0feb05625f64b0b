"""A small HTTP/2 client on `h2`: several requests on one connection."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from types import TracebackType

import h2.config
import h2.connection
import h2.events


@dataclass
class H2Answer:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    ended: bool = False
    reset: bool = False


class H2Client:
    def __init__(self, address: str, port: int, context: ssl.SSLContext, host: str) -> None:
        self._place = (address, port)
        self._context = context
        self._host = host
        self._connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._answers: dict[int, H2Answer] = {}

    async def __aenter__(self) -> H2Client:
        self._context.set_alpn_protocols(["h2", "http/1.1"])
        self._reader, self._writer = await asyncio.open_connection(
            *self._place, ssl=self._context, server_hostname=self._host
        )
        tls: ssl.SSLObject = self._writer.get_extra_info("ssl_object")
        self.protocol = tls.selected_alpn_protocol()
        self.tls_version = tls.version()
        self._connection.initiate_connection()
        self._flush()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    def send(self, path: str, *, host: str | None = None, headers: tuple[tuple[str, str], ...] = ()) -> int:
        """Begin a GET; its number."""
        stream = self._connection.get_next_available_stream_id()
        pseudo = [(":method", "GET"), (":scheme", "https"), (":authority", host or self._host), (":path", path)]
        self._connection.send_headers(stream, [*pseudo, *headers], end_stream=True)
        self._answers[stream] = H2Answer()
        self._flush()
        return stream

    async def answer(self, stream: int) -> H2Answer:
        """Read until this request is answered or reset."""
        found = self._answers[stream]
        while not found.ended:
            data = await asyncio.wait_for(self._reader.read(65_536), 20)
            assert data, "the connection was closed before the answer"
            for event in self._connection.receive_data(data):
                self._take(event)
            self._flush()
        return found

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ResponseReceived):
            answer = self._answers[event.stream_id]
            answer.headers = dict(event.headers)  # type: ignore[arg-type]
            answer.status = int(answer.headers[":status"])
        elif isinstance(event, h2.events.DataReceived):
            self._answers[event.stream_id].body += event.data
            self._connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self._answers[event.stream_id].ended = True
        elif isinstance(event, h2.events.StreamReset):
            self._answers[event.stream_id].ended = self._answers[event.stream_id].reset = True

    def _flush(self) -> None:
        self._writer.write(self._connection.data_to_send())
