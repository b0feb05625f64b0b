"""Nouns of the lab: hosts, processes and faults on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from backstay.lab.machines.parts import Machine

WITNESS = "witness"  # the host on the internet side; no node of an estate may have its name
SERVER = "console"  # the host that the server runs on, and the name of its published port; no node may have it either
INTERNET = "internet"  # the zone of both


class FabricKind(StrEnum):
    NAMESPACES = "namespaces"  # as root
    USERNS = "userns"  # the same, inside a user namespace
    LOOPBACK = "loopback"  # 127.x addresses and processes, nothing else


class FaultKind(StrEnum):
    CRASH = "crash"  # the host's processes are killed
    HANG = "hang"  # its processes are stopped: connections accepted, nothing answered
    ISOLATE = "isolate"  # its link is down
    LOSS = "loss"  # a share of its packets is dropped
    SLOW = "slow"  # its answers take longer
    UNHEALTHY = "unhealthy"  # its health port says no while it still serves
    FAILING = "failing"  # it answers 500 at once while its health port still says yes
    ZONE_DOWN = "zone-down"
    PATH_DOWN = "path-down"


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A node of the estate (or the witness) on this machine."""

    name: str
    zone: str
    address: str  # in this fabric: the estate's own in `namespaces`, a 127.x in `loopback`
    paths: tuple[str, ...] = ()  # failure paths that it hangs on
    holds: tuple[str, ...] = ()  # global IPs (names) for which it is a candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """How a user reaches the first HTTP service behind a global IP."""

    hostname: str
    port: int
    tls: bool
    websocket_path: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabIp:
    """A global IP in this lab."""

    name: str
    address: str
    candidates: tuple[str, ...]  # hosts, preferred first: the first holds it when the lab comes up
    ports: tuple[int, ...]  # TCP ports of the services behind it
    front: Front | None = None  # None: no HTTP service is behind it


@dataclass(frozen=True, slots=True, kw_only=True)
class WebServer:
    """A demo server on a host: every port it serves, and its health ports."""

    host: str
    serve: tuple[int, ...]
    health: tuple[int, ...]  # empty: the health path answers on the serving port
    health_path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A port on the machine's own 127.0.0.1 that leads into the lab."""

    name: str  # the global IP
    port: int  # on 127.0.0.1
    hostname: str  # that the service answers to
    tls: bool
    address: str  # inside
    inside_port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What a fabric shall build and what runs on it."""

    estate: str
    hosts: tuple[Host, ...]
    ips: tuple[LabIp, ...]
    load_balancers: tuple[str, ...]
    web: tuple[WebServer, ...]
    queue: tuple[str, ...]  # hosts in a cluster that serves in no pool
    unserved: tuple[str, ...] = ()  # pools that the lab has no demo server for, each with its reason
    server: str | None = None  # address of the server's host; None: a lab without a server
    machines: tuple[Machine, ...] = ()  # the estate's nodes: what they are made of

    def host(self, name: str) -> Host:
        """The host called `name`. Raises KeyError."""
        for host in self.hosts:
            if host.name == name:
                return host
        raise KeyError(name)

    def machine(self, name: str) -> Machine:
        """What the node called `name` is made of. Raises LabError for one that there is not."""
        for machine in self.machines:
            if machine.name == name:
                return machine
        known = ", ".join(machine.name for machine in self.machines) or "none"
        raise LabError(f'"{name}" is no node of this lab. There are: {known}.')


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """The lab's server, from outside."""

    url: str
    user: str  # its first admin
    link: str  # where that one sets a password, once


@dataclass(frozen=True, slots=True, kw_only=True)
class Spawned:
    host: str
    role: str  # "engine", "agent", "web", "provider-api", "pager", "witness"
    pid: int
    start_time_ticks: int  # field 22 of /proc/PID/stat: a reused pid is not ours
    log_file: str


class LabError(Exception):
    """What the lab cannot do: what, where, what next. The message is for people."""
