"""Tells of the machine that a host is: what node_exporter would measure, by the lab's model and the lab's clock.

    python -m backstay.lab.hosts.node --address 10.1.1.21 --port 19100 --machine JSON --stand machines.json \
        --control queue1.sock

GET /metrics answers in Prometheus' text format; `{}` on the control socket says how often that was.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
from datetime import UTC, datetime
from pathlib import Path

from backstay.lab.hosts.control import serve_control
from backstay.lab.machines.parts import Cpu, Machine, Stand

HEAD_MAX_BYTES = 16_384
HEAD_TIMEOUT_S = 10.0
PATH = b"/metrics"


class Node:
    def __init__(self, machine: Machine, stand: Path) -> None:
        self._machine = machine
        self._stand = stand
        self.told = 0

    def metrics(self) -> tuple[bytes, str]:
        """Body and content type. Raises OSError or ValueError when the lab's record cannot be read."""
        # Half of a lab's runs never ask, and numpy takes its time: not before the first question.
        from backstay.lab.machines.behave import Model
        from backstay.lab.machines.expose import CONTENT_TYPE, exposition

        stand = Stand.of_json(self._stand.read_text(encoding="utf-8"))
        now = stand.now(datetime.now(UTC))
        reading = Model(stand.epoch, stand.swaps).at(self._machine, now)
        self.told += 1
        return exposition(self._machine, reading, now).encode(), CONTENT_TYPE

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One question a connection, as whoever scrapes once a minute asks it."""
        try:
            async with asyncio.timeout(HEAD_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._answer(head))
                await writer.drain()
        except (OSError, EOFError, asyncio.LimitOverrunError, TimeoutError):
            pass  # the peer went away, or sent what no scraper sends
        finally:
            writer.close()

    def _answer(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b" ")
        if method != b"GET" or rest.partition(b" ")[0].partition(b"?")[0] != PATH:
            return _response("404 Not Found", b"There is /metrics.\n", "text/plain")
        try:
            return _response("200 OK", *self.metrics())
        except ImportError as error:
            why = f'This needs numpy ({error}): pip install "backstay[audit]".\n'
        except (OSError, ValueError, KeyError, TypeError) as error:
            why = f"{self._stand}: {error}\n"
        return _response("503 Service Unavailable", why.encode(), "text/plain")

    def apply(self, message: dict[str, object]) -> dict[str, object]:
        if message:
            raise ValueError("nothing can be altered here: backstay lab cpu")
        return {"told": self.told}


def _response(status: str, body: bytes, kind: str) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


def machine_of(text: str) -> Machine:
    """A machine of its JSON."""
    data = json.loads(text)
    return Machine(**{**data, "cpu": Cpu(data["cpu"])})


async def run(options: argparse.Namespace) -> None:
    node = Node(machine_of(options.machine), options.stand)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    listeners = [
        await asyncio.start_server(node.answer, options.address, options.port, limit=HEAD_MAX_BYTES),
        await serve_control(options.control, node.apply),
    ]
    await ended.wait()
    for listener in listeners:
        listener.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--machine", required=True)
    parser.add_argument("--stand", type=Path, required=True)
    parser.add_argument("--control", required=True)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # a dozen of these run beside engines that are measured
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
