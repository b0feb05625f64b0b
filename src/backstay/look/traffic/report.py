"""JSON lines of a run: `start`, `progress` at every interval, `failure` for the first of them, `summary` at the end."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

from backstay.look.witness import Fate, Witness

_MOST_FAILURES = 1000  # written out one by one; all of them are counted


class Report:
    """Writes one line at a time and flushes it, so that a reader can follow and a kill loses nothing written."""

    def __init__(self, out: TextIO, witness: Witness) -> None:
        self._out = out
        self._witness = witness
        self._failures = 0
        self._began = time.monotonic()
        self._cpu_began = time.process_time()
        self.late_s = 0.0  # how far the witness itself fell behind, at most
        self.skipped = 0  # arrivals that were never sent because the witness itself stood still
        self.websockets_cut = 0

    def start(self, options: Mapping[str, Any]) -> None:
        self._line("start", {"options": dict(options)})

    def failure(self, *, ident: str, method: str, fate: Fate, detail: str, local_port: int | None) -> None:
        self._failures += 1
        if self._failures <= _MOST_FAILURES:
            found = {"id": ident, "method": method, "fate": fate.value, "detail": detail, "local_port": local_port}
            self._line("failure", found)

    def progress(self, now_s: float) -> None:
        """One interval, with the downtime of the whole run so far."""
        overall = self._witness.summary(now_s)
        figures = {"sent_total": overall["sent"], "downtime_s": overall["downtime_s"], **self._witness.interval()}
        self._line("progress", figures)

    def summary(self, now_s: float) -> dict[str, Any]:
        """The last line. `witness_*` says how well the witness itself did: its own lateness is not the service's."""
        took = time.monotonic() - self._began
        figures = {
            **self._witness.summary(now_s),
            "websockets_cut": self.websockets_cut,
            "took_s": round(took, 3),
            "sent_per_s": round(self._witness.sent_count / took, 1) if took else None,
            "witness_late_ms_max": round(self.late_s * 1e3, 2),
            "witness_skipped": self.skipped,
            "witness_cpu_s": round(time.process_time() - self._cpu_began, 3),
        }
        self._line("summary", figures)
        return figures

    def _line(self, kind: str, fields: Mapping[str, Any]) -> None:
        moment = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._out.write(json.dumps({"type": kind, "time": moment, **fields}) + "\n")
        self._out.flush()
