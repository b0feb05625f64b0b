"""One suite over all fabrics: hosts reach each other, the address moves, faults bite, heal undoes them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from rig import Rig, poll, run

from backstay.lab.keeper.client import call
from backstay.lab.model import LabError

WEB = ("web1", "web2", "web3")


@pytest.fixture(autouse=True)
def healed(rig: Rig) -> Iterator[None]:
    yield
    if rig.heal():
        assert poll(lambda: rig.statuses(*WEB) == [200] * 3), "healed, and yet not as before"


def test_every_host_reaches_every_web_server(rig: Rig) -> None:
    for source in ("witness", "lb1", "web1"):
        assert rig.statuses(*WEB, source=source) == [200] * 3
    assert '"server": "web2"' in rig.web("web2")[0]["body"]


def test_the_health_port_is_not_the_serving_port(rig: Rig) -> None:
    assert rig.web("web1", port=8001)[0]["body"] == "ready\n"


def test_the_global_ip_is_where_the_provider_routes_it(rig: Rig) -> None:
    ip = rig.folder.layout.ips[0]
    port = ip.ports[0]
    for lb in ("lb1", "lb2"):
        address = rig.folder.layout.host(lb).address if ip.address.startswith("127.") else "0.0.0.0"
        control = rig.folder.control / f"{lb}.sock"
        argv = ("-m", "backstay.lab.hosts.web", "--name", lb, "--address", address, f"--serve={port}")
        rig.spawn(lb, "web", *argv, "--control", str(control))
        assert poll(control.exists)
    holders = []
    for lb in ("lb1", "lb2", "lb1"):
        run(call(rig.folder, "route", global_ip="www", host=lb))
        holders.append(json.loads(rig.ask(f"http://{ip.address}:{port}/")[0]["body"])["server"])
    assert holders == ["lb1", "lb2", "lb1"]


def test_an_address_goes_to_candidates_only(rig: Rig) -> None:
    with pytest.raises(LabError, match=r"web1 is no candidate for www\. Candidates: lb1, lb2"):
        run(call(rig.folder, "route", global_ip="www", host="web1"))


def test_a_crashed_host_refuses_until_it_is_healed(rig: Rig) -> None:
    rig.fault("crash", "web1")
    crashed, well = rig.web("web1", "web2")
    assert crashed["body"] == "ConnectionRefusedError"
    assert well["status"] == 200


@pytest.mark.parametrize("fault", ["hang", "isolate"])
def test_a_host_that_hangs_or_is_cut_off_does_not_answer(rig: Rig, fault: str) -> None:
    rig.fault(fault, "web1")
    lost, well = rig.web("web1", "web3")
    assert lost["body"] == "TimeoutError"
    assert well["status"] == 200


def test_a_zone_goes_down_as_one(rig: Rig) -> None:
    rig.fault("zone-down", "wdc01")
    assert rig.statuses("web1", "web3", "web2") == [0, 0, 200]


def test_a_failure_path_takes_what_hangs_on_it(rig: Rig) -> None:
    rig.fault("path-down", "power-a")
    assert rig.statuses("web1", "web3", "web2") == [0, 200, 200]


def test_healing_one_fault_leaves_the_other_in_force(rig: Rig) -> None:
    rig.fault("zone-down", "wdc01")
    rig.fault("isolate", "web1")
    rig.heal("wdc01")
    assert rig.statuses("web3", "web1") == [200, 0]


def test_loss_drops_packets_where_the_fabric_can(rig: Rig) -> None:
    if not rig.can("loss"):
        with pytest.raises(LabError, match="needs network namespaces and the nft program"):
            rig.fault("loss", "web1", 100)
        return
    rig.fault("loss", "web1", 100)
    assert rig.statuses("web1", "web2") == [0, 200]


def test_a_slow_web_server_takes_its_time(rig: Rig) -> None:
    rig.fault("slow", "web1", 100)
    assert rig.web("web1")[0]["took_s"] >= 0.5  # 100 times 5 ms


def test_an_unhealthy_server_still_serves(rig: Rig) -> None:
    rig.fault("unhealthy", "web1")
    assert rig.health("web1") == 503
    assert rig.statuses("web1") == [200]


def test_a_failing_server_still_says_that_it_is_well(rig: Rig) -> None:
    rig.fault("failing", "web1")
    assert rig.health("web1") == 200
    assert rig.statuses("web1") == [500]


def test_a_fault_is_on_disk_while_it_is_in_force(rig: Rig) -> None:
    rig.fault("hang", "web2")
    assert [(fault.kind, fault.name) for fault in rig.folder.faults()] == [("hang", "web2")]
    rig.heal("web2")
    assert rig.folder.faults() == ()


def test_a_fault_on_nothing_says_what_there_is(rig: Rig) -> None:
    with pytest.raises(LabError, match=r'"web9" is no host of this lab\. There are: lb1, lb2, queue1'):
        rig.fault("crash", "web9")
    assert rig.folder.faults() == ()
