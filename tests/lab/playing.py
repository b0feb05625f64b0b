"""The demo from nothing to its verdict, as a user runs it."""

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

NOBODY = 65534
TIMEOUT_S = 360
SOURCE = HERE.parents[1] / "src"


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
