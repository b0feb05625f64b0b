"""Requests in flight, over real loopback sockets: what may be sent on which connection."""

from __future__ import annotations

import asyncio
import io

from backstay.look.traffic.connection import Connection, Endpoint
from backstay.look.traffic.flight import Flight, Load
from backstay.look.traffic.report import Report
from backstay.look.witness import Witness


async def test_a_connection_that_was_asked_to_close_is_never_used_again() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        ident = head.partition(b"X-Witness-Id: ")[2].partition(b"\r\n")[0]
        writer.write(b"HTTP/1.1 200 OK\r\nX-Witness-Id: %s\r\nContent-Length: 0\r\n\r\n" % ident)  # keeps it open
        await reader.read()

    given_back: list[Connection | None] = []
    witness = Witness()
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    async with server, asyncio.timeout(20):
        at = Endpoint(address="127.0.0.1", port=server.sockets[0].getsockname()[1], host="localhost", tls=None)
        flight = Flight(at, Load(post_share=0.0, timeout_s=60), witness, Report(io.StringIO(), witness))
        for close in (True, False):
            flight.start(0.0, None, given_back.append, lambda _: None, close=close)
            while len(flight):
                await asyncio.sleep(0.002)
        asked_to_close, kept = given_back
        assert asked_to_close is None
        assert kept is not None and kept.open
        kept.close()
    assert witness.summary(0.0)["failed"] == 0
