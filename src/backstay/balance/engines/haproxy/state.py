"""What HAProxy says of itself, read; and what is said to it, written. Pure.

Formats: HAProxy's management guide (docs.haproxy.org/2.8/management.html), sections 9.3 and 9.4. Columns are found by
their names in the header, because versions add some.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from backstay.balance.accesslog import read
from backstay.balance.engines.haproxy.pool import LAST_RESORT, suffixes, weight_of
from backstay.balance.model import BackendStats, Desired, Sample

Server = tuple[str, str]  # pool, server line (a backend, or its unchecked twin)

_STOPPED, _STARTING, _RUNNING = "0", "1", "2"  # srv_op_state
_FORCED = 0x01 | 0x08  # srv_admin_state: put into maintenance or drain by hand
_CHECK_INITIAL = "1"  # srv_check_status: with 0 (unknown) its checks would never begin
_CHECK_ENABLED = "6"  # srv_check_state: configured and enabled
_RETRIES = re.compile(r'"retries":"\+?(\d{1,2})"')
_OWED_LIMIT = 1000  # of one backend
_COMMANDS_A_LINE = 50  # well within HAProxy's smallest buffer


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """What `show proc` tells: worker pids, and how the last reload went."""

    current: int | None
    old: tuple[int, ...]
    reloads: int
    failed: int  # reloads that failed since the last that succeeded


@dataclass(frozen=True, slots=True)
class ServerRow:
    """One row of `show servers state`: column -> value, in HAProxy's order."""

    fields: Mapping[str, str]

    @property
    def server(self) -> Server:
        return self.fields["be_name"], self.fields["srv_name"]

    @property
    def weight(self) -> int:
        return int(self.fields["srv_uweight"])

    @property
    def running(self) -> bool:
        """It would take requests, if its weight let it."""
        return self.fields["srv_op_state"] in (_STARTING, _RUNNING)

    @property
    def forced(self) -> bool:
        return bool(int(self.fields["srv_admin_state"]) & _FORCED)

    def at(self, address: str, port: int) -> bool:
        return (self.fields["srv_addr"], self.fields["srv_port"]) == (address, str(port))


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """What one worker's `show stat` tells."""

    client_connections: int
    in_flight: Mapping[Server, int]  # of backends, their twins included
    words: Mapping[Server, str]  # HAProxy's own word of a backend's state
    retried: Mapping[Server, int]  # tries that failed and were made again elsewhere, since the worker's start


def read_processes(text: str) -> Processes:
    """Raises ValueError for what is no answer to `show proc`."""
    current, old, reloads, failed = None, [], 0, 0
    section = ""
    if not text.startswith("#<PID>"):
        raise ValueError(f"no answer to 'show proc': {text[:200]!r}")
    for line in text.splitlines():
        if line.startswith("#"):
            section = line
        elif (words := line.split())[1:2] == ["master"]:
            reloads = int(words[2])
            failed = int(words[4].rstrip("]")) if words[3:4] == ["[failed:"] else 0
        elif words[1:2] == ["worker"] and section == "# workers":
            current = int(words[0])
        elif words[1:2] == ["worker"]:
            old.append(int(words[0]))
    return Processes(current=current, old=tuple(old), reloads=reloads, failed=failed)


def read_servers(text: str) -> dict[Server, ServerRow]:
    """Rows of `show servers state`, in HAProxy's order. Raises ValueError for another format."""
    lines = [line for line in text.splitlines() if line]
    if len(lines) < 2 or lines[0] != "1" or not lines[1].startswith("# "):
        raise ValueError(f"no answer to 'show servers state': {text[:200]!r}")
    header = lines[1][2:].split()
    rows = (ServerRow(dict(zip(header, line.split(), strict=True))) for line in lines[2:])
    return {row.server: row for row in rows}


