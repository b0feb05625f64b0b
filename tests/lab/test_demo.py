"""The demo from nothing to its verdict, as a user runs it: on every fabric, as root and without."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from rig import HERE, processes_of

from backstay.lab.model import FabricKind

NOBODY = 65534
TIMEOUT_S = 360
QUICK = ("--watch", "1", "--chapter")
SOURCE = HERE.parents[1] / "src"

pytestmark = pytest.mark.timeout(TIMEOUT_S + 30)

for library in ("numpy", "scipy", "duckdb"):  # for its last chapter
    pytest.importorskip(library, reason=f"needs {library}: pip install backstay[audit]")


@pytest.fixture(scope="module")
def whole(root: Path) -> dict[str, object]:
    """The verdict of the whole demo, on the best fabric of this machine."""
    return play(root, [sys.executable], "--watch", "1")


def test_the_whole_demo_is_all_right(whole: dict[str, object]) -> None:
    rows = whole["rows"]
    assert isinstance(rows, list)
    harmless = {"traffic", "drain web2", "drain web6", "server drains web4"}
    harmless |= {"health web3", "slow web5", "move to lb1"}
    assert {row["chapter"] for row in rows} == harmless | {"failover lb1", "failover wdc01"}
    assert {row["engine"].partition(" ")[0] for row in rows} == {"nginx", "haproxy"}
    assert all(row["lost"] == row["wrong"] == row["errors"] == 0 for row in rows if row["chapter"] in harmless)


def test_the_audit_names_the_cpus_no_surer_than_it_may_and_proves_it_when_they_are_equal(
    whole: dict[str, object],
) -> None:
    claims = whole["claims"]
    assert isinstance(claims, list)
    by_command = {asked: [one for one in claims if one["asked"] == asked] for asked in {one["asked"] for one in claims}}
    assert set(by_command) == {"explain", "compare", "fix verify", "review"}
    before, after = by_command["explain"][:2], by_command["explain"][2:]
    assert [one["grade"] for one in before] == ["consistent", "consistent"]
    assert all("cpu.version" in one["claimed"] for one in before)
    assert all("V1 queue1 | V2 queue2, queue3 | V3 queue4" in one["truth"] for one in before)
    assert [one["grade"] for one in by_command["fix verify"]] == ["confirmed", "confirmed"]
    assert [one["grade"] for one in after] == ["nothing", "nothing"]
    assert [one["grade"] for one in by_command["compare"]] == ["nothing", "nothing"]
    (review,) = by_command["review"]
    assert sum(f"{node}: load fell" in review["claimed"] for node in ("queue1", "queue2", "queue3")) >= 2


def test_drains_lose_nothing_on_loopback(root: Path) -> None:
    verdict = play(root, [sys.executable], "--fabric", str(FabricKind.LOOPBACK), *QUICK, "drain")
    assert verdict["fabric"] == "loopback"


def test_a_sick_server_costs_nothing_without_root(root: Path) -> None:
    """In a user namespace: as ourselves when we are nobody special, else as nobody."""
    if os.geteuid() != 0:
        assert play(root, [sys.executable], "--fabric", str(FabricKind.USERNS), *QUICK, "health")["fabric"] == "userns"
        return
    command, env = unprivileged(root)
    home = root / "home"
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    root.chmod(0o755)
    labs = home / "labs"
    labs.mkdir()
    os.chown(labs, NOBODY, NOBODY)
    try:
        assert play(labs, command, *QUICK, "health", env=env | {"HOME": str(home)})["fabric"] == "userns"
    finally:
        shutil.rmtree(home)


def play(root: Path, command: Sequence[str], *options: str, env: dict[str, str] | None = None) -> dict[str, object]:
    """Run `lab demo --once`; its verdict. Fails with what it narrated."""
    argv = [*command, "-m", "backstay.cli.main", "lab", "demo", "--once", "-o", "json", "--state-dir", str(root)]
    done = subprocess.run([*argv, *options], capture_output=True, text=True, timeout=TIMEOUT_S, env=env, check=False)
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert processes_of(root) == []
    assert not list(root.iterdir())
    verdict: dict[str, object] = json.loads(done.stdout)
    assert verdict["passed"]
    return verdict


def unprivileged(root: Path) -> tuple[list[str], dict[str, str]]:
    """A Python that another user may run, and its environment. Skips when there is none."""
    if not shutil.which("setpriv"):
        pytest.skip("needs setpriv (package util-linux) to become another user")
    become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    packages = [entry for entry in sys.path if entry.endswith("site-packages")]
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("BACKSTAY_", "XDG_", "PYTHON"))}
    env = kept | {"PYTHONPATH": os.pathsep.join([*packages, str(SOURCE)]), "PYTHONDONTWRITEBYTECODE": "1"}
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    # Ours first; it may lie in a home that others cannot enter (pyenv), then the system's of the same version.
    for python in (sys.executable, f"/usr/bin/{version}"):
        # By a child of it: setpriv itself may still enter folders that the new user may not.
        code = f"import subprocess; subprocess.run([{python!r}, '-c', 'import backstay.lab.build'], check=True)"
        trial = [*become, python, "-c", code]
        if subprocess.run(trial, env=env, capture_output=True, cwd=root, check=False).returncode == 0:
            return [*become, python], env
    pytest.skip(f"no {version} and checkout that another user may read (run from a place that is not under /root)")
