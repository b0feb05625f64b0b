"""How commands speak to a lab's keeper: one call, one answer, over FOLDER/keeper.sock."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

from backstay.lab.model import LabError
from backstay.lab.state import LabFolder

CALL_TIMEOUT_S = 60.0
ANSWER_MAX_BYTES = 16_777_216


async def call(folder: LabFolder, procedure: str, /, *, timeout_s: float = CALL_TIMEOUT_S, **arguments: Any) -> Any:
    """Call the keeper; its answer. Raises LabError: the keeper's own complaint, or that it does not answer."""
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_unix_connection(folder.keeper_socket, limit=ANSWER_MAX_BYTES)
            try:
                writer.write(json.dumps({"call": procedure, **arguments}).encode() + b"\n")
                line = await reader.readline()
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError) as error:
        raise LabError(
            f"The keeper of lab {folder.path.name} does not answer ({error or f'nothing in {timeout_s:g} s'}). "
            f"Clean up: backstay lab down --name {folder.path.name}."
        ) from error
    if not line:
        raise LabError(f"The keeper of lab {folder.path.name} ended; its last words are in {folder.log}/keeper.log.")
    answer = json.loads(line)
    if "error" in answer:
        raise LabError(answer["error"])
    return answer["value"]