def read_statistics(text: str) -> Statistics:
    """Raises ValueError for what is no answer to `show stat`."""
    lines = [line for line in text.splitlines() if line]
    if not lines or not lines[0].startswith("# pxname,"):
        raise ValueError(f"no answer to 'show stat': {text[:200]!r}")
    header = lines[0][2:].split(",")
    clients = 0
    in_flight: Counter[Server] = Counter()
    retried: Counter[Server] = Counter()
    words: dict[Server, str] = {}
    for line in lines[1:]:
        row = dict(zip(header, line.split(","), strict=False))
        if row["svname"] == "FRONTEND":
            clients += int(row["scur"])
        elif row["svname"] != "BACKEND":
            server = backend_of((row["pxname"], row["svname"]))
            in_flight[server] += int(row["scur"])
            # Of a refused connection it counts the redispatch, of an answer that never came the retry as well.
            retried[server] += max(int(row["wretr"] or 0), int(row["wredis"] or 0))
            words.setdefault(server, row["status"])
    return Statistics(client_connections=clients, in_flight=in_flight, words=words, retried=retried)


def backend_of(server: Server) -> Server:
    """The backend that a server line, or its twin, stands for."""
    return server[0], server[1].removesuffix(LAST_RESORT)


def add_up(current: Statistics, old: Iterable[Statistics]) -> tuple[int, tuple[BackendStats, ...]]:
    """(client connections, backends) over the current worker and those that still end what they began."""
    clients = current.client_connections
    in_flight = Counter(current.in_flight)
    for statistics in old:
        clients += statistics.client_connections
        in_flight.update(statistics.in_flight)
    backends = (
        BackendStats(pool=pool, backend=name, in_flight=in_flight[pool, name], engine_state=word)
        for (pool, name), word in current.words.items()
    )
    return clients, tuple(backends)


def weights(desired: Desired) -> dict[Server, int]:
    """The weight of every server line that is rendered."""
    return {
        (pool.name, f"{backend.name}{suffix}"): weight_of(backend)
        for pool in desired.pools
        for backend in pool.backends
        for suffix in suffixes(pool)
    }


def commands(desired: Desired, rows: Mapping[Server, ServerRow]) -> list[str]:
    """Runtime commands that bring the servers in `rows` to the desired weights; none when they have them.

    A backend that comes back goes through slow start: HAProxy starts it only for a server that leaves maintenance or
    its checks' DOWN, so it is put into maintenance while its weight is still 0, where it disturbs nobody. One that
    its checks hold down is left to them: leaving maintenance would take it for up.
    """
    ramps = {pool.name for pool in desired.pools if pool.slow_start_s}
    found: list[str] = []
    for (pool, name), weight in weights(desired).items():
        row = rows.get((pool, name))
        if row is None:
            continue
        server = f"{pool}/{name}"
        comes_back = row.weight == 0 and weight > 0 and pool in ramps and row.running
        if comes_back:
            found.append(f"set server {server} state maint")
        if row.weight != weight:
            found.append(f"set server {server} weight {weight}")
        if comes_back or row.forced:
            found.append(f"set server {server} state ready")
    return found


def drains(desired: Desired, rows: Mapping[Server, ServerRow]) -> list[str]:
    """Runtime commands for those alone that shall take no new requests any more."""
    return [
        f"set server {pool}/{name} weight 0"
        for (pool, name), weight in weights(desired).items()
        if weight == 0 and (row := rows.get((pool, name))) is not None and row.weight
    ]


def undo(drained: Sequence[str], rows: Mapping[Server, ServerRow]) -> list[str]:
    """What takes `drains` back."""
    weight = {f"{pool}/{name}": row.weight for (pool, name), row in rows.items()}
    servers = [command.split()[2] for command in drained]
    return [f"set server {server} weight {weight[server]}" for server in servers]


def command_lines(pid: int, wanted: Sequence[str]) -> list[str]:
    """Lines for the master's socket that send `wanted` to worker `pid`, in order."""
    return [
        "; ".join((f"@!{pid}", *wanted[start : start + _COMMANDS_A_LINE]))
        for start in range(0, len(wanted), _COMMANDS_A_LINE)
    ]


