"""`plan`, `apply`, `status` and `pool` against a real agent with a real engine, as a person would use them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backstay.balance.engines.binary import find
from backstay.estate.model import EngineKind

ESTATE = """\
estate: handmade
regions: {{home: {{zones: {{dc1: {{}}}}}}}}
nodes:
  lb1: {{zone: dc1, address: 127.0.0.1}}
  web1: {{zone: dc1, address: 127.0.0.11}}
  web2: {{zone: dc1, address: 127.0.0.12}}
clusters:
  web: {{members: [web1, web2]}}
tiers:
  edge: {{engine: {engine}, members: [lb1], listen: node}}
services:
  app: {{hostnames: [app.example.com], http_port: {port}, routes: [{{path: /, pool: web}}]}}
pools:
  web: {{cluster: web, port: 8000, response_timeout_s: 30}}
"""


class Machine:
    """A load balancer on this machine: its estate file and its agent."""

    def __init__(self, folder: Path, engine: EngineKind) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.folder = folder
        self.estate = folder / "backstay.yaml"
        self.estate.write_text(ESTATE.format(engine=engine, port=port))
        self.env = {**os.environ, "BACKSTAY_RUN_DIR": str(folder / "run"), "BACKSTAY_ESTATE": str(self.estate)}
        arguments = ["agent", "run", "--as", "lb1", "--state-dir", str(folder / "state"), "--stop-engine"]
        self.log = (folder / "agent.log").open("wb")
        self.agent = subprocess.Popen(self._argv(*arguments), env=self.env, stdout=self.log, stderr=subprocess.STDOUT)

    def _argv(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "backstay.cli.main", *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        answer = subprocess.run(
            self._argv(*arguments),
            env=self.env,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert "Traceback" not in answer.stderr, answer.stderr
        return answer

    def wait_until_up(self) -> None:
        deadline = time.monotonic() + 60
        while (answer := self.run("status")).returncode != 0:
            assert self.agent.poll() is None, (self.folder / "agent.log").read_text()
            assert time.monotonic() < deadline, answer.stderr
            time.sleep(0.1)

    def stop(self) -> None:
        self.agent.terminate()
        try:
            self.agent.wait(60)
        finally:
            self.agent.kill()
            self.log.close()


@pytest.fixture(params=list(EngineKind))
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machine]:
    try:
        find(request.param)
    except Exception as error:  # whatever keeps the engine from being found is the reason to skip
        pytest.skip(f"no {request.param} on this machine: {error}")
    machine = Machine(tmp_path, request.param)
    try:
        machine.wait_until_up()
        yield machine
    finally:
        machine.stop()


def test_an_estate_is_planned_applied_and_then_nothing_is_left_to_do(machine: Machine) -> None:
    assert machine.run("plan").returncode == 0
    machine.estate.write_text(machine.estate.read_text().replace("response_timeout_s: 30", "response_timeout_s: 7"))

    planned = machine.run("plan", "--out", "plan.json")
    assert planned.returncode == 3
    assert "response_timeout_s changes from 30.0 to 7.0" in planned.stdout
    assert "\n+" in planned.stdout

    assert machine.run("apply", "plan.json", "--set", "pools.web.port=8001").returncode == 5
    applied = machine.run("apply", "plan.json", "--reason", "impatient", "-o", "json")
    assert applied.returncode == 0, applied.stderr
    assert json.loads(applied.stdout)[0]["result"] == "applied"

    assert machine.run("plan").returncode == 0
    assert machine.run("apply", "plan.json").returncode in (0, 5)  # a second time: stale, or nothing to alter
    shown = json.loads(machine.run("pool", "show", "web", "-o", "json").stdout)
    assert [member["backend"] for member in shown[0]["members"]] == ["web1", "web2"]


@pytest.mark.parametrize("machine", [EngineKind.NGINX], indirect=True)
def test_with_its_agent_gone_a_load_balancer_is_not_reachable(machine: Machine) -> None:
    machine.stop()
    for command in (("plan",), ("status",), ("apply", "--yes"), ("pool", "list")):
        assert machine.run(*command).returncode == 6
