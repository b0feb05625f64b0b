"""Fixtures of the lab's tests: every fabric that this machine allows; a short root, because unix sockets need one."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from rig import Rig, processes_of, run, start

from backstay.lab.fabric.pick import pick
from backstay.lab.model import FabricKind, LabError


@pytest.fixture(params=list(FabricKind), scope="module")
def kind(request: pytest.FixtureRequest) -> FabricKind:
    """Every fabric; those that this machine does not allow skip with the kernel's reason."""
    wanted: FabricKind = request.param
    try:
        return pick(wanted).kind
    except LabError as refused:
        pytest.skip(str(refused))


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """Where labs live: short, and empty again at the end."""
    folder = Path(tempfile.mkdtemp(prefix="bs-", dir="/tmp"))
    yield folder
    left = processes_of(folder)
    shutil.rmtree(folder, ignore_errors=True)
    assert not left, f"processes left behind: {left}"


@pytest.fixture(scope="module")
def rig(kind: FabricKind, root: Path) -> Iterator[Rig]:
    """One lab for the tests of a module; each heals what it broke."""
    lab = run(start(root, kind))
    yield Rig(lab.folder)
    run(lab.down())
    assert not list(root.iterdir())
