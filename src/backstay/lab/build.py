"""A lab up and down: estate, layout, folder, certificates, keeper and hosts put together."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import cast

from backstay.agent.client import AgentClient, AgentError
from backstay.agent.lean import ENVIRONMENT
from backstay.balance.engines.binary import find
from backstay.balance.ports import EngineFailed
from backstay.estate import load_file
from backstay.estate.model import Estate
from backstay.lab import proc, served
from backstay.lab.certs import Authority
from backstay.lab.fabric.base import python
from backstay.lab.fabric.pick import ENTER, Picked, pick
from backstay.lab.keeper.client import call
from backstay.lab.keeper.publish import listen
from backstay.lab.machines.record import begin
from backstay.lab.model import SERVER, WITNESS, FabricKind, LabError, Layout
from backstay.lab.plan import layout as layouts
from backstay.lab.state import LabFolder, Record
from backstay.lab.waiting import connects, until

KEEPER_TIMEOUT_S = 20.0
SERVICE_MS = 25.0  # long enough that requests overlap, as they do on real servers
READY_TIMEOUT_S = 60.0
DOWN_TIMEOUT_S = 15.0
SLOTS = range(64, 127)  # second octets of 127.x: far from 127.0.0.1 and Debian's 127.0.1.1

OUTSIDE = {"provider": "backstay.lab.hosts.provider_api", "pager": "backstay.lab.hosts.pager"}  # by role
NODE = "node"  # role of what tells of a machine
SERVED = ("http", "tcp")  # protocols that the lab has servers for

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What `lab up` was asked for."""

    source: Path  # the estate file
    root: Path  # folder of labs
    name: str | None = None  # default: the estate's
    fabric: FabricKind | None = None  # None: the best that this machine allows
    service_ms: float = SERVICE_MS  # time that a request takes on a demo web server
    agents: bool = True  # without: hosts and web servers only
    server: bool = False  # with the server, and the agents enrolled with it


class Lab:
    """A lab that this process brought up. It lives on without it only after `detach`."""

    def __init__(self, folder: LabFolder, keeper: subprocess.Popen[bytes]) -> None:
        self.folder = folder
        self.stages: list[tuple[str, float]] = []  # what took how long, seconds
        self._keeper = keeper

    @property
    def layout(self) -> Layout:
        return self.folder.layout

    async def holds(self) -> None:
        """Until the keeper answers."""
        ready = partial(connects, self.folder.keeper_socket)
        lives = self._keeper.poll
        await until(
            ready, KEEPER_TIMEOUT_S, "the keeper", self.folder.log / "keeper.log", lives=lambda: lives() is None
        )

    async def detach(self) -> None:
        """Let the lab live on until `lab down`."""
        await call(self.folder, "detach")
        self._leave()

    async def down(self) -> None:
        """End it, also when its keeper is dead already."""
        await down(self.folder)
        self._keeper.wait()
        self._leave()

    def _leave(self) -> None:
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()
        # It outlives us by intent: no complaint about a child that still runs.
        self._keeper.returncode = self._keeper.returncode or 0


async def up(options: Options, say: Say = lambda _: None) -> Lab:
    """Build the estate on this machine. When anything fails, nothing of it is left.

    Raises LabError, and estate.EstateFaults for a bad file.
    """
    started = time.monotonic()
    estate = load_file(options.source).estate
    engines = agent_environment(estate) if options.agents else {}
    picked = pick(options.fabric)
    say(f"fabric {picked.kind}: {picked.why}")
    slot, slot_lock = _free_slot()
    with slot_lock:
        lab = await _begin(options, estate, picked, slot, slot_lock)
    lab.stages.append(("keeper", time.monotonic() - started))
    try:
        await _populate(lab, options, engines, say)
    except BaseException:
        await lab.down()
        raise
    return lab


