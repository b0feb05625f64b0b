"""Ports on the machine's own 127.0.0.1 that lead into the lab, whatever the fabric.

A socket belongs to the network in which it was made. The listening one was made outside, by whoever started the keeper,
and inherited; the one to the service is made in the keeper's network: bytes cross, and no route does.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, suppress

from backstay.lab.model import SERVER, LabError, LabIp, Published
from backstay.lab.plan.layout import unprivileged

CHUNK_BYTES = 65_536
CONNECT_TIMEOUT_S = 5.0
SERVER_PORT = 8400  # near it, on 127.0.0.1 and inside

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def listen(
    ips: Sequence[LabIp], server: str | None, stack: ExitStack
) -> tuple[tuple[Published, ...], list[socket.socket]]:
    """Listen on 127.0.0.1 for the service behind each global IP, and for the server at that address inside (None: there
    is none); `stack` closes the sockets."""
    published = []
    listeners = []
    for ip in ips:
        if ip.front is None:
            continue
        listener = stack.enter_context(_listen_near(unprivileged(ip.front.port)))
        listeners.append(listener)
        published.append(
            Published(
                name=ip.name,
                port=listener.getsockname()[1],
                hostname=ip.front.hostname,
                tls=ip.front.tls,
                address=ip.address,
                inside_port=ip.front.port,
            )
        )
    if server is not None:
        listener = stack.enter_context(_listen_near(SERVER_PORT))
        listeners.append(listener)
        port = listener.getsockname()[1]
        published.append(
            Published(name=SERVER, port=port, hostname="127.0.0.1", tls=True, address=server, inside_port=port)
        )
    return tuple(published), listeners


def _listen_near(port: int) -> socket.socket:
    """A listening socket on 127.0.0.1, at `port` when it is free."""
    for wanted in (port, 0):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", wanted))
            listener.listen(128)
        except OSError:
            listener.close()
            continue
        return listener
    raise LabError("No port is free on 127.0.0.1.")


def carry(published: Published) -> Handler:
    """A handler that carries each connection to where `published` leads."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                inner_reader, inner_writer = await asyncio.open_connection(published.address, published.inside_port)
        except (OSError, TimeoutError):
            writer.transport.abort()
            return
        await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))

    return handle


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    writer.close()
