"""Makes ids: reads the clock and the kernel's randomness for `identity.py`."""

from __future__ import annotations

import secrets
import threading
import time

from backstay.journal.identity import RANDOM_BITS, next_id


class _Mint:
    """One a process. Threads share it, so their ids are in one order, too."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: str | None = None

    def __call__(self) -> str:
        with self._lock:
            self._last = next_id(self._last, time.time_ns() // 1_000_000, secrets.randbits(RANDOM_BITS))
            return self._last


new_id = _Mint()
