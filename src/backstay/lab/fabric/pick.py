"""Which fabric this machine allows: found by trying, never by guessing from versions."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass

from backstay.lab.model import FabricKind, LabError

# One way into the namespaces for root and user alike. The process that `unshare` forks is process 1 of the new PID
# namespace: when it dies, however it dies, the kernel kills everything else in it and the network goes with the last.
_UNSHARE = ("unshare", "--net", "--mount-proc", "--pid", "--fork", "--kill-child")
ENTER: dict[FabricKind, tuple[str, ...]] = {
    FabricKind.NAMESPACES: _UNSHARE,
    FabricKind.USERNS: (_UNSHARE[0], "--user", "--map-root-user", *_UNSHARE[1:]),
    FabricKind.LOOPBACK: (),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Picked:
    kind: FabricKind
    why: str


def pick(wanted: FabricKind | None = None) -> Picked:
    """The best fabric here: namespaces as root, else inside a user namespace, else loopback.

    Raises LabError when `wanted` is not possible, with what the kernel said.
    """
    if wanted is FabricKind.LOOPBACK:
        return Picked(kind=wanted, why="asked for")
    refusals: list[str] = []
    for kind in (wanted,) if wanted else (FabricKind.NAMESPACES, FabricKind.USERNS):
        refusal = _refusal(kind)
        if refusal is None:
            return Picked(kind=kind, why="asked for" if wanted else _reason(kind, refusals))
        refusals.append(f"{kind}: {refusal}")
    if wanted:
        raise LabError(f"This machine does not allow the fabric {refusals[0]}. Leave --fabric away, or take loopback.")
    return Picked(kind=FabricKind.LOOPBACK, why="no namespaces here (" + "; ".join(refusals) + ")")


def _reason(kind: FabricKind, refusals: list[str]) -> str:
    if kind is FabricKind.NAMESPACES:
        return "root, and the kernel allows network namespaces"
    return "the kernel allows user namespaces (" + "; ".join(refusals) + ")"


def _refusal(kind: FabricKind) -> str | None:
    """None when the fabric works here; otherwise why not."""
    if kind is FabricKind.NAMESPACES and os.geteuid() != 0:
        return "not root"
    if not shutil.which("unshare"):
        return "no unshare program (package util-linux)"
    # Some containers allow the namespaces but mount /proc/sys read-only: without forwarding there is no router.
    trial = [*ENTER[kind], "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]
    try:
        done = subprocess.run(trial, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None if done.returncode == 0 else (done.stderr.strip() or f"unshare ended with {done.returncode}")
