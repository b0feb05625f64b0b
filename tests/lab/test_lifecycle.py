"""A lab comes up and goes away whole: whoever is killed, and however many there are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rig import HERE, Outside, Rig, poll, processes_of, run, start

from backstay.lab import build
from backstay.lab.model import FabricKind, LabError
from backstay.lab.state import LabFolder, find_labs, the_lab


def test_nothing_is_seen_outside_while_it_is_up_and_nothing_is_left_after_down(kind: FabricKind, root: Path) -> None:
    before = Outside.look(root)
    lab = run(start(root, kind))
    assert len(processes_of(root)) >= 5
    during = Outside.look(root)
    assert (during.interfaces, during.routes) == (before.interfaces, before.routes)
    assert during.named_namespaces == before.named_namespaces
    rig = Rig(lab.folder)
    for fault, name in (("hang", "web1"), ("zone-down", "wdc04"), ("crash", "queue1")):
        rig.fault(fault, name)
    run(lab.down())
    assert processes_of(root) == []
    assert Outside.look(root) == before


def test_down_cleans_up_after_kill_9_of_the_keeper(kind: FabricKind, root: Path) -> None:
    before = Outside.look(root)
    lab = run(start(root, kind))
    Rig(lab.folder).fault("hang", "web1")
    os.kill(lab.folder.record.pid, signal.SIGKILL)
    assert poll(lambda: not lab.folder.keeper_alive())
    run(build.down(LabFolder(lab.folder.path)))
    assert processes_of(root) == []
    assert Outside.look(root) == before


def test_a_lab_dies_with_whoever_holds_it(kind: FabricKind, root: Path) -> None:
    before = Outside.look(root)
    with holder(root, kind) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        assert processes_of(root)
        process.send_signal(signal.SIGKILL)
    assert poll(lambda: processes_of(root) == [] and Outside.look(root) == before)


def test_a_detached_lab_outlives_whoever_started_it(kind: FabricKind, root: Path) -> None:
    lab = run(start(root, kind))
    run(lab.detach())
    again = the_lab(root, "small")
    assert Rig(again).statuses("web1", "web2") == [200, 200]
    run(build.down(again))
    assert processes_of(root) == []


def test_two_labs_side_by_side_do_not_see_each_other(kind: FabricKind, root: Path) -> None:
    one, two = run(start(root, kind, "one")), run(start(root, kind, "two"))
    try:
        assert [lab.path.name for lab in find_labs(root)] == ["one", "two"]
        Rig(one.folder).fault("crash", "web1")
        assert Rig(one.folder).statuses("web1", "web2") == [0, 200]
        assert Rig(two.folder).statuses("web1", "web2") == [200, 200]
        with pytest.raises(LabError, match="several labs: one, two"):
            the_lab(root, None)
    finally:
        run(one.down())
        run(two.down())


def test_a_second_lab_of_the_same_name_is_refused_and_harms_nothing(kind: FabricKind, root: Path) -> None:
    lab = run(start(root, kind))
    try:
        with pytest.raises(LabError, match="There is a lab small already"):
            run(start(root, kind))
        assert Rig(lab.folder).statuses("web1") == [200]
    finally:
        run(lab.down())


def holder(root: Path, kind: FabricKind) -> subprocess.Popen[bytes]:
    """Another process that brings a lab up and holds it."""
    argv = [sys.executable, str(HERE / "rig.py"), str(root), str(kind)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE)