async def _begin(options: Options, declared: Estate, picked: Picked, slot: int, slot_lock: socket.socket) -> Lab:
    """The folder and the keeper in it."""
    on_loopback = picked.kind is FabricKind.LOOPBACK
    nodes, ips = layouts.loopback_addresses(declared, slot) if on_loopback else layouts.declared_addresses(declared)
    path = (options.root / (options.name or declared.estate)).absolute()
    data = layouts.lab_estate(declared, picked.kind, nodes, ips, str(path))
    estate = Estate.model_validate_json(json.dumps(data))
    layout = layouts.layout_of(estate, nodes[WITNESS], nodes[SERVER] if options.server else None)
    record = Record(
        id=secrets.token_hex(8),
        name=path.name,
        fabric=picked.kind,
        why=picked.why,
        source=str(options.source.absolute()),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        slot=slot,
    )
    folder = _create(path, layout)
    try:
        with ExitStack() as listening:
            published, listeners = listen(layout.ips, layout.server, listening)
            record = replace(record, published=published)
            _write(folder, record, layout, estate, data)
            lab = Lab(folder, _start_keeper(folder, [slot_lock, *listeners]))
        await lab.holds()
    except BaseException:
        proc.sweep(folder.path, record.id)
        folder.remove()
        raise
    return lab


def _create(path: Path, layout: Layout) -> LabFolder:
    folder = LabFolder(path)
    try:
        folder.create([host.name for host in layout.hosts])
    except FileExistsError:
        raise LabError(
            f"There is a lab {path.name} already ({path}). "
            f"End it: backstay lab down --name {path.name}. Or give this one another --name."
        ) from None
    except OSError as error:
        raise LabError(f"{path}: {error.strerror}. Give a --state-dir that you may write to.") from error
    return folder


def _write(folder: LabFolder, record: Record, layout: Layout, estate: Estate, data: dict[str, object]) -> None:
    folder.write_record(record)
    folder.write_layout(layout)
    begin(folder, layout, datetime.fromisoformat(record.created_at))
    folder.estate_file.write_text(json.dumps(data, indent=1) + "\n")  # JSON is YAML
    (folder.path / layouts.SECRET_FILE).write_text(secrets.token_hex(16) + "\n")
    authority = Authority(datetime.now(UTC))
    authority.write(folder.ca)
    for name, service in estate.services.items():
        if service.tls:
            certificate, key = layouts.tls_files(name)
            names = [*service.hostnames, *(ip.address for ip in layout.ips), "127.0.0.1", "localhost"]
            authority.issue(names, folder.path / certificate, folder.path / key)
    if estate.agents.certificate:
        certificate, key = layouts.tls_files("agents")
        names = [*layout.load_balancers, *(layout.host(lb).address for lb in layout.load_balancers)]
        authority.issue(names, folder.path / certificate, folder.path / key)


def _free_slot() -> tuple[int, socket.socket]:
    """A second octet of 127.x that no other lab has. The keeper inherits the lock, and holds it as long as it lives.

    An abstract socket has the network namespace for its scope, as 127.x addresses have.
    """
    for slot in SLOTS:
        lock = socket.socket(socket.AF_UNIX)
        try:
            lock.bind(f"\0backstay-lab-{slot}")
        except OSError:
            lock.close()
            continue
        return slot, lock
    raise LabError(f"{len(SLOTS)} labs run already. End one: backstay lab list, backstay lab down.")


def _start_keeper(folder: LabFolder, inherited: Sequence[socket.socket]) -> subprocess.Popen[bytes]:
    """Start the keeper. `inherited`: the lock of its slot, then the listening sockets of what is published."""
    record = folder.record
    descriptors = [listener.fileno() for listener in inherited]
    argv = [*ENTER[record.fabric], sys.executable, "-m", "backstay.lab.keeper", str(folder.path)]
    for descriptor in descriptors[1:]:
        argv += ["--listen", str(descriptor)]
    with (folder.log / "keeper.log").open("ab") as log:
        keeper = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd=folder.path,
            env=_environment(record),
            pass_fds=descriptors,
            start_new_session=True,
        )
    ticks = proc.start_time_ticks(keeper.pid) or 0
    folder.write_record(replace(record, pid=keeper.pid, start_time_ticks=ticks))
    return keeper


