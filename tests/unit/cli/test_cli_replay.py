"""`pool replay`: the agent's log of steps and access logs in, what the rescaler would do out; never a traceback."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from backstay.balance.accesslog import read
from backstay.balance.record import Occasion, line
from backstay.balance.rescale import PoolScale, rescale
from backstay.balance.window import Collector
from backstay.cli.main import app


def run(*arguments: str, stdin: str | None = None) -> Result:
    """`backstay pool replay ARGUMENTS`; a traceback fails the test."""
    result = CliRunner().invoke(app, ["pool", "replay", *arguments], input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def access_log(seconds: int = 60, pool: str = "web") -> list[str]:
    """Ten requests a second; the backend on port 2 takes four times as long."""
    lines = []
    for n in range(seconds * 10):
        slow = n % 2 == 1
        spread = 1 + (n // 2 % 7) / 10
        entry = {
            "v": 1, "engine": "nginx", "time": 1_770_000_000 + n / 10, "id": f"{n:x}", "connection": n,
            "service": "app", "route": "/", "pool": pool, "client": "198.51.100.7", "method": "GET",
            "host": "app.example.com", "uri": "/", "protocol": "HTTP/1.1", "tls": "", "status": 200, "bytes": 1,
            "total": "0.2", "peers": f"192.0.2.1:{2 if slow else 1}", "statuses": "200", "connects": "0.001",
            "headers": f"{spread * (0.4 if slow else 0.1) * (1 if n < 300 else 1 + slow):.3f}", "times": "0.9",
            "end": "OK",
        }  # fmt: skip
        lines.append(json.dumps(entry))
    return lines


def step_log() -> list[str]:
    """Two steps as the agent records them, decided from the access log."""
    state, lines = PoolScale(), []
    names = ("192.0.2.1:1", "192.0.2.1:2")
    requests = access_log()
    for number, part in enumerate((requests[:300], requests[300:])):
        collector = Collector()
        collector.add(read(part, {}).samples)
        occasion = Occasion(
            pool="web", at=datetime(2026, 3, 1, 12, number, tzinfo=UTC), windows=(collector.close("lb1", str(number)),),
            load_balancers=("lb1",), backends=names, serving=names, ramping=(),
        )  # fmt: skip
        after, rescaled = rescale(
            state, occasion.windows, load_balancers=("lb1",), backends=names, serving=names, at=occasion.at
        )
        lines.append(json.dumps(line(occasion, state, rescaled)))
        state = after
    return lines


def written(path: Path, lines: list[str]) -> str:
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_an_access_log_is_cut_into_steps_and_the_slowed_backend_loses_share(tmp_path: Path) -> None:
    answer = run(written(tmp_path / "log", access_log()), "--every-s", "5", "-o", "json")
    assert answer.exit_code == 0
    steps = json.loads(answer.stdout)
    assert len(steps) > 5
    shares = {row["backend"]: row["share"] for row in steps[-1]["rows"]}
    assert shares["192.0.2.1:2"] < shares["192.0.2.1:1"]
    assert all(row["recorded"] is None for row in steps[-1]["rows"])


def test_a_log_of_steps_replays_to_what_was_recorded(tmp_path: Path) -> None:
    answer = run(written(tmp_path / "log", step_log()), "-o", "json")
    assert answer.exit_code == 0
    steps = json.loads(answer.stdout)
    assert len(steps) == 2
    assert all(row["share"] == pytest.approx(row["recorded"], abs=1e-3) for step in steps for row in step["rows"])


def test_other_parameters_give_other_shares(tmp_path: Path) -> None:
    log = written(tmp_path / "log", access_log())
    usual = run(log, "--last").stdout
    assert run(log, "--last", "--parameter", "fall=-0.01").stdout != usual


def test_the_last_step_of_each_pool_and_one_pool_alone(tmp_path: Path) -> None:
    log = written(tmp_path / "log", sorted(access_log() + access_log(pool="api"), key=lambda x: json.loads(x)["time"]))
    assert [step["pool"] for step in json.loads(run(log, "--last", "-o", "json").stdout)] == ["web", "api"]
    assert [step["pool"] for step in json.loads(run(log, "--last", "--pool", "api", "-o", "json").stdout)] == ["api"]


def test_the_log_may_come_on_stdin() -> None:
    assert run("-", "--last", stdin="\n".join(access_log())).exit_code == 0


def test_lines_of_another_shape_are_counted(tmp_path: Path) -> None:
    answer = run(written(tmp_path / "log", [*access_log(), "oops", "{}"]), "--last")
    assert answer.exit_code == 0
    assert "2 lines are no lines of an access log" in answer.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("/nowhere/log",), 1, "not readable: No such file"),
        (("/",), 1, "not readable: Is a directory"),
        (("-", "--pool", "none"), 1, "no step of the pool none"),
        (("-", "--parameter", "gian=1"), 2, "no NAME=NUMBER of the rescaler"),
        (("-", "--parameter", "gain=fast"), 2, "no number"),
        (("-", "--parameter", "gain=nan"), 2, "gain is 0 to 10"),
        (("-", "--parameter", "trim=5"), 2, "trim is 0 to 0.49"),
        (("-", "--every-s", "0"), 2, "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_replayed_says_why(arguments: tuple[str, ...], code: int, says: str) -> None:
    answer = run(*arguments, stdin="\n".join(access_log(5)))
    assert answer.exit_code == code
    assert says in answer.stderr


FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@FUZZ
@given(st.text(max_size=200))
def test_any_text_is_a_log_or_an_error(text: str) -> None:
    run("-", stdin=text)


STEP = json.loads(step_log()[0])


@FUZZ
@given(st.sampled_from(list(STEP)), JSON)
def test_any_value_in_a_step_is_a_log_or_an_error(key: str, value: object) -> None:
    run("-", stdin=json.dumps({**STEP, key: value}))
