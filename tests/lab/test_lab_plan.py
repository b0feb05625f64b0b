"""The pure part: what is built for an estate, what a fault is made of, and when a demo is all right."""

from __future__ import annotations

from pathlib import Path

import pytest

from backstay.estate import load_file
from backstay.estate.model import Estate
from backstay.lab.demo.verdict import Claim, Row, all_right
from backstay.lab.examples import example_file
from backstay.lab.model import FabricKind, FaultKind, LabError, Layout
from backstay.lab.plan import layout as layouts
from backstay.lab.plan.faults import Fault, Verb, plan_fault, undo_of

SMALL = load_file(Path(__file__).parent / "small.yaml").estate
EVERYTHING = frozenset(Verb)
PROCESSES_ONLY = EVERYTHING - {Verb.LINK_DOWN, Verb.LINK_UP, Verb.LOSS, Verb.DELAY}


@pytest.fixture
def layout() -> Layout:
    return layouts.layout_of(SMALL, layouts.WITNESS_ADDRESS)


def test_a_layout_knows_what_runs_where(layout: Layout) -> None:
    assert layout.load_balancers == ("lb1", "lb2")
    assert [(server.host, server.serve, server.health) for server in layout.web] == [
        (host, (8000,), (8001,)) for host in ("web1", "web2", "web3")
    ]
    assert layout.queue == ("queue1", "queue2")
    assert layout.host("witness").zone == "internet"


def test_a_cluster_that_nobody_balances_has_three_versions_of_a_cpu_and_all_others_one() -> None:
    estate = load_file(example_file()).estate
    machines = {machine.name: machine for machine in layouts.layout_of(estate, layouts.WITNESS_ADDRESS).machines}
    assert machines.keys() == estate.nodes.keys()
    assert [str(machines[f"queue{number}"].cpu) for number in (1, 2, 3, 4)] == ["V1", "V2", "V2", "V3"]
    assert {str(machine.cpu) for name, machine in machines.items() if not name.startswith("queue")} == {"V2"}
    assert (machines["queue3"].work, machines["web8"].work) == ("messages", "http_requests")
    assert (machines["queue3"].switch, machines["web8"].seat, machines["lb1"].cluster) == ("switch-3", 7, "")


def test_the_audit_of_a_lab_looks_at_the_labs_own_machines() -> None:
    theirs = {
        "facts": [{"kind": "ssh", "user": "backstay", "known_hosts": "theirs"}],
        "indicators": [{"kind": "prometheus", "url": "http://prometheus.example.com"}],
        "limits": {"load": 12.0},
    }
    declared = SMALL.model_validate(SMALL.model_dump(mode="json", exclude_unset=True) | {"audit": theirs})
    nodes, ips = layouts.declared_addresses(declared)
    data = layouts.lab_estate(declared, FabricKind.NAMESPACES, nodes, ips, "/labs/one")
    audit = Estate.model_validate(data).audit
    assert [(source.kind, source.settings["path"]) for source in audit.facts] == [("facter", "/labs/one/facts")]
    assert [(source.kind, source.settings["port"]) for source in audit.indicators] == [("exporter", layouts.NODE_PORT)]
    assert audit.limits == {"load": 12.0}
    assert "example.com" not in str(data["audit"])


def test_a_global_ip_knows_its_ports_and_how_a_user_reaches_it(layout: Layout) -> None:
    (www,) = layout.ips
    assert (www.ports, www.candidates) == ((80, 443), ("lb1", "lb2"))
    assert www.front is not None
    assert (www.front.hostname, www.front.port, www.front.tls) == ("app.example.com", 443, True)


def test_the_lab_never_uses_the_secrets_of_the_estate() -> None:
    nodes, ips = layouts.declared_addresses(SMALL)
    data = layouts.lab_estate(SMALL, FabricKind.NAMESPACES, nodes, ips)
    assert data["providers"]["softlayer"]["api_key"] == {"file": layouts.SECRET_FILE}
    tls = data["services"]["app"]["tls"]
    assert (tls["certificate"], tls["key"]) == ("tls/app.crt", {"file": "tls/app.key"})


def test_in_namespaces_the_addresses_are_the_estates_own() -> None:
    nodes, ips = layouts.declared_addresses(SMALL)
    data = layouts.lab_estate(SMALL, FabricKind.NAMESPACES, nodes, ips)
    assert data["nodes"]["web2"]["address"] == "10.1.4.11"
    assert "listen" not in data["tiers"]["one"]


def test_on_loopback_addresses_and_ports_need_no_privilege() -> None:
    nodes, ips = layouts.loopback_addresses(SMALL, 64)
    data = layouts.lab_estate(SMALL, FabricKind.LOOPBACK, nodes, ips)
    addresses = [node["address"] for node in data["nodes"].values()]
    assert len(set(addresses)) == len(addresses)
    assert all(address.startswith("127.64.") for address in addresses)
    assert data["tiers"]["one"]["listen"] == "node"
    assert data["services"]["app"]["https_port"] == 8443
    assert data["pools"]["web"]["port"] == 8000


