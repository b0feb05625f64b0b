"""Logs of the daemons: a fixed phrase and fields, on stderr; key=value on a terminal, JSON otherwise."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from typing import TextIO, cast

import structlog


def configure() -> None:
    """Set structlog up for this process. Call it once, before the first line."""
    render: structlog.typing.Processor
    if sys.stderr.isatty():
        render = structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], bool_as_flag=False)
    else:
        render = structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _Lenient(sys.stderr))),
        cache_logger_on_first_use=True,
    )
    logging.raiseExceptions = False
    # Libraries that speak through `logging` (asyncio, aiohttp, uvicorn) speak on the same stream, from warnings on.
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")


class _Lenient:
    """A stream whose disk may be full: a line that cannot be logged stops nothing that is worth logging."""

    def __init__(self, inner: TextIO) -> None:
        self._inner = inner

    def write(self, text: str) -> int:
        with suppress(OSError):
            return self._inner.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._inner.flush()
