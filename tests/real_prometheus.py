"""Debian's real Prometheus and node_exporter, on free ports of loopback, in folders of their own.

with NodeExporter(folder, "127.0.0.1") as exporter, Prometheus(folder, [exporter.target]) as prometheus:
    prometheus.url, exporter.port
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import pytest

PROMETHEUS = shutil.which("prometheus")
PROMTOOL = shutil.which("promtool")
NODE_EXPORTER = shutil.which("prometheus-node-exporter") or shutil.which("node_exporter")
needs_prometheus = pytest.mark.skipif(PROMETHEUS is None or PROMTOOL is None, reason="no prometheus on this machine")
needs_node_exporter = pytest.mark.skipif(NODE_EXPORTER is None, reason="no prometheus-node-exporter on this machine")
START_S = 60.0
STOP_S = 20.0


class Program:
    """One that answers 200 at `ready` as soon as it can be asked."""

    def __init__(self, folder: Path, address: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        with socket.create_server((address, 0)) as free:
            self.port = int(free.getsockname()[1])
        self.address = address
        self.target = f"{address}:{self.port}"
        self.url = f"http://{self.target}"

    def argv(self) -> Sequence[str]:
        raise NotImplementedError

    ready = "/"

    def __enter__(self) -> Self:
        self._log = (self.folder / "log").open("wb")
        self._process = subprocess.Popen(self.argv(), stdout=self._log, stderr=self._log, cwd=self.folder)
        end = time.monotonic() + START_S
        while not self._answers():
            assert self._process.poll() is None and time.monotonic() < end, (self.folder / "log").read_text()[-4_000:]
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_S)
        self._log.close()

    def _answers(self) -> bool:
        with contextlib.suppress(OSError, urllib.error.URLError), urllib.request.urlopen(self.url + self.ready) as said:
            return bool(said.status == 200)
        return False


class NodeExporter(Program):
    ready = "/metrics"

    def argv(self) -> Sequence[str]:
        assert NODE_EXPORTER is not None
        return [NODE_EXPORTER, f"--web.listen-address={self.target}"]


class Prometheus(Program):
    """Scrapes `targets` four times a second; begins with `history` (an OpenMetrics text), if there is any."""

    ready = "/-/ready"

    def __init__(self, folder: Path, targets: Sequence[str] = (), *, history: str = "") -> None:
        super().__init__(folder, "127.0.0.1")
        listed = ", ".join(f'"{target}"' for target in targets)
        (folder / "prometheus.yml").write_text(
            "global: {scrape_interval: 250ms, scrape_timeout: 250ms}\n"
            f"scrape_configs: [{{job_name: node, static_configs: [{{targets: [{listed}]}}]}}]\n"
        )
        if history:
            assert PROMTOOL is not None
            (folder / "history.txt").write_text(history)
            argv = [PROMTOOL, "tsdb", "create-blocks-from", "openmetrics", "history.txt", "data"]
            done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 0, done.stdout + done.stderr

    def argv(self) -> Sequence[str]:
        assert PROMETHEUS is not None
        return [
            PROMETHEUS,
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            "--storage.tsdb.retention.time=10y",
            f"--web.listen-address={self.target}",
            "--log.level=warn",
        ]
