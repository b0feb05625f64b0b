"""A global IP on the loopback fabric: listens on the address and carries each connection to its present holder.

    python -m backstay.lab.hosts.relay --control ip-www.sock --target 127.64.1.1 127.64.250.1 8080 8443

`{"target": ADDRESS}` on the control socket moves the address. As with a real one, connections to the old holder do
not move: they are cut.
"""

from __future__ import annotations

import argparse
import asyncio
import signal

from backstay.lab.hosts.control import serve_control

CHUNK_BYTES = 65_536
CONNECT_TIMEOUT_S = 10.0


class Relay:
    def __init__(self, target: str) -> None:
        self.target = target
        self._carried: set[asyncio.StreamWriter] = set()

    def apply(self, message: dict[str, object]) -> dict[str, object]:
        """Move the address to `target`."""
        target = str(message.get("target", self.target))
        if target != self.target:
            self.target = target
            for writer in self._carried:
                writer.transport.abort()
        return {"target": self.target, "carried": len(self._carried) // 2}

    async def carry(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = self.target
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                far_reader, far_writer = await asyncio.open_connection(target, port)
        except (OSError, TimeoutError):
            writer.transport.abort()
            return
        if target != self.target:  # moved while we connected
            writer.transport.abort()
            far_writer.transport.abort()
            return
        both = {writer, far_writer}
        self._carried |= both
        try:
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        finally:
            self._carried -= both
            writer.close()
            far_writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        writer.transport.abort()


async def run(options: argparse.Namespace) -> None:
    relay = Relay(options.target)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    listeners = []
    for port in options.ports:

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int = port) -> None:
            await relay.carry(port, reader, writer)

        listeners.append(await asyncio.start_server(handle, options.address, port, backlog=1024))
    listeners.append(await serve_control(options.control, relay.apply))
    await ended.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--control", required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("address")
    parser.add_argument("ports", type=int, nargs="*")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