def _environment(record: Record) -> dict[str, str]:
    """What every process of the lab sees: ours, without settings of Backstay, which belong to the real estate."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("BACKSTAY_")}
    return kept | {proc.LAB_VARIABLE: record.id}


def agent_environment(estate: Estate) -> dict[str, str]:
    """As `backstay agent run` has it, with the newest binary of each engine. Raises LabError when one is missing."""
    try:
        return ENVIRONMENT | {
            f"BACKSTAY_{kind.name}": find(kind, "newest").binary for kind in {t.engine for t in estate.tiers.values()}
        }
    except EngineFailed as error:
        raise LabError(str(error)) from error


async def _populate(lab: Lab, options: Options, engines: dict[str, str], say: Say) -> None:
    """Fabric, then everything on it at once."""
    folder, layout = lab.folder, lab.layout
    joins = await _fabric_and_server(lab, options)
    say(f"{len(layout.hosts)} hosts, {len(layout.ips)} global IPs")
    for line in layout.unserved:
        say(f"note: pool {line}")
    started = time.monotonic()
    agents = layout.load_balancers if options.agents else ()
    for host, role, argv in processes(folder, layout, agents, options.service_ms):
        env = engines if role == "agent" else None
        await call(folder, "spawn", host=host, role=role, argv=argv, env=env)
    if options.server:
        host, role, argv = served.process(folder)
        await call(folder, "spawn", host=host, role=role, argv=argv)
    for role in OUTSIDE:
        ready = partial(connects, folder.control / f"{role}.sock")
        await until(ready, READY_TIMEOUT_S, f"the {role}", folder.log / f"{WITNESS}-{role}.log")
    servers = [server.host for server in layout.web]
    for server in servers:
        control = folder.control / f"{server}.sock"
        await until(
            partial(connects, control), READY_TIMEOUT_S, f"the web server on {server}", folder.log / f"{server}-web.log"
        )
    for machine in layout.machines:
        log = folder.log / f"{machine.name}-{NODE}.log"
        ready = partial(connects, folder.nodes / f"{machine.name}.sock")
        await until(ready, READY_TIMEOUT_S, f"what tells of {machine.name}", log)
    lab.stages.append(("web servers", time.monotonic() - started))
    say(f"{len(servers)} web servers, {len(layout.queue)} queue workers; every node tells of its machine")
    if agents:
        await _stage(lab, "agents", _agents_ready(folder, agents))
        say(f"{len(agents)} load balancers: each with its engine and its agent")
    if options.server:
        await _stage(lab, "server", _server_ready(folder, joins))
        say(f"the server, with {len(joins)} agents enrolled")


async def _fabric_and_server(lab: Lab, options: Options) -> dict[str, str]:
    """Both at once: making a server takes a second of its own. The agents' join tokens, with a server."""
    folder = lab.folder
    works: list[Awaitable[object]] = [_stage(lab, "fabric", call(folder, "up"))]
    if options.server:
        works.append(asyncio.to_thread(served.make, folder, lab.layout.load_balancers if options.agents else ()))
    # Both to their ends, also when one fails: nobody writes into a folder that is being removed.
    done = await asyncio.gather(*works, return_exceptions=True)
    for one in done:
        if isinstance(one, BaseException):
            raise one
    return cast(dict[str, str], done[1]) if options.server else {}


async def _server_ready(folder: LabFolder, joins: dict[str, str]) -> None:
    """Until every agent follows it."""
    log = folder.log / f"{SERVER}-{served.ROLE}.log"
    lives = partial(_lives, folder, SERVER, served.ROLE)
    async with served.ServerApi(folder) as api:
        await until(api.answers, READY_TIMEOUT_S, "the server", log, lives=lives)
        await served.enrol_all(folder, joins)
        await until(partial(api.connected, tuple(joins)), READY_TIMEOUT_S, "an agent's link to the server", log)


