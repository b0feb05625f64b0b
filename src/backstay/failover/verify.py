"""Asks an address itself who serves it: the engine's own answer, by its X-Backstay-LB header.

Where there is TCP alone it is asked whether somebody accepts; who, it does not tell.
"""

from __future__ import annotations

import asyncio
import ssl

from backstay.failover.ports import SeenThrough
from backstay.failover.targets import NOBODYS_HOST
from backstay.look.answer import Answer, BadAnswer
from backstay.look.model import ProbeKind, Target

HEADER = b"x-backstay-lb"
TIMEOUT_S = 1.5


async def see(target: Target, *, timeout_s: float = TIMEOUT_S) -> SeenThrough:
    """GET at `target` (an address; HTTP, HTTPS), or connect to it (TCP). Never raises for what the network does."""
    try:
        async with asyncio.timeout(timeout_s):
            if target.kind is ProbeKind.TCP:
                _, writer = await asyncio.open_connection(target.address, target.port)
                writer.transport.abort()
                return SeenThrough(lb=None, detail="it accepts connections; TCP does not tell who", nameless=True)
            answer = await _ask(target)
    except TimeoutError:
        return SeenThrough(lb=None, detail=f"no answer within {timeout_s:g} s")
    except (OSError, BadAnswer) as error:
        return SeenThrough(lb=None, detail=str(error) or type(error).__name__)
    name = answer.header(HEADER)
    if name is None:
        return SeenThrough(lb=None, detail=f"status {answer.status} without X-Backstay-LB: no engine of ours")
    return SeenThrough(lb=name.decode("ascii", "replace"), detail=f"status {answer.status}")


async def _ask(target: Target) -> Answer:
    context = None
    if target.kind is ProbeKind.HTTPS:
        # Who answers is asked here; whether its certificate holds is the probes' business.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    name = target.server_name if context else None
    reader, writer = await asyncio.open_connection(target.address, target.port, ssl=context, server_hostname=name)
    try:
        writer.write(f"GET / HTTP/1.1\r\nHost: {NOBODYS_HOST}\r\nConnection: close\r\n\r\n".encode("ascii"))
        answer = Answer(keep_bytes=0)
        while data := await reader.read(16_384):
            if answer.feed(data) or answer.status:
                return answer
        raise BadAnswer("the connection was closed without an answer")
    finally:
        writer.transport.abort()
