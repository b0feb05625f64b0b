"""Pools, nodes, addresses, changes, the journal: what their pages say."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from view_scenes import LBS, a_change, a_scene, altered, an_event, as_told, estate_of

from backstay.change import ChangeKind, EndedBy
from backstay.journal.model import Event
from backstay.server.model import EndedChange
from backstay.server.views import balance, changes, failover, journal, nodes
from backstay.server.views.agents import agents
from backstay.server.views.estate import LINES, lines
from backstay.server.views.scene import Memo
from backstay.server.views.scene.paging import ROWS, page_of
from backstay.server.views.scene.words import Tone
from server_agents import NOW, report_for

# --- balance -----------------------------------------------------------------------------------------------------


def test_a_backend_that_is_down_on_one_load_balancer_says_on_which() -> None:
    scene = a_scene(reports={"lb2": report_for(estate_of(), "lb2", down={"web1"})})
    (row,) = [one for one in balance.pool_page(scene, "web").backends if one.node == "web1"]
    assert (row.standing.word, row.standing.tone) == ("active on 5 of 6", Tone.WARN)
    assert row.why.startswith("down on lb2")


def test_a_pool_sums_what_is_in_flight_and_shows_the_worst_percentile() -> None:
    (row,) = balance.pools(a_scene(in_flight=3), ["web"])
    assert (row.in_flight, row.p95_ms, row.active, row.backends, row.needed) == (3 * 8 * 6, 61.0, 8, 8, 4)


def test_load_balancers_that_are_not_heard_do_not_count() -> None:
    (row,) = balance.pools(a_scene(silent=["lb1", "lb2"], in_flight=1), ["web"])
    assert (row.in_flight, row.silent) == (8 * 4, ("lb1", "lb2"))


def test_what_matters_most_comes_first() -> None:
    assert balance.pool_page(a_scene(down={"web7"}), "web").backends[0].node == "web7"


def test_a_node_tells_who_falls_with_its_failure_paths() -> None:
    assert balance.node_page(a_scene(), "web2").shares_fate == "power-b: lb2, queue2; switch-2: lb2, queue2"


def test_nodes_are_found_by_name_zone_cluster_and_state() -> None:
    scene = a_scene(down={"web5"})
    assert [row.node for row in nodes.rows(scene, nodes.NodeFilter(zone="wdc01", cluster="web"))] == ["web1", "web2"]
    assert [row.node for row in nodes.rows(scene, nodes.NodeFilter(state="bad"))] == ["web5"]
    assert [row.node for row in nodes.rows(scene, nodes.NodeFilter(text="10.2.1.14"))] == ["web8"]


def test_who_looks_within_a_second_sees_the_same_scene_unless_something_altered() -> None:
    memo, snapshot = Memo(), a_scene().snapshot
    scene = memo.scene(snapshot, NOW)
    assert memo.scene(snapshot, NOW + timedelta(seconds=0.9)) is scene
    assert memo.scene(replace(snapshot, revision=2), NOW).snapshot.revision == 2
    assert memo.scene(snapshot, NOW + timedelta(seconds=1)).now == NOW + timedelta(seconds=1)


def test_a_page_beyond_the_end_is_the_last_one() -> None:
    paged = page_of(list(range(250)), 99, "/nodes", {"zone": "a", "text": ""})
    assert (paged.rows[0], len(paged.rows), paged.before, paged.after) == (200, 50, "/nodes?zone=a&page=2", "")
    assert paged.words == "201 to 250 of 250"


# --- load balancers ------------------------------------------------------------------------------------------------


def test_an_agent_that_follows_an_older_revision_is_behind() -> None:
    scene = a_scene(revision=5, reports={"lb1": report_for(estate_of(), "lb1", revision=3)})
    (row,) = [one for one in agents(scene) if one.lb == "lb1"]
    assert (row.standing.word, row.why) == ("behind", "2 revisions behind")


def test_a_declared_load_balancer_without_an_agent_is_listed() -> None:
    scene = a_scene()
    some = {lb: record for lb, record in scene.snapshot.agents.items() if lb != "lb4"}
    row = agents(replace(scene, snapshot=replace(scene.snapshot, agents=some)))[0]
    assert (row.lb, row.standing.word) == ("lb4", "not enrolled")


# --- failover -------------------------------------------------------------------------------------------------------


def test_the_holder_is_the_newest_word_of_a_connected_candidate() -> None:
    later = report_for(estate_of(), "lb1", owners={"www": "lb1"}, at=NOW + timedelta(hours=1))
    scene = a_scene(owners={"www": "lb2"}, reports={"lb1": later}, silent=["lb1"])
    address = failover.address(scene, "www")
    assert (address.holder, address.by in LBS[1:4]) == ("lb2", True)
    assert address.candidates[0].stale


def test_nobody_heard_means_that_the_holder_is_not_known() -> None:
    scene = a_scene()
    unheard = replace(scene, said={}, fresh={})
    address = failover.address(unheard, "www")
    assert (address.known, address.holder, address.tone) == (False, None, Tone.BAD)


def test_evidence_is_that_of_the_last_suspicion_alone() -> None:
    def point(of: str, ago_s: float) -> dict[str, object]:
        return {"of": of, "ago_s": ago_s, "death": "host", "silent_s": 1.0, "patience_s": 2.0, "log_likelihood": 6.0,
                "threshold": 12.0, "convincing": False}  # fmt: skip

    (ip,) = report_for(estate_of(), "lb2").ips
    trace = [point("lb4", 9.0), point("lb1", 3.0), point("lb1", 2.5)]
    page = failover.address_page(a_scene(reports=altered("lb2", ips=[{**ip, "trace": trace}])), "www")
    assert page.by == "lb2"
    assert page.trace is not None and page.trace.of == "lb1"
    assert [(one.seconds, one.evidence_part, one.silence_part) for one in page.trace.points] == [
        (0.0, 0.5, 0.5),
        (0.5, 0.5, 0.5),
    ]


def test_probes_are_drawn_as_marks_in_runs() -> None:
    runs = failover.strip(["answered", "answered", "timed_out", "refused", "not_sent"])
    assert [(run.tone, run.marks) for run in runs] == [("ok", "||"), ("bad", "xr"), ("idle", "?")]


@pytest.mark.parametrize(
    ("told", "to", "words"),
    [
        ({}, "lb1", "lb1 holds www already."),
        ({"silent": ["lb3"]}, "lb3", "The agent of lb3 is not connected: nobody would carry it out."),
        ({"owners": {"www": "lb2"}, "quarantined": {"www": NOW.isoformat()}}, "lb1", "lb1 is quarantined. Rearm it first."),  # noqa: E501
    ],
)  # fmt: skip
def test_a_move_that_the_agent_would_refuse_is_refused_by_the_plan(told: dict, to: str, words: str) -> None:  # type: ignore[type-arg]
    plan = failover.move_plan(a_scene(**told), "www", to)
    assert (Tone.BAD, words) in [(one.tone, one.words) for one in plan]


def test_a_move_out_of_the_zone_says_so_and_who_is_not_told() -> None:
    plan = failover.move_plan(a_scene(silent=["lb2"]), "www", "lb3")
    words = " ".join(one.words for one in plan)
    assert "lb2: not connected, and not told." in words
    assert "It leaves the zone: from lb1 to lb3 in wdc04." in words
    assert all(one.tone is not Tone.BAD for one in plan)


# --- changes --------------------------------------------------------------------------------------------------------


def test_what_was_asked_for_in_one_go_is_one_row() -> None:
    zone = [a_change(node, batch="batch-0001", selector="zone/wdc01") for node in ("web1", "web2")]
    (row,) = changes.in_force(a_scene(changes=zone))
    assert (row.selector, row.nodes, row.of) == ("zone/wdc01", ("web1", "web2"), 2)


def test_a_drain_is_proven_when_every_load_balancer_has_proven_it() -> None:
    drain = a_change("web2")
    page = changes.batch_page(a_scene(changes=[drain], reports=as_told(drain, LBS)), drain.batch)
    assert page is not None
    (node,) = page.nodes
    assert (node.proven.word if node.proven else "", node.in_flight_at_start, node.finished, node.lost) == (
        "proven",
        24,
        24,
        0,
    )
    assert (
        page.sentence
        == "In force on 6 of 6 load balancers. 0 requests cut or refused. Proven: nothing is in flight any more."
    )


def test_a_drain_that_a_load_balancer_has_not_followed_is_not_proven() -> None:
    drain = a_change("web2")
    page = changes.batch_page(a_scene(changes=[drain], reports=as_told(drain, LBS[:5])), drain.batch)
    assert page is not None
    (node,) = page.nodes
    assert [arrival.standing.word for arrival in node.arrivals] == ["in force"] * 5 + ["not yet"]
    assert node.proven is not None and node.proven.tone is not Tone.OK


def test_an_ended_change_says_by_whom_and_leaves_the_list_of_those_in_force() -> None:
    over = EndedChange(by=EndedBy.UNDONE, at=NOW, actor="bob", reason="kernel is there")
    scene = a_scene(ended=[a_change("web2", ended=over)])
    assert changes.in_force(scene) == []
    page = changes.batch_page(scene, "change-drain-web2")
    assert page is not None and page.sentence == "It is over: undone by bob (kernel is there)."


def test_a_change_that_somebody_put_at_a_load_balancer_is_shown_apart() -> None:
    scene = a_scene(reports=as_told(a_change("web2"), ("lb1", "lb2")))
    (row,) = changes.local(scene)
    assert (row.change.node, row.on) == ("web2", ("lb1", "lb2"))


def test_a_parameter_reaches_no_load_balancer() -> None:
    change = a_change("web2", ChangeKind.PARAMETER, parameter="workers", value=8)
    page = changes.batch_page(a_scene(changes=[change]), change.batch)
    assert page is not None and page.nodes[0].arrivals == ()
    assert "Puppet" in page.sentence


# --- journal --------------------------------------------------------------------------------------------------------


def _paged(events: list[Event]) -> list[str]:
    """Every id, page by page, as a browser follows `older`."""
    from urllib.parse import parse_qs, urlsplit

    from backstay.journal import parse_time

    found: list[str] = []
    search, until = journal.Search(), None
    while True:
        left = [one for one in events if until is None or one.time < until][search.skip : search.skip + ROWS + 1]
        page = journal.journal_page(search, left, until)
        found += [entry.id for entry in page.entries]
        if not page.older:
            return found
        query = parse_qs(urlsplit(page.older).query)
        until = parse_time(query["until"][0])
        search = journal.Search(until=query["until"][0], skip=int(query["skip"][0]))


def test_pages_of_the_journal_show_every_event_once_also_of_one_moment() -> None:
    moments = [NOW] * 90 + [NOW - timedelta(seconds=1)] * 250 + [NOW - timedelta(seconds=2)] * 3
    events = [an_event(number, "change.put", "node/web2", at=at) for number, at in enumerate(moments)]
    assert _paged(events) == [one.id for one in events]


def test_an_entry_leads_to_what_it_is_about() -> None:
    entry = journal.entry(an_event(1, "drain.started", "node/web2", data={"change": "change-0001"}))
    assert (entry.href, entry.changes) == ("/nodes/web2", "/changes/change-0001")
    assert journal.entry(an_event(1, "user.added", "user/bob")).href == ""


# --- estate ---------------------------------------------------------------------------------------------------------


def test_lines_are_numbered_through_the_pages_and_parted_for_their_colours() -> None:
    text = "\n".join(["estate: small  # mine", *(f"  n{n}: {{zone: z}}" for n in range(LINES))])
    first, second = lines(text, 1), lines(text, 2)
    assert (first.rows[0].key, first.rows[0].rest, first.rows[0].comment) == ("estate:", " small ", " # mine")
    assert [line.number for line in second.rows] == [LINES + 1]
    assert "".join((second.rows[0].indent, second.rows[0].key, second.rows[0].rest)) == f"  n{LINES - 1}: {{zone: z}}"
