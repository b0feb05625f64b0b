"""The peers of `./run bench drain`: nginx and HAProxy as they are usually run, a rewritten file and a reload a change.

Nothing in the files is there to lose requests: they are what the engines' own guides begin with.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from pathlib import Path

from backstay.balance.engines.process import run, until

START_TIMEOUT_S = 10.0

NGINX = """\
worker_processes auto;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 100000;
    upstream web {{
        least_conn;
{servers}
    }}
    server {{
        listen {address}:{port};
        location / {{ proxy_pass http://web; }}
    }}
}}
"""

HAPROXY = """\
global
    stats socket {folder}/admin.sock level admin expose-fd listeners
defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 60s
frontend web
    bind {address}:{port}
    default_backend web
backend web
    balance leastconn
{servers}
"""


class PlainEngine:
    """One engine on one file; `change` rewrites the file and reloads, and does not wait."""

    def __init__(self, kind: str, binary: str, folder: Path, address: str, port: int) -> None:
        self.kind, self.binary, self.folder, self.address, self.port = kind, binary, folder, address, port
        self._config = folder / f"{kind}.conf"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, shares: Mapping[str, float], ports: Mapping[str, int]) -> None:
        self._write(shares, ports)
        nginx = (self.binary, "-p", str(self.folder), "-c", str(self._config))
        haproxy = (self.binary, "-W", "-f", str(self._config))
        with (self.folder / "output.log").open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *(nginx if self.kind == "nginx" else haproxy), stdout=output, stderr=output
            )

        async def listens() -> bool:
            try:
                _, writer = await asyncio.open_connection(self.address, self.port)
            except OSError:
                return False
            writer.close()
            return True

        if not await until(listens, timeout_s=START_TIMEOUT_S):
            raise RuntimeError(f"plain {self.kind} did not start: {(self.folder / 'output.log').read_text()[-500:]}")

    async def change(self, shares: Mapping[str, float], ports: Mapping[str, int]) -> None:
        self._write(shares, ports)
        check = (self.binary, "-t", "-q") if self.kind == "nginx" else (self.binary, "-c", "-q")
        option = ("-p", str(self.folder), "-c") if self.kind == "nginx" else ("-f",)
        tested = await run((*check, *option, str(self._config)), cwd=self.folder, timeout_s=30)
        if tested.code != 0:
            raise RuntimeError(f"plain {self.kind}: {tested.output}")
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP if self.kind == "nginx" else signal.SIGUSR2)

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()

    def _write(self, shares: Mapping[str, float], ports: Mapping[str, int]) -> None:
        if self.kind == "nginx":
            lines = [
                f"        server {self.address}:{ports[name]} weight={max(round(share * 100), 1)}"
                + (" down;" if share == 0 else ";")
                for name, share in shares.items()
            ]
        else:
            lines = [
                f"    server {name} {self.address}:{ports[name]} weight {round(share * 100)}"
                for name, share in shares.items()
            ]
        template = NGINX if self.kind == "nginx" else HAPROXY
        text = template.format(folder=self.folder, address=self.address, port=self.port, servers="\n".join(lines))
        self._config.write_text(text)
