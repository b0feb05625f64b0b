"""An agent's /metrics -> what it counted for each backend, summed over the pools that it is in. Pure."""

from __future__ import annotations

from collections import defaultdict

from backstay.audit.sources.hosts.exposition import read
from backstay.audit.sources.tier.tally import Reading

WORK = "requests_total"  # the unit of work of a cluster behind a pool
ERRORS = "request_errors_total"
SECONDS = "response_seconds_total"  # beside WORK: the mean time to an answer
IN_FLIGHT = "requests_in_flight"

STARTED = "backstay_agent_start_time_seconds"
MEMBERS = "backstay_backend_share"  # every backend of every pool, whether it had a request or not
REQUESTS = "backstay_backend_requests_total"
RESPONSES = "backstay_backend_response_seconds_sum"
FLYING = "backstay_backend_in_flight_requests"
_METRICS = frozenset({STARTED, MEMBERS, REQUESTS, RESPONSES, FLYING})


def reading_of(lb: str, text: str) -> Reading:
    """Raises ValueError for what no agent says."""
    started_s: float | None = None
    counts: defaultdict[tuple[str, str], float] = defaultdict(float)
    gauges: defaultdict[tuple[str, str], float] = defaultdict(float)
    for sample in read(text, _METRICS):
        node, metric = sample.labels.get("backend", ""), sample.metric
        if metric == STARTED:
            started_s = sample.value
        elif metric == MEMBERS:
            for indicator in (WORK, ERRORS, SECONDS):
                counts[node, indicator] += 0.0
        elif metric == REQUESTS:
            counts[node, WORK] += sample.value
            if sample.labels.get("outcome") == "error":
                counts[node, ERRORS] += sample.value
        elif metric == RESPONSES:
            counts[node, SECONDS] += sample.value
        else:
            gauges[node, IN_FLIGHT] += sample.value
    if started_s is None:
        raise ValueError(f"it has no {STARTED}: this is no agent. Which program listens there?")
    return Reading(lb=lb, started_s=started_s, counts=dict(counts), gauges=dict(gauges))
