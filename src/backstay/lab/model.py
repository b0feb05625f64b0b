"""Nouns of the lab: hosts, processes and faults on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FaultKind(StrEnum):
    CRASH = "crash"  # the host's processes are killed
    HANG = "hang"  # its processes are stopped: connections accepted, nothing answered
    ISOLATE = "isolate"  # its link is down
    LOSS = "loss"  # a share of its packets is dropped
    SLOW = "slow"  # its answers take longer
    ZONE_DOWN = "zone-down"
    PATH_DOWN = "path-down"


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A node of the estate (or the witness) on this machine."""

    name: str
    zone: str
    address: str  # in this fabric: the estate's own in `namespaces`, a 127.x in `loopback`


@dataclass(frozen=True, slots=True, kw_only=True)
class Spawned:
    host: str
    role: str  # "engine", "agent", "web", "provider-api", "pager", "witness"
    pid: int
    start_time_ticks: int  # field 22 of /proc/PID/stat: a reused pid is not ours
    log_file: str
