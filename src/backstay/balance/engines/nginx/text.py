"""How an nginx.conf is written: lines, blocks, quoting; pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

# What may stand between quotes as it is: nothing that ends them, begins a variable, or is no character.
_PLAIN = re.compile(r'[^\x00-\x1f\x7f"\\$;{}#\ud800-\udfff]*')


class Page:
    """Lines with indentation."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._depth = 0

    def say(self, *lines: str) -> None:
        self._lines += [f"{'    ' * self._depth}{line}" if line else "" for line in lines]

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        before = self._lines[-1].lstrip() if self._lines else ""
        if before and not before.endswith("{") and not before.startswith("#"):
            self.say("")
        self.say(f"{head} {{")
        self._depth += 1
        yield
        self._depth -= 1
        self.say("}")

    def text(self) -> str:
        return "\n".join(self._lines) + "\n"


def endpoint(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def ms(seconds: float) -> str:
    return f"{max(1, round(seconds * 1000))}ms"


def quoted(text: str) -> str:
    if not _PLAIN.fullmatch(text):
        raise ValueError(f"{text!r} cannot be written in an nginx.conf: it has characters with a meaning of their own")
    return f'"{text}"'
