"""What Prometheus is told of the server: the scene that the console draws, and figures of this process. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from backstay import __version__
from backstay.change import ChangeKind
from backstay.exposition import Family, counter, gauge, one, summary
from backstay.server.model import AgentRecord
from backstay.server.views.attention import Item
from backstay.server.views.scene import Scene
from backstay.server.views.scene.words import Tone


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Of this process, at this moment."""

    started_at: float  # since the epoch
    resident_bytes: int
    database_s: float | None  # how long it took to ask it; None: it did not answer
    journal: int | None  # number of the newest event; None: the database did not answer
    polls: int  # agents that wait here
    listeners: int  # of the stream
    runs: int  # configuration runs that this process carries out
    under_way: int  # requests
    ended: Mapping[tuple[str, str, int], int]  # requests by method, route, status
    taken_s: Mapping[str, float]  # by route


def families(scene: Scene, attention: Sequence[Item], figures: Figures) -> Iterable[Family]:
    """`attention`: what needs a person, of that scene."""
    yield from _process(scene, figures)
    yield from _desired(scene, attention)
    yield from _agents(scene)
    yield from _requests(figures)


def _process(scene: Scene, figures: Figures) -> Iterable[Family]:
    estate = scene.snapshot.estate.estate if scene.snapshot.estate is not None else ""
    labels = ["version", "estate", "server"]
    values = [__version__, estate, scene.snapshot.server]
    yield gauge("backstay_server_info", "The server; always 1.", labels, [(values, 1.0)])
    yield one("backstay_server_start_time_seconds", "When this process started, since the epoch.", figures.started_at)
    text = "Resident memory of this process."
    yield one("backstay_server_resident_memory_bytes", text, figures.resident_bytes)
    text = "Things that are wrong with the server itself (the console says which)."
    yield one("backstay_server_trouble", text, len(scene.snapshot.trouble))
    yield one("backstay_server_database_up", "1 when the database answers.", figures.database_s is not None)
    if figures.database_s is not None:
        yield one("backstay_server_database_answer_seconds", "How long the database took just now.", figures.database_s)
    if figures.journal is not None:
        yield one("backstay_server_journal_events", "Events in the journal.", figures.journal)
    yield one("backstay_server_long_polls", "Agents whose long polls this process holds.", figures.polls)
    yield one("backstay_server_stream_listeners", "Who listens to the stream of this process.", figures.listeners)
    yield one("backstay_server_runs_under_way", "Puppet runs that this process carries out.", figures.runs)


def _desired(scene: Scene, attention: Sequence[Item]) -> Iterable[Family]:
    snapshot = scene.snapshot
    yield one("backstay_server_revision", "Revision of what is desired.", snapshot.revision)
    number = snapshot.adopted.number if snapshot.adopted is not None else 0
    yield one("backstay_server_estate_number", "Number of the estate in force; 0: none yet.", number)
    kinds = Counter(change.kind for change in snapshot.changes)
    in_force = [([kind.value], float(kinds[kind])) for kind in ChangeKind]
    yield gauge("backstay_server_changes_in_force", "Transient changes in force, of one node each.", ["kind"], in_force)
    waiting = sum(order.outcome is None and order.expires_at > scene.now for order in snapshot.orders)
    yield one("backstay_server_orders_waiting", "Orders whose outcome is not known yet.", waiting)
    tones = Counter(item.tone for item in attention)
    text = "Entries of the console's list of what needs a person."
    samples = [([tone.value], float(tones[tone])) for tone in (Tone.WARN, Tone.BAD)]
    yield gauge("backstay_server_attention_items", text, ["tone"], samples)


def _agents(scene: Scene) -> Iterable[Family]:
    """Of those that are enrolled and not revoked."""
    agents = {lb: one for lb, one in sorted(scene.snapshot.agents.items()) if one.revoked_at is None}
    connected = [([lb], float(scene.connected(lb))) for lb in agents]
    text = "1 when the agent of this load balancer was heard of lately."
    yield gauge("backstay_server_agent_connected", text, ["lb"], connected)
    followed = [([lb], float(one.report.revision)) for lb, one in agents.items() if one.report is not None]
    yield gauge("backstay_server_agent_revision", "Revision that it followed last.", ["lb"], followed)
    newest = scene.snapshot.revision
    text = "Revisions that it has yet to follow."
    behind = [(labels, float(max(0, newest - int(revision)))) for labels, revision in followed]
    yield gauge("backstay_server_agent_behind_revisions", text, ["lb"], behind)
    text = "How old its newest report is."
    yield gauge("backstay_server_agent_report_age_seconds", text, ["lb"], _ages(scene, agents))


def _ages(scene: Scene, agents: Mapping[str, AgentRecord]) -> list[tuple[list[str], float]]:
    return [
        ([lb], max(0.0, (scene.now - one.reported_at).total_seconds()))
        for lb, one in agents.items()
        if one.reported_at is not None
    ]


def _requests(figures: Figures) -> Iterable[Family]:
    yield one("backstay_server_requests_under_way", "Requests that have begun and not ended.", figures.under_way)
    ended = [
        ([method, route, str(status)], float(count)) for (method, route, status), count in sorted(figures.ended.items())
    ]
    text = "Requests that ended; status 0: the client went before."
    yield counter("backstay_server_requests", text, ["method", "route", "status"], ended)
    counts: Counter[str] = Counter()
    for (_, route, _), count in figures.ended.items():
        counts[route] += count
    taken = [([route], counts[route], taken_s) for route, taken_s in sorted(figures.taken_s.items())]
    yield summary("backstay_server_request_seconds", "How long they took; long polls wait.", ["route"], taken)
