"""What the agent knows, for Prometheus; and whether it is healthy. Read at the moment of the scrape, kept nowhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from backstay import __version__
from backstay.agent.control.views import Views
from backstay.agent.loops.supervise import Loop
from backstay.agent.loops.traffic import Traffic
from backstay.agent.world import World
from backstay.balance.model import BackendState
from backstay.exposition import CONTENT_TYPE, Family, counter, gauge, one, render, summary
from backstay.link.views import StatusView

__all__ = ["CONTENT_TYPE", "Metrics"]


class Metrics:
    def __init__(
        self,
        world: World,
        views: Views,
        loops: Sequence[Loop],
        probes: Mapping[str, int],
        traffic: Traffic,
    ) -> None:
        """`probes`: by outcome, since the start."""
        self._world = world
        self._views = views
        self._loops = loops
        self._probes = probes
        self._traffic = traffic
        self._started_s = time.monotonic()

    def render(self) -> bytes:
        """The text exposition format."""
        return render(self.collect())

    def faults(self) -> list[str]:
        """Why the agent is not healthy; empty when it is."""
        now_s = time.monotonic()
        faults = [
            f"the loop {loop.name} does not turn{': ' if loop.error else ''}{loop.error}"
            for loop in self._loops
            if loop.late(now_s, self._started_s)
        ]
        if not self._world.running.up:
            faults.append(f"the engine is not up{': ' if self._world.running.error else ''}{self._world.running.error}")
        return faults

    def collect(self) -> Iterable[Family]:
        status = self._views.status()
        yield from self._agent(status)
        yield from self._engine(status)
        yield from self._backends()
        yield from self._server(status)
        yield from self._rest(status)

    def _agent(self, status: StatusView) -> Iterable[Family]:
        labels = ["lb", "tier", "estate", "version"]
        values = [status["lb"], status["tier"], status["estate"], __version__]
        yield gauge("backstay_agent_info", "The agent; always 1.", labels, [(values, 1.0)])
        started = self._world.started_at.timestamp()
        yield one("backstay_agent_start_time_seconds", "When the agent started, since the epoch.", started)
        resident = self._world.resident_bytes()
        yield one("backstay_agent_resident_memory_bytes", "Resident memory of the agent.", resident)
        yield one("backstay_agent_warnings", "Things that need a person (see status).", len(status["warnings"]))
        turns, failed = [([loop.name], float(loop.turns)) for loop in self._loops], []
        failed = [([loop.name], float(loop.failed)) for loop in self._loops]
        yield counter("backstay_agent_loop_turns", "Turns that a loop of the agent took.", ["loop"], turns)
        yield counter("backstay_agent_loop_failures", "Turns of a loop that failed or hung.", ["loop"], failed)

    def _engine(self, status: StatusView) -> Iterable[Family]:
        engine, running = status["engine"], self._world.running
        labels, values = ["engine", "version", "origin"], [engine["kind"], engine["version"], engine["origin"]]
        yield gauge("backstay_engine_info", "The engine's binary; always 1.", labels, [(values, 1.0)])
        yield one("backstay_engine_up", "1 when the engine runs and answers.", engine["running"])
        yield one("backstay_engine_in_sync", "1 when what runs is what is desired.", status["in_sync"])
        if engine["client_connections"] is not None:
            connections = engine["client_connections"]
            yield one("backstay_engine_client_connections", "Client connections at this moment.", connections)
        applies = [([how], float(count)) for how, count in sorted(running.applies.items())]
        text = "Applies of a configuration: nothing, runtime, reload, start or failed."
        yield counter("backstay_engine_applies", text, ["how"], applies)
        text = "Times that a dead engine was brought back."
        yield counter("backstay_engine_restarts", text, [], [([], float(running.restarts))])
        yield one(
            "backstay_engine_last_apply_success", "0 when the last apply was refused or failed.", not running.error
        )
        if running.at is not None:
            text = "When a configuration was applied last, since the epoch."
            yield one("backstay_engine_last_apply_timestamp_seconds", text, running.at.timestamp())

    def _backends(self) -> Iterable[Family]:
        labels = ["pool", "backend"]
        members = [(pool["pool"], member) for pool in self._views.pools() for member in pool["members"]]
        states = [
            ([pool, member["backend"], state.value], float(member["state"] == state.value))
            for pool, member in members
            for state in BackendState
        ]
        yield gauge("backstay_backend_state", "1 for the state that a backend is in.", [*labels, "state"], states)
        shares = [([pool, member["backend"]], member["share"]) for pool, member in members]
        yield gauge("backstay_backend_share", "Share of the traffic; 1 is a full share.", labels, shares)
        healthy = [([pool, m["backend"]], float(m["health"] in ("up", "probation"))) for pool, m in members]
        yield gauge("backstay_backend_healthy", "1 when its checks and its live traffic are good.", labels, healthy)
        flying = [([pool, m["backend"]], float(m["in_flight"])) for pool, m in members if m["in_flight"] is not None]
        yield gauge("backstay_backend_in_flight_requests", "Requests (TCP: connections) in flight.", labels, flying)
        requests = [
            ([pool, backend, "error" if error else "success"], float(count))
            for (pool, backend, error), count in sorted(self._traffic.requests.items())
        ]
        text = "Requests that ended on a backend, tries counted one by one."
        yield counter("backstay_backend_requests", text, [*labels, "outcome"], requests)
        responses = [
            ([pool, backend], took.count, took.seconds)
            for (pool, backend), took in sorted(self._traffic.responses.items())
        ]
        text = "From sending a request to a backend to the header of its answer."
        yield summary("backstay_backend_response_seconds", text, labels, responses)

    def _server(self, status: StatusView) -> Iterable[Family]:
        """Nothing for an agent that is enrolled with no server."""
        server = status["server"]
        if server is None:
            return
        text = "1 when the server answers, is the right one, and its word is followed."
        yield one("backstay_link_connected", text, server["connected"])
        yield one("backstay_link_revision", "Revision of the server's word that was followed last.", server["revision"])
        text = "Changes of the server's word that are not in force here."
        yield one("backstay_link_refused_changes", text, server["refusals"])
        if server["since"] is not None:
            since = datetime.fromisoformat(server["since"]).timestamp()
            text = "When the link was made or lost last, since the epoch."
            yield one("backstay_link_turned_timestamp_seconds", text, since)

    def _rest(self, status: StatusView) -> Iterable[Family]:
        probes = [([outcome], float(count)) for outcome, count in sorted(self._probes.items())]
        yield counter("backstay_probes", "Health probes by outcome.", ["outcome"], probes)
        yield one("backstay_changes_in_force", "Transient changes in force.", status["changes"])
        yield one("backstay_spool_events", "Events that nobody has collected yet.", status["events_waiting"])
        text = "1 when events reach the disk; 0: they are held in memory."
        yield one("backstay_spool_durable", text, not self._world.record.fault)
        ends = [
            ([service], pair.not_after.timestamp())
            for service, pair in sorted(self._world.certificates.pairs.items())
            if pair.not_after is not None
        ]
        text = "When the certificate in use ends, since the epoch."
        yield gauge("backstay_certificate_not_after_timestamp_seconds", text, ["service"], ends)
