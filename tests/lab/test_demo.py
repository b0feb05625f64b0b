"""The demo from nothing to its verdict, as a user runs it: on every fabric, as root and without."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from playing import NOBODY, TIMEOUT_S, play, unprivileged

from backstay.lab.model import FabricKind

QUICK = ("--watch", "1", "--chapter")

pytestmark = pytest.mark.timeout(TIMEOUT_S + 30)


def test_the_whole_demo_is_all_right_on_the_best_fabric_of_this_machine(root: Path) -> None:
    verdict = play(root, [sys.executable], "--watch", "2")
    rows = verdict["rows"]
    assert isinstance(rows, list)
    harmless = {"traffic", "drain web2", "drain web6", "server drains web4"}
    harmless |= {"health web3", "slow web5", "move to lb1"}
    assert {row["chapter"] for row in rows} == harmless | {"failover lb1", "failover wdc01"}
    assert {row["engine"].partition(" ")[0] for row in rows} == {"nginx", "haproxy"}
    assert all(row["lost"] == row["wrong"] == row["errors"] == 0 for row in rows if row["chapter"] in harmless)
    assert verdict["claims"]


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
