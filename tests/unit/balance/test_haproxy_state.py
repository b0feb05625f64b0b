"""What HAProxy says, read; what is said to it, written."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.balance.engines.haproxy import state
from backstay.balance.engines.haproxy.state import Processes, Server, ServerRow
from backstay.balance.model import Backend, BackendState, Desired, DesiredPool
from backstay.estate.model import Balance, Check, EngineKind, Protocol

COLUMNS = (
    "be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight"
    " srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state"
    " bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr"
    " srv_agent_addr srv_agent_port"
)
ROW = "3 web 1 {name} 10.0.0.{n} {op} {admin} {weight} 64 26 15 3 {health} 6 0 0 0 - 8000 - 0 0 - - 0"
PROCESSES = """\
#<PID>          <type>          <reloads>       <uptime>        <version>
1162            master          5 [failed: 1]   0d00h02m07s     2.8.25
# workers
1271            worker          1               0d00h00m00s     2.8.25
# old workers
1233            worker          3               0d00h00m43s     2.8.25
1240            worker          2               0d00h00m23s     2.8.25
# programs

"""


def servers(*known: dict[str, Any]) -> dict[Server, ServerRow]:
    """Rows as HAProxy dumps them: web1 and web2 with weight 64 and up, but for what `known` says."""
    default = {"op": 2, "admin": 0, "weight": 64, "health": 3}
    rows = [ROW.format(**{**default, "name": f"web{n}", "n": n, **row}) for n, row in enumerate(known, start=1)]
    return state.read_servers("\n".join(["1", f"# {COLUMNS}", *rows, ""]))


def a_desired(*changes: dict[str, Any], **pool: Any) -> Desired:
    """One pool, web, of as many backends as there are `changes`."""
    made = DesiredPool(
        name="web",
        protocol=Protocol.HTTP,
        balance=Balance.LEAST_TIME,
        backends=tuple(
            replace(Backend(name=f"web{n}", address=f"10.0.0.{n}", port=8000), **change)
            for n, change in enumerate(changes, start=1)
        ),
        check=None,
        slow_start_s=0.0,
        connect_timeout_s=2.0,
        response_timeout_s=60.0,
    )
    return Desired(
        estate="e",
        lb="lb1",
        engine=EngineKind.HAPROXY,
        listen=("*",),
        services=(),
        pools=(replace(made, **pool),),
        revision="r",
    )


DRAINED = {"state": BackendState.DRAINING}


def test_the_current_worker_is_told_from_old_ones() -> None:
    assert state.read_processes(PROCESSES) == Processes(current=1271, old=(1233, 1240), reloads=5, failed=1)


def test_a_master_without_workers_has_no_current_one() -> None:
    assert state.read_processes("#<PID> <type>\n7 master 0 [failed: 0] 0d 2.6\n# workers\n# programs\n").current is None


@given(st.text())
@pytest.mark.parametrize("read", [state.read_processes, state.read_servers, state.read_statistics])
def test_garbage_is_a_value_error_or_nothing(read: Any, text: str) -> None:
    try:
        read(text)
    except (ValueError, KeyError, IndexError):
        return
    assert text.startswith(("#<PID>", "1\n# ", "# pxname,"))


def test_statistics_add_a_backend_and_its_twin() -> None:
    text = (
        "# pxname,svname,scur,wretr,wredis,status,\n"
        "http:80,FRONTEND,7,,,OPEN,\n"
        "web,web1,2,1,3,UP,\nweb,web1:open,4,0,0,no check,\nweb,BACKEND,6,,,UP,\n"
    )
    found = state.read_statistics(text)
    assert found.client_connections == 7
    assert found.in_flight == {("web", "web1"): 6}
    assert found.retried == {("web", "web1"): 3}
    assert found.words == {("web", "web1"): "UP"}


def test_old_workers_count_in_what_is_in_flight() -> None:
    head = "# pxname,svname,scur,wretr,wredis,status\n"
    current = state.read_statistics(f"{head}h,FRONTEND,1,,,OPEN\nweb,web1,1,0,0,UP\n")
    old = state.read_statistics(f"{head}h,FRONTEND,2,,,STOP\nweb,web1,5,0,0,UP\ngone,x,1,0,0,UP\n")
    clients, [backend] = state.add_up(current, [old])
    assert (clients, backend.in_flight, backend.engine_state) == (3, 6, "UP")


def test_nothing_is_said_when_nothing_differs() -> None:
    assert state.commands(a_desired({}, {}), servers({}, {})) == []


def test_a_drain_and_a_weight_are_one_command_each() -> None:
    assert state.commands(a_desired(DRAINED, {"share": 0.5}), servers({}, {})) == [
        "set server web/web1 weight 0",
        "set server web/web2 weight 32",
    ]


def test_what_was_forced_by_hand_is_undone() -> None:
    assert state.commands(a_desired({}, {}), servers({"admin": 1}, {"admin": 8})) == [
        "set server web/web1 state ready",
        "set server web/web2 state ready",
    ]


def test_one_that_comes_back_goes_through_slow_start_by_way_of_maintenance() -> None:
    assert state.commands(a_desired({}, slow_start_s=30.0), servers({"weight": 0})) == [
        "set server web/web1 state maint",
        "set server web/web1 weight 64",
        "set server web/web1 state ready",
    ]


def test_one_that_its_checks_hold_down_comes_back_without_being_called_up() -> None:
    assert state.commands(a_desired({}, slow_start_s=30.0), servers({"weight": 0, "op": 0})) == [
        "set server web/web1 weight 64"
    ]


def test_a_twin_has_the_weight_of_its_backend() -> None:
    weights = state.weights(a_desired({"share": 0.5}, DRAINED, check=Check()))
    assert weights == {
        ("web", "web1"): 32,
        ("web", "web1:open"): 32,
        ("web", "web2"): 0,
        ("web", "web2:open"): 0,
    }


def test_many_commands_go_in_lines_that_haproxys_buffer_holds() -> None:
    wanted = [f"set server web/n{number} weight 1" for number in range(120)]
    lines = state.command_lines(7, wanted)
    assert [line.count(";") for line in lines] == [50, 50, 20]
    assert all(line.startswith("@!7; ") and len(line) < 8192 for line in lines)


def carried(desired: Desired, rows: dict[Server, ServerRow]) -> dict[str, dict[str, str]]:
    """Server -> its row in the state file."""
    return {name: dict(row.fields) for (_, name), row in state.read_servers(state.carry_over(desired, rows)).items()}


def test_a_reload_carries_what_checks_know_and_the_desired_weights() -> None:
    rows = servers({"op": 0, "health": 0, "weight": 7}, {"admin": 8})
    found = carried(a_desired({"share": 0.5}, DRAINED, check=Check()), rows)
    assert (found["web1"]["srv_op_state"], found["web1"]["srv_check_health"]) == ("0", "0")
    assert (found["web1"]["srv_uweight"], found["web1"]["srv_iweight"]) == ("32", "32")
    assert (found["web2"]["srv_uweight"], found["web2"]["srv_admin_state"]) == ("0", "0")


def test_one_that_joins_starts_as_down_until_its_checks_pass() -> None:
    found = carried(a_desired({}, {}, {}, check=Check()), servers({}, {}))
    assert found["web3"]["srv_op_state"] == "0"
    assert (found["web3"]["srv_addr"], found["web3"]["srv_port"]) == ("10.0.0.3", "8000")


def test_one_that_moved_to_another_address_is_unchecked_again() -> None:
    found = carried(a_desired({"address": "10.9.9.9"}, check=Check()), servers({}))
    assert (found["web1"]["srv_op_state"], found["web1"]["srv_addr"]) == ("0", "10.9.9.9")


def test_without_checks_nobody_would_ever_call_it_up_so_it_starts_as_up() -> None:
    assert set(carried(a_desired({}, {}, check=None), servers({}))) == {"web1"}


def test_a_pool_that_is_new_as_a_whole_starts_as_up() -> None:
    old = a_desired({}, check=Check())
    new = replace(old, pools=(*old.pools, replace(old.pools[0], name="more")))
    assert {server[0] for server in state.read_servers(state.carry_over(new, servers({})))} == {"web"}


def test_one_that_comes_back_with_the_reload_goes_through_slow_start() -> None:
    found = carried(a_desired({}, slow_start_s=30.0), servers({"weight": 0}))
    assert (found["web1"]["srv_op_state"], found["web1"]["srv_time_since_last_change"]) == ("1", "0")


def test_with_nothing_known_the_state_file_says_nothing() -> None:
    assert state.carry_over(a_desired({}), {}) == state.EMPTY_STATE


def test_drains_before_a_reload_can_be_taken_back() -> None:
    rows = servers({"weight": 12}, {})
    drains = state.drains(a_desired(DRAINED, {"share": 0.5}), rows)
    assert drains == ["set server web/web1 weight 0"]
    assert state.undo(drains, rows) == ["set server web/web1 weight 12"]


LINE = (
    '{"v":1,"engine":"haproxy","time":1732312345123e-3,"id":"i%d","connection":0,"service":"app","route":"\\/r",'
    '"pool":"web","client":"::1","method":"GET","host":"h","uri":"\\/","protocol":"HTTP/1.1","tls":"-","status":200,'
    '"bytes":1,"total":"5","peers":"%s","statuses":"200","connects":"1","headers":"3","times":"5","retries":"%s",'
    '"end":"--"}'
)


def test_a_try_that_failed_is_a_sample_with_the_route_of_a_retried_request() -> None:
    lines = [LINE % (1, "web2", "0"), LINE % (2, "web2", "+1"), "Proxy http:80 stopped (cumulated conns: FE: 0).", "no"]
    samples, rest, garbage = state.read_samples(lines, Counter({("web", "web1"): 1}))
    assert [(s.request_id, s.backend, s.route, s.status, s.final, s.error) for s in samples] == [
        ("i1", "web2", "/r", 200, True, False),
        ("i2", "web2", "/r", 200, True, False),
        ("i2", "web1", "/r", 0, False, True),
    ]
    assert (rest, garbage) == (Counter(), 1)


def test_what_is_owed_waits_for_its_lines_and_is_bounded() -> None:
    samples, rest, _ = state.read_samples([], Counter({("web", "web1"): 5_000}))
    assert samples == []
    assert rest == {("web", "web1"): 1000}


def test_a_twin_is_its_backend_in_samples() -> None:
    [sample] = state.read_samples([LINE % (1, "web1:open", "0")], Counter())[0]
    assert sample.backend == "web1"