EMPTY_STATE = "1\n"  # a state file that knows no server: every one starts as up until its first check


def carry_over(desired: Desired, rows: Mapping[Server, ServerRow]) -> str:
    """The state file for a reload: what checks know survives, weights are the desired ones.

    A server that joins a pool (or moves to another address) starts as down, so that it takes no request before its
    checks have passed. In a pool that is new as a whole nobody could serve then: its servers start as up, and the
    first failed check takes one out.
    """
    if not rows:
        return EMPTY_STATE
    columns = tuple(next(iter(rows.values())).fields)
    known = {pool for pool, _ in rows}
    lines = ["1", f"# {' '.join(columns)}"]
    for pool in desired.pools:
        if pool.name not in known:
            continue
        for suffix in suffixes(pool):
            for backend in pool.backends:
                row = rows.get((pool.name, f"{backend.name}{suffix}"))
                checked = pool.check is not None and not suffix
                weight = str(weight_of(backend))
                if row is not None and row.at(backend.address, backend.port):
                    fields = dict(row.fields) | _returning(row, weight, ramps=bool(pool.slow_start_s) and not suffix)
                elif checked:
                    fields = _unchecked(columns, pool.name, backend.name, backend.address, backend.port)
                else:
                    continue
                fields |= {"srv_uweight": weight, "srv_iweight": weight, "srv_admin_state": "0"}
                lines.append(" ".join(fields[column] for column in columns))
    return "\n".join(lines) + "\n"


def _returning(row: ServerRow, weight: str, *, ramps: bool) -> dict[str, str]:
    """A backend that comes back with this very reload goes through slow start."""
    if ramps and row.weight == 0 and weight != "0" and row.running:
        return {"srv_op_state": _STARTING, "srv_time_since_last_change": "0"}
    return {}


def _unchecked(columns: Iterable[str], pool: str, name: str, address: str, port: int) -> dict[str, str]:
    """A server that is down until its checks have passed; what nobody knows is 0."""
    known = {
        "be_name": pool,
        "srv_name": name,
        "srv_addr": address,
        "srv_op_state": _STOPPED,
        "srv_check_status": _CHECK_INITIAL,
        "srv_check_state": _CHECK_ENABLED,
        "srv_fqdn": "-",
        "srv_port": str(port),
        "srvrecord": "-",
        "srv_check_addr": "-",
        "srv_agent_addr": "-",
    }
    return {column: known.get(column, "0") for column in columns}


def read_samples(lines: Sequence[str], owed: Counter[Server]) -> tuple[list[Sample], Counter[Server], int]:
    """Samples of the access log, what is still owed, and how many lines were garbage.

    HAProxy logs a request once, with the backend that ended it. The tries that failed before are in no line, only in
    the counters of the backends that failed them (`owed`); each is told as a sample of its own, with the route of a
    retried request of that pool. Which of several retried requests it was cannot be known, and does not matter to
    who weighs a backend's errors. What is owed beyond the lines waits for them.
    """
    # HAProxy says on its standard output too that a frontend stopped: no line of ours, and no garbage.
    lines = [line for line in lines if not line.startswith("Proxy ")]
    parsed = read(lines, {})
    samples = [replace(s, backend=s.backend.removesuffix(LAST_RESORT)) for s in parsed.samples]
    retried: dict[str, list[Sample]] = defaultdict(list)
    for line in lines:
        if '"retries":"0"' not in line and (found := _RETRIES.search(line)):
            for sample in read([line], {}).samples:
                retried[sample.pool] += [sample] * int(found.group(1))
    rest: Counter[Server] = Counter()
    for (pool, backend), count in owed.items():
        told, retried[pool] = retried[pool][:count], retried[pool][count:]
        samples += [
            replace(s, backend=backend, status=0, connect_time_s=None, header_time_s=None, final=False, cut=False)
            for s in told
        ]
        if len(told) < count:
            rest[pool, backend] = min(count - len(told), _OWED_LIMIT)
    return samples, rest, parsed.garbage
