"""The control socket that every program on a host has: one JSON object a line in, one out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from backstay.lab.model import LabError

LINE_MAX_BYTES = 65_536
TIMEOUT_S = 5.0

Apply = Callable[[dict[str, object]], Mapping[str, object]]


async def serve_control(path: str, apply: Apply) -> asyncio.Server:
    """Listen on the unix socket `path`. `apply` takes a message and returns the program's state; it raises ValueError
    or KeyError for a message that it does not take.

    The program opens it last: whoever can connect knows that its ports are open.
    """

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answer = dict(apply(json.loads(await reader.readline())))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        writer.write(json.dumps(answer).encode() + b"\n")
        writer.close()

    Path(path).unlink(missing_ok=True)  # left behind by one that was killed
    return await asyncio.start_unix_server(handle, path, limit=LINE_MAX_BYTES)


async def tell(control: Path, message: Mapping[str, object]) -> dict[str, Any]:
    """Send `message` ({}: change nothing) to a program's control socket; its state. Raises LabError."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_unix_connection(control)
            writer.write(json.dumps(message).encode() + b"\n")
            line = await reader.readline()
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
        answer: dict[str, Any] = json.loads(line)
    except (OSError, TimeoutError, ValueError) as error:
        raise LabError(f"{control.stem} does not answer on {control} ({error or 'no answer in time'}).") from error
    if "error" in answer:
        raise LabError(f"{control.stem} refused {dict(message)}: {answer['error']}")
    return answer
