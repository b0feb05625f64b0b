"""What the servers on a lab's internet side share: how they are started, and how they serve and end."""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

from backstay.lab.hosts.control import Apply, serve_control
from backstay.lab.model import WITNESS
from backstay.lab.state import LabFolder


def main_of(about: str | None, run: Callable[[LabFolder, str], Awaitable[None]]) -> None:
    """A program's `main`: `run(the lab's folder, the path of the control socket)`; `about`: its module's docstring."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--control", required=True)
    parser.add_argument("lab", type=Path)
    options = parser.parse_args()

    async def whole() -> None:
        await run(LabFolder(options.lab), options.control)

    asyncio.run(whole())


async def serve(app: web.Application, folder: LabFolder, port: int, control: str, apply: Apply) -> None:
    """Serve `app` on the witness's address until SIGTERM; `apply` is what the control socket asks for."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, folder.layout.host(WITNESS).address, port).start()
    await serve_control(control, apply)
    await ended.wait()
    await runner.cleanup()