def test_the_example_of_the_demo_is_there() -> None:
    estate = load_file(example_file()).estate
    assert (len(estate.nodes), len(estate.tiers)) == (18, 3)


def test_a_zone_that_goes_down_takes_its_hosts_and_no_other(layout: Layout) -> None:
    steps = plan_fault(FaultKind.ZONE_DOWN, "wdc04", None, layout, EVERYTHING)
    assert [(step.do.verb, step.do.host) for step in steps] == [
        (Verb.LINK_DOWN, host) for host in ("lb2", "web2", "queue2")
    ]


def test_without_links_a_host_is_cut_off_by_stopping_it(layout: Layout) -> None:
    (step,) = plan_fault(FaultKind.ISOLATE, "web1", None, layout, PROCESSES_ONLY)
    assert (step.do.verb, step.undo.verb) == (Verb.STOP, Verb.CONTINUE)


def test_a_heal_keeps_what_another_fault_still_asks_for(layout: Layout) -> None:
    zone = Fault(
        id=1,
        kind=FaultKind.ZONE_DOWN,
        name="wdc04",
        steps=plan_fault(FaultKind.ZONE_DOWN, "wdc04", None, layout, EVERYTHING),
    )
    host = Fault(
        id=2,
        kind=FaultKind.ISOLATE,
        name="web2",
        steps=plan_fault(FaultKind.ISOLATE, "web2", None, layout, EVERYTHING),
    )
    assert [action.host for action in undo_of(zone, [host])] == ["queue2", "lb2"]
    assert [action.host for action in undo_of(zone, [])] == ["queue2", "web2", "lb2"]


@pytest.mark.parametrize(
    ("kind", "name", "amount", "can", "said"),
    [
        (FaultKind.CRASH, "web9", None, EVERYTHING, "is no host of this lab"),
        (FaultKind.CRASH, "witness", None, EVERYTHING, "is no host of this lab"),
        (FaultKind.ZONE_DOWN, "internet", None, EVERYTHING, "is no zone of this lab"),
        (FaultKind.PATH_DOWN, "power-z", None, EVERYTHING, "is no failure path of this lab"),
        (FaultKind.HANG, "web1", 3.0, EVERYTHING, "takes no amount"),
        (FaultKind.LOSS, "web1", 101.0, EVERYTHING, "at most 100"),
        (FaultKind.LOSS, "web1", 20.0, PROCESSES_ONLY, "needs network namespaces and the nft program"),
        (FaultKind.SLOW, "lb1", 50.0, PROCESSES_ONLY, "needs the netem queue discipline"),
        (FaultKind.SLOW, "web1", 0.0, EVERYTHING, "above 0"),
        (FaultKind.UNHEALTHY, "lb1", None, EVERYTHING, "works on the lab's web servers only"),
    ],
)
def test_a_fault_that_cannot_be_says_why(
    layout: Layout, kind: FaultKind, name: str, amount: float | None, can: frozenset[Verb], said: str
) -> None:
    with pytest.raises(LabError, match=said):
        plan_fault(kind, name, amount, layout, can)


def row(**changed: object) -> Row:
    good: dict[str, object] = {
        "chapter": "drain",
        "engine": "nginx 1.31.3",
        "via": "www",
        "requests": 1000,
        "lost": 0,
        "wrong": 0,
        "errors": 0,
        "downtime_s": 0.0,
        "latency_ms_p99": 12.0,
        "proof": "0 cut",
        "proven": True,
    }
    return Row(**(good | changed))  # type: ignore[arg-type]


def test_a_demo_without_rows_has_shown_nothing() -> None:
    assert not all_right([])


def test_claims_do_for_rows_and_one_that_is_wrong_fails_the_demo() -> None:
    said = {
        "about": "load of queue",
        "asked": "explain",
        "claimed": "the CPU",
        "grade": "consistent",
        "truth": "the CPU",
    }
    right, wrong = (Claim(**said, passed=passed, took_s=0.123) for passed in (True, False))
    assert all_right([right])
    assert not all_right([row(), right, wrong])
    assert (right.as_data()["verdict"], wrong.as_data()["verdict"], right.as_data()["took_s"]) == ("ok", "FAILED", 0.12)


def test_one_row_that_failed_fails_the_demo() -> None:
    assert all_right([row(), row()])
    for fault in ({"lost": 1}, {"wrong": 1}, {"errors": 1}, {"requests": 0}, {"proven": False}):
        assert not all_right([row(), row(**fault)])