async def _stage(lab: Lab, name: str, work: Awaitable[object]) -> None:
    started = time.monotonic()
    await work
    lab.stages.append((name, time.monotonic() - started))


def processes(
    folder: LabFolder, layout: Layout, agents: Sequence[str], service_ms: float
) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """What runs where: (host, role, argv)."""
    for role, module in OUTSIDE.items():
        control = folder.control / f"{role}.sock"
        yield WITNESS, role, python("-m", module, str(folder.path), "--control", str(control))
    for lb in agents:
        argv = ["-m", "backstay.agent", "--estate", str(folder.estate_file), "--as", lb]
        argv += ["--state-dir", str(folder.hosts / lb / "state"), "--run-dir", str(folder.run)]
        yield lb, "agent", python(*argv)
    for server in layout.web:
        argv = ["-m", "backstay.lab.hosts.web", "--name", server.host, "--address", layout.host(server.host).address]
        argv += [f"--serve={port}" for port in server.serve] + [f"--health={port}" for port in server.health]
        argv += ["--health-path", server.health_path, "--service-ms", str(service_ms)]
        yield server.host, "web", python(*argv, "--control", str(folder.control / f"{server.host}.sock"))
    for machine in layout.machines:
        argv = ["-m", "backstay.lab.hosts.node", "--address", layout.host(machine.name).address]
        argv += [f"--port={layouts.NODE_PORT}", "--machine", json.dumps(asdict(machine))]
        argv += ["--stand", str(folder.machines_file), "--control", str(folder.nodes / f"{machine.name}.sock")]
        yield machine.name, NODE, python(*argv)


async def _agents_ready(folder: LabFolder, agents: Sequence[str]) -> None:
    """Until every agent's engine runs what the estate says and has checked its backends."""
    for lb in agents:
        socket_file = folder.run / f"{lb}.sock"
        log = folder.log / f"{lb}-agent.log"
        lives = partial(_lives, folder, lb, "agent")
        await until(partial(connects, socket_file), READY_TIMEOUT_S, f"the agent on {lb}", log, lives=lives)
        async with AgentClient(lb, socket=socket_file) as client:
            await until(partial(_in_sync, client), READY_TIMEOUT_S, f"the engine on {lb}", log, lives=lives)


async def _lives(folder: LabFolder, host: str, role: str) -> bool:
    processes = (await call(folder, "status"))["hosts"][host]
    return any(process["role"] == role and process["alive"] for process in processes)


async def _in_sync(client: AgentClient) -> bool:
    try:
        status = await client.status()
    except AgentError:
        return False
    checked = all(pool["active"] == pool["backends"] for pool in status["pools"] if pool["protocol"] in SERVED)
    return status["in_sync"] and status["engine"]["running"] and checked


async def down(folder: LabFolder) -> None:
    """End a lab, whatever state it is in: asked, then killed, then swept. Leaves no process and no file.

    Raises LabError when something outlives it; the folder stays then, so that `lab down` can be tried again.
    """
    try:
        record: Record | None = folder.record
    except LabError:
        record = None  # damaged: what works in the folder is the lab's all the same
    if record:
        await _ask_keeper_to_end(folder, record)
    left = await asyncio.to_thread(proc.sweep, folder.path, record.id if record else None)
    if left:
        raise LabError(f"These processes of lab {folder.path.name} do not end: {left}. Then: backstay lab down again.")
    folder.remove()


async def _ask_keeper_to_end(folder: LabFolder, record: Record) -> None:
    with suppress(LabError):
        await call(folder, "detach", timeout_s=2.0)  # the keeper leaves the folder to us
        await call(folder, "down", timeout_s=2.0)
        gone = partial(_gone, record)
        await until(gone, DOWN_TIMEOUT_S, "the end of the keeper", folder.log / "keeper.log")
    if record.pid and not _gone(record):
        os.kill(record.pid, signal.SIGKILL)


def _gone(record: Record) -> bool:
    return not proc.alive(record.pid, record.start_time_ticks)
