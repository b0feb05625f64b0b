"""What a running nginx carries now, from socket diagnostics: client connections, and requests in flight per backend.

nginx has no free statistics per backend, and not every build has stub_status. Sockets tell as much:

- A connection from one of our workers to a backend is a request in flight, or kept alive for the next one.
- A worker that is shutting down keeps none alive, and a backend that is drained or down gets no new connection from a
  new worker: for a drain every connection counts, so its figure is exact. TCP and uWSGI pools keep none alive either.
- Elsewhere a connection is in flight when data last went to the backend (its answer is awaited), or when nothing has
  moved for longer than an idle connection is kept (a quiet WebSocket). An answer that is streaming from an active
  backend right now is not told from one that has just ended: there the figure is a lower bound.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from backstay.balance.engines.nginx.backends import BACKEND_KEEPALIVE_MS
from backstay.balance.engines.nginx.text import endpoint
from backstay.balance.engines.sockets import Connection, established, socket_inodes
from backstay.balance.model import BackendState, BackendStats, Desired, HttpService
from backstay.estate.model import Protocol

# An idle connection lives BACKEND_KEEPALIVE_MS and what nginx's timers and the kernel's clock add to it.
_IDLE_LIMIT_MS = BACKEND_KEEPALIVE_MS + 500


Place = tuple[str, int]  # address and port


@dataclass(frozen=True, slots=True)
class Peer:
    pool: str
    backend: str
    address: str
    port: int
    state: BackendState
    keeps_alive: bool  # idle connections to it exist


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """Where a generation listens and whom it asks; kept in its folder, for the agent that comes after."""

    listen: tuple[str, ...]
    ports: tuple[int, ...]
    peers: tuple[Peer, ...]

    @classmethod
    def of(cls, desired: Desired) -> Topology:
        ports: set[int] = set()
        for service in desired.services:
            if isinstance(service, HttpService):
                ports |= {service.http_port} | ({service.https_port} if service.tls is not None else set())
            else:
                ports.add(service.port)
        return cls(
            listen=desired.listen,
            ports=tuple(sorted(ports)),
            peers=tuple(
                Peer(
                    pool=pool.name,
                    backend=backend.name,
                    address=backend.address,
                    port=backend.port,
                    state=backend.state,
                    keeps_alive=pool.protocol in {Protocol.HTTP, Protocol.FASTCGI},
                )
                for pool in desired.pools
                for backend in pool.backends
            ),
        )

    @classmethod
    def load(cls, path: Path) -> Topology | None:
        """None when there is none that can be read."""
        try:
            data = json.loads(path.read_bytes())
            peers = tuple(
                Peer(pool, backend, address, port, BackendState(state), keeps_alive)
                for pool, backend, address, port, state, keeps_alive in data["peers"]
            )
            return cls(listen=tuple(data["listen"]), ports=tuple(data["ports"]), peers=peers)
        except (OSError, ValueError, LookupError, TypeError):
            return None

    def dump(self) -> bytes:
        rows = [(p.pool, p.backend, p.address, p.port, p.state, p.keeps_alive) for p in self.peers]
        return json.dumps({"listen": self.listen, "ports": self.ports, "peers": rows}).encode()

    def names(self) -> dict[tuple[str, str], str]:
        """(pool, peer as nginx writes it in its log) -> backend."""
        return {(peer.pool, endpoint(peer.address, peer.port)): peer.backend for peer in self.peers}


def client_connections(topology: Topology) -> int:
    """Established connections of clients, idle ones included."""
    if not topology.ports:
        return 0
    everywhere = "*" in topology.listen
    return sum(
        1
        for connection in established(local_ports=topology.ports)
        if everywhere or connection.local[0] in topology.listen
    )


def backend_stats(topology: Topology, workers: Collection[int]) -> tuple[BackendStats, ...]:
    """In-flight requests (TCP pools: sessions) of each backend over all `workers`, old and new.

    Sockets do not tell the pool. Where a backend serves several pools on one port, what an old worker carries is
    counted in the pool in which it is drained, so that a drain never looks done too early; each is counted once.
    """
    leaving, staying = _flights(topology, workers)
    counted_in: dict[tuple[Place, bool], Peer] = {}  # (place, active) -> the first such peer
    for peer in topology.peers:
        counted_in.setdefault((_place(peer), peer.state is BackendState.ACTIVE), peer)
    stats: list[BackendStats] = []
    for peer in topology.peers:
        place = _place(peer)
        active, drained = counted_in.get((place, True)), counted_in.get((place, False))
        in_flight = leaving[place] if peer is (drained or active) else 0
        in_flight += staying[place] if peer is (active or drained) else 0
        state = "up" if peer.state is BackendState.ACTIVE else "down"
        stats.append(BackendStats(pool=peer.pool, backend=peer.backend, in_flight=in_flight, engine_state=state))
    return tuple(stats)


def _place(peer: Peer) -> Place:
    return peer.address, peer.port


def _flights(topology: Topology, workers: Collection[int]) -> tuple[Counter[Place], Counter[Place]]:
    """Connections in flight to each place: (those of workers that are leaving, those of the others)."""
    leaving: Counter[Place] = Counter()
    staying: Counter[Place] = Counter()
    places = {_place(peer) for peer in topology.peers}
    keeps_alive = {_place(peer) for peer in topology.peers if peer.keeps_alive and peer.state is BackendState.ACTIVE}
    if not places:
        return leaving, staying
    inodes = socket_inodes(workers)
    of_leaving = {inode for pid in inodes if is_leaving(pid) for inode in inodes[pid]}
    of_staying = {inode for held in inodes.values() for inode in held} - of_leaving
    for connection in established(remote_ports={port for _, port in places}):
        place = connection.remote
        if place not in places:
            continue
        if connection.inode in of_leaving:
            leaving[place] += 1
        elif connection.inode in of_staying and (place not in keeps_alive or in_flight(connection)):
            staying[place] += 1
    return leaving, staying


def in_flight(connection: Connection) -> bool:
    """Tell a connection that carries a request from one that is kept alive for the next."""
    # nginx connects only to send a request: a connection on which nothing came back yet carries its first.
    awaited = connection.received_bytes == 0 or connection.since_sent_ms < connection.since_received_ms
    quiet_ms = min(connection.since_sent_ms, connection.since_received_ms)
    return awaited or quiet_ms > _IDLE_LIMIT_MS


def is_leaving(worker: int) -> bool:
    """True for a worker that finishes what it has and takes nothing new (its title says so), or is gone."""
    try:
        title = Path(f"/proc/{worker}/cmdline").read_bytes()
    except OSError:
        return True
    return not title or b"shutting down" in title
