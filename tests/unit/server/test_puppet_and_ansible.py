"""One composed state in the words of Puppet and of Ansible."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner
from view_scenes import a_change, a_scene

from access_rig import an_app
from backstay.change import ChangeInvalid, ChangeKind
from backstay.change.parameter import check_parameter
from backstay.cli.main import app
from backstay.server.model import Role
from backstay.server.views.composed import node_state
from backstay.server.views.outside import ansible, node_named, puppet
from backstay.server.weigh import Asked
from server_rig import ALICE, EXAMPLES

ESTATE = EXAMPLES / "serverdensity.yaml"
INVENTORY = Path(__file__).parents[3] / "integrations" / "ansible" / "backstay"


def a_parameter(name: str, value: Any, node: str = "web2") -> Any:
    return a_change(
        node, ChangeKind.PARAMETER, parameter=name, value=value, id=f"{name}-{node}", batch=f"{name}-{node}"
    )


def classified(*changes: Any, node: str = "web2") -> dict[str, Any]:
    return puppet.classified(node_state(a_scene(changes=changes), node))


def test_a_node_has_what_the_estate_says_of_it_and_no_classes() -> None:
    found = classified()
    assert found["classes"] == {}
    assert "environment" not in found
    backstay = found["parameters"]["backstay"]
    assert (backstay["zone"], backstay["region"], backstay["provider"]) == ("wdc01", "washington", "softlayer")
    assert backstay["clusters"] == ["web"]
    assert backstay["paths"] == ["power-b", "switch-2"]
    assert backstay["in_service"] is True
    assert classified(node="lb3")["parameters"]["backstay"]["global_ips"] == ["www", "www-tor"]


def test_parameters_are_variables_hieras_values_and_the_environment() -> None:
    given = {"greeting": "hello", "nginx::workers": 4, "environment": "canary"}
    found = classified(*(a_parameter(name, value) for name, value in given.items()))
    assert found["environment"] == "canary"
    assert found["parameters"]["greeting"] == "hello"
    assert "environment" not in found["parameters"] and "nginx::workers" not in found["parameters"]
    assert found["parameters"]["backstay"]["parameters"] == given


def test_a_drained_node_is_out_of_service_for_all_readers() -> None:
    drain = a_change("web2", ChangeKind.DRAIN)
    assert classified(drain)["parameters"]["backstay"]["in_service"] is False
    state = node_state(a_scene(changes=[drain]), "web2")
    assert "backstay_out_of_service" in ansible.groups_of(state)


@pytest.mark.parametrize(
    ("name", "value"), [("backstay", 1), ("trusted", 1), ("facts", 1), ("environment", "No Such"), ("environment", 3)]
)
def test_what_would_break_a_nodes_catalogue_is_not_taken(name: str, value: Any) -> None:
    with pytest.raises(ChangeInvalid):
        check_parameter(name, value)


def test_a_certname_is_the_node_of_its_first_label() -> None:
    assert [node_named(name) for name in ("web2", "web2.example.com", "WEB2.Example.com")] == ["web2"] * 3


# --- the commands -------------------------------------------------------------------------------------------------


def test_the_commands_work_from_the_estate_file_alone() -> None:
    ran = CliRunner().invoke(app, ["enc", "web2.example.com", "-e", str(ESTATE)])
    assert ran.exit_code == 0, ran.output
    assert yaml.safe_load(ran.stdout)["parameters"]["backstay"]["node"] == "web2"
    host = json.loads(CliRunner().invoke(app, ["inventory", "--host", "web2", "-e", str(ESTATE)]).stdout)
    assert host["ansible_host"] == "10.1.1.12"


def test_a_node_that_is_not_there_is_an_error_unless_it_may_be_empty() -> None:
    ran = CliRunner().invoke(app, ["enc", "nobody", "-e", str(ESTATE)])
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert 'no node "nobody"' in ran.stderr
    ran = CliRunner().invoke(app, ["enc", "nobody", "-e", str(ESTATE), "--unknown-is-empty"])
    assert yaml.safe_load(ran.stdout) == {"classes": {}, "parameters": {}}


@pytest.mark.parametrize("more", [[], ["--list", "--host", "web2"]])
def test_an_inventory_is_either_all_or_one(more: list[str]) -> None:
    assert CliRunner().invoke(app, ["inventory", *more, "-e", str(ESTATE)]).exit_code == 2


async def test_the_api_says_the_same_with_what_is_in_force(tmp_path: Path) -> None:
    async with an_app(tmp_path) as rig:
        asked = Asked(id="greeting", selector="cluster/web", kind=ChangeKind.PARAMETER, reason="a test",
                      parameter="greeting", value="hello")  # fmt: skip
        assert (await rig.server.put(asked, ALICE)).allowed
        viewer = rig.token("puppet", Role.VIEWER, ["nodes", "inventory"])
        answer = await viewer.get("/api/v1/nodes/web2.example.com/enc")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/yaml")
        assert yaml.safe_load(answer.text)["parameters"]["greeting"] == "hello"
        assert (await viewer.get("/api/v1/nodes/nobody/enc")).status_code == 404
        listed = (await viewer.get("/api/v1/inventory")).json()
        assert listed["_meta"]["hostvars"]["web1"]["greeting"] == {"__ansible_unsafe": "hello"}


# --- the real Ansible ---------------------------------------------------------------------------------------------


def test_ansible_reads_groups_and_carries_out_nothing_that_people_typed(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("ansible-inventory")
    if not program.exists():
        pytest.skip("no ansible-inventory: pip install ansible-core")
    attack = "{{ lookup('pipe', 'echo taken') }}"
    changes = [
        a_parameter("motd", attack),
        a_parameter("deep", {"list": [attack], "{{ key }}": 1}),
        a_parameter("tricky", {"__ansible_vault": "x"}),
        a_parameter("ansible_python_interpreter", "/bin/false"),
        a_parameter("nginx::workers", 4),
        a_change("web3", ChangeKind.MAINTENANCE),
    ]
    scene = a_scene(changes=changes)
    listed = ansible.inventory(node_state(scene, node) for node in scene.estate.nodes)
    (tmp_path / "list.json").write_text(json.dumps(listed))
    script = tmp_path / "inventory"
    script.write_text(f"#!/bin/sh\ncat {tmp_path}/list.json\n")
    script.chmod(0o755)
    read = json.loads(_ansible(program, tmp_path, "-i", str(script), "--list", "--export"))
    assert set(read["zone_wdc04"]["hosts"]) >= {"web3", "lb3"}
    assert read["cluster_web"]["hosts"] == [f"web{number}" for number in range(1, 9)]
    assert read["backstay_maintenance"]["hosts"] == ["web3"]
    assert "web2" in read["path_wdc01__power_b"]["hosts"]
    mine = read["_meta"]["hostvars"]["web2"]
    assert mine["ansible_host"] == "10.1.1.12"
    assert mine["nginx__workers"] == 4
    assert "ansible_python_interpreter" not in mine
    assert mine["backstay"]["parameters"]["ansible_python_interpreter"] is not None
    shown = _ansible(
        program.with_name("ansible"), tmp_path, "web2", "-i", str(script), "-c", "local", "-m", "debug",
        "-a", "msg={{ motd }}/{{ deep | string }}",
    )  # fmt: skip
    assert "lookup('pipe'" in shown
    assert "taken" not in shown.replace(attack, "").replace("echo taken", "")


def test_the_script_of_integrations_is_an_inventory(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("ansible-inventory")
    if not program.exists():
        pytest.skip("no ansible-inventory: pip install ansible-core")
    graph = _ansible(program, tmp_path, "-i", str(INVENTORY), "--graph", "region_toronto")
    assert "web8" in graph and "web1" not in graph


def _ansible(program: Path, folder: Path, *argv: str) -> str:
    own = {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "ANSIBLE_LOCAL_TEMP": str(folder / "tmp"),
        "ANSIBLE_NOCOLOR": "1",
        "BACKSTAY_ESTATE": str(ESTATE),
        "LC_ALL": "C.UTF-8",
    }
    done = subprocess.run([str(program), *argv], capture_output=True, text=True, env=own, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ERROR" not in done.stderr, done.stderr
    return done.stdout
