"""`backstay doctor` on a real machine, with engines and agents that the test puts there."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from backstay.cli import checkup
from backstay.cli.checkup import Verdict
from backstay.estate.model import EngineKind

STATUS = {
    "agent": {"version": "0.1.0", "pid": 1, "started_at": "2026-01-01T00:00:00Z", "resident_mb": 40.0},
    "engine": {"kind": "nginx", "version": "1.31.3", "running": True},
    "warnings": [],
}


def doctor(*options: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "backstay.cli.main", "doctor", *options],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


@pytest.fixture
def old_nginx(tmp_path: Path) -> str:
    """A program that says what Debian 12's nginx says."""
    program = tmp_path / "nginx"
    program.write_text("#!/bin/sh\necho 'nginx version: nginx/1.22.1\nconfigure arguments: --with-stream' >&2\n")
    program.chmod(0o755)
    return str(program)


def test_the_whole_examination_is_data_and_findings_are_the_exit_status(old_nginx: str, tmp_path: Path) -> None:
    done = doctor("-o", "json", BACKSTAY_NGINX=old_nginx, BACKSTAY_RUN_DIR=str(tmp_path))
    assert done.returncode == 3, done.stderr
    checks: list[dict[str, Any]] = json.loads(done.stdout)
    assert {"python", "nginx", "haproxy", "icmp", "ports", "socket diagnostics", "lab", "agents"} <= {
        check["area"] for check in checks
    }
    used = next(check for check in checks if check["area"] == "nginx")
    assert used["found"] == f"configured 1.22.1 {old_nginx}; used: named in BACKSTAY_NGINX"
    assert any("found something to mend" in line for line in done.stderr.splitlines())
    assert all(check["costs"] for check in checks if check["verdict"] == "finding")


def test_an_estate_that_is_faulty_is_an_error(tmp_path: Path) -> None:
    done = doctor("-e", str(tmp_path / "missing.yaml"))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_an_old_nginx_is_priced_in_resets(old_nginx: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKSTAY_NGINX", old_nginx)
    findings = [check for check in checkup.engine(EngineKind.NGINX, None) if check.verdict is Verdict.FINDING]
    assert ["6 to 10 resets a reload" in check.costs for check in findings] == [True]


def test_a_configured_engine_that_does_not_run_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKSTAY_HAPROXY", "/nonexistent/haproxy")
    (found,) = checkup.engine(EngineKind.HAPROXY, None)
    assert (found.verdict, "BACKSTAY_HAPROXY" in found.costs) == (Verdict.FINDING, True)


@pytest.mark.parametrize(("wanted", "verdict"), [({EngineKind.NGINX}, Verdict.FINDING), (set(), Verdict.NOTE)])
def test_a_missing_engine_is_a_finding_when_the_estate_needs_it(
    wanted: set[EngineKind], verdict: Verdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BACKSTAY_NGINX", raising=False)
    monkeypatch.setattr(checkup, "candidates", lambda _: ())
    (found,) = checkup.engine(EngineKind.NGINX, wanted)
    assert found.verdict is verdict


@pytest.fixture
async def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Path]:
    """A run directory with an agent that is well (lb1), one with a trouble (lb2), and a dead socket (lb3)."""
    monkeypatch.setenv("BACKSTAY_RUN_DIR", str(tmp_path))
    runners = []
    for lb, status in {"lb1": STATUS, "lb2": {**STATUS, "warnings": ["the spool is full"]}}.items():

        async def handler(_: web.Request, status: dict[str, Any] = status) -> web.Response:
            return web.json_response(status)

        application = web.Application()
        application.router.add_get("/v1/status", handler)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.UnixSite(runner, str(tmp_path / f"{lb}.sock")).start()
        runners.append(runner)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "lb3.sock"))
    yield tmp_path
    for runner in runners:
        await runner.cleanup()


async def test_agents_on_this_machine_are_asked(run_dir: Path) -> None:
    well, troubled, dead = await checkup.agents(None)
    assert (well.verdict, well.found) == (Verdict.OK, f"{run_dir}/lb1.sock: agent 0.1.0, nginx 1.31.3")
    assert (troubled.verdict, troubled.costs) == (Verdict.FINDING, "the spool is full")
    assert (dead.verdict, dead.found) == (Verdict.FINDING, "not reachable")


async def test_a_machine_without_agents_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKSTAY_RUN_DIR", str(tmp_path / "none"))
    (found,) = await checkup.agents(None)
    assert found.verdict is Verdict.NOTE
