"""Text in: an estate or a list of faults, within limits, and never a traceback."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backstay.estate import EstateFaults, EstateUnreadable, Loaded, Overrides, load_file, load_text
from backstay.estate.files import FILE_LIMIT_BYTES
from backstay.estate.model import Estate
from backstay.estate.tree import DEPTH_LIMIT, ITEMS_LIMIT, Syntax, core_scalar, decode

ROOM = Path()
SMALL = (Path(__file__).parents[2] / "cases" / "small_estate.yaml").read_text(encoding="utf-8")


def faults_of(text: str, overrides: Overrides | None = None) -> str:
    with pytest.raises(EstateFaults) as raised:
        load_text(text, "estate", ROOM, overrides or Overrides())
    return str(raised.value)


def test_an_estate_that_holds_is_loaded(small: str) -> None:
    estate = load_text(small, "estate", ROOM).estate
    assert estate.estate == "small"
    assert estate.pools["web"].check is not None
    assert estate.pools["web"].check.interval_s == 3


@pytest.mark.parametrize("name", ["minimal", "serverdensity"])
def test_the_examples_hold(examples: Path, name: str) -> None:
    assert load_file(examples / f"{name}.yaml").estate.estate == name


def test_the_minimal_example_and_the_template_have_no_warnings(examples: Path) -> None:
    import backstay.estate

    template = Path(backstay.estate.__file__).with_name("template.yaml")
    assert load_file(examples / "minimal.yaml").warnings == ()
    assert load_file(template).warnings == ()


def test_an_estate_written_as_json_is_the_same_estate(small: str) -> None:
    estate = load_text(small, "estate", ROOM).estate
    as_json = json.dumps(estate.model_dump(mode="json", exclude_defaults=True))
    assert load_text(as_json, "estate", ROOM).estate == estate


def test_a_file_that_is_not_there_says_what_next(tmp_path: Path) -> None:
    with pytest.raises(EstateUnreadable, match=r"No such file.*backstay init"):
        load_file(tmp_path / "none.yaml")


def test_a_folder_and_a_pipe_are_no_estate_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "nul\0byte"):
        with pytest.raises(EstateUnreadable):
            load_file(path)


def test_bytes_that_are_not_utf_8_are_told_with_their_place(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes("estate: x\nnodes: café\n".encode("latin-1"))
    with pytest.raises(EstateFaults, match=r"latin.yaml:2:11 Byte 0xe9 is not UTF-8"):
        load_file(path)


def test_a_byte_order_mark_is_no_fault(small: str, tmp_path: Path) -> None:
    path = tmp_path / "bom.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + small.encode())
    assert load_file(path).estate.estate == "small"


def test_a_file_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    path.write_bytes(b"#" * (FILE_LIMIT_BYTES + 1))
    with pytest.raises(EstateFaults, match="limit"):
        load_file(path)


def test_a_billion_laughs_are_counted_before_they_are_expanded() -> None:
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert f"over {ITEMS_LIMIT} values" in faults_of("\n".join(lines))


def test_depth_is_bounded_also_through_aliases() -> None:
    assert f"deeper than {DEPTH_LIMIT}" in faults_of("[" * 10_000)
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 2_000)]
    assert f"{DEPTH_LIMIT} levels" in faults_of("\n".join(lines))


def test_a_file_wrong_from_end_to_end_is_told_within_a_limit() -> None:
    nodes = "\n".join(f"  web{n}: {{zone: nowhere{n}, address: x, q: 1}}" for n in range(3_000))
    faults = faults_of(f"estate: x\nregions: {{home: {{zones: {{dc1: {{}}}}}}}}\nnodes:\n{nodes}\n").splitlines()
    assert 100 < len(faults) < 2_600


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"), ("on", "on"), ("y", "y"), ("true", True), ("FALSE", False), ("~", None), ("", None),
        ("10:30", "10:30"), ("1_000", "1_000"), ("010", 10), ("0o17", 15), ("0x1F", 31), ("-7", -7), ("+1", 1),
        ("1.5", 1.5), ("1e3", 1000.0), (".5", 0.5), ("-.inf", float("-inf")), ("1.2.3", "1.2.3"), ("-", "-"),
        ("2001-01-01", "2001-01-01"), ("9" * 41, "9" * 41), ("0o8", "0o8"), ("1e999999", "1e999999"),
    ],
)  # fmt: skip
def test_scalars_follow_the_core_schema_of_yaml_1_2(text: str, value: object) -> None:
    assert core_scalar(text) == value
    assert type(core_scalar(text)) is type(value)


def loads_or_tells(text: str, overrides: Overrides | None = None) -> None:
    try:
        loaded = load_text(text, "estate", ROOM, overrides or Overrides())
    except EstateFaults as faults:
        assert all(fault.message for fault in faults.faults)
        str(faults)
    else:
        assert isinstance(loaded, Loaded)
        assert isinstance(loaded.warnings, tuple)
        assert isinstance(loaded.origins, tuple)


FUZZ = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


@FUZZ
@given(st.text())
def test_any_text_gives_an_estate_or_faults(text: str) -> None:
    loads_or_tells(text)


@FUZZ
@given(st.binary())
def test_any_bytes_give_an_estate_or_faults(raw: bytes) -> None:
    with contextlib.suppress(Syntax):
        loads_or_tells(decode(raw, "estate"))


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12),
    st.sampled_from(["web", "lb1", "dc1", "web*", "power-a", "http", "tcp", "nginx", "/", "192.0.2.1", "none", "*"]),
)  # fmt: skip
KEYS = st.one_of(
    st.text(max_size=8),
    st.sampled_from([*Estate.model_fields, "zones", "members", "kind", "cluster", "port", "check", "web", "env"]),
)
TREES = st.recursive(SCALARS, lambda t: st.lists(t, max_size=4) | st.dictionaries(KEYS, t, max_size=5), max_leaves=25)


@FUZZ
@given(st.dictionaries(st.sampled_from(list(Estate.model_fields)), TREES))
def test_any_tree_gives_an_estate_or_faults(tree: dict[str, object]) -> None:
    loads_or_tells(json.dumps(tree))


@FUZZ
@given(st.data())
def test_an_estate_with_any_value_replaced_gives_an_estate_or_faults(data: st.DataObject) -> None:
    lines = SMALL.splitlines()
    index = data.draw(st.integers(0, len(lines) - 1))
    start = data.draw(st.integers(0, len(lines[index])))
    end = data.draw(st.integers(start, len(lines[index])))
    middle = data.draw(st.one_of(st.text(max_size=6), st.sampled_from(["&a ", "*a", "!!int ", "{", "[", "null", ": "])))
    lines[index] = lines[index][:start] + middle + lines[index][end:]
    loads_or_tells("\n".join(lines))


@FUZZ
@given(st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=3), st.lists(st.text(max_size=20)))
def test_any_override_gives_an_estate_or_faults(env: dict[str, str], sets: list[str]) -> None:
    named = {f"BACKSTAY_{name}__{name}": value for name, value in env.items()}
    loads_or_tells(SMALL, Overrides(env=named, sets=sets))


@FUZZ
@given(st.lists(st.sampled_from(["pools", "web", "check", "0", "members", "services", "app", "routes", "9"])), TREES)
def test_any_value_at_any_path_gives_an_estate_or_faults(path: list[str], value: object) -> None:
    loads_or_tells(SMALL, Overrides(sets=[f"{'.'.join(path)}={json.dumps(value)}"]))


def test_importing_the_room_is_cheap() -> None:
    """The agent must stay under 60 MB: nothing heavy comes along, and under 40 MB are resident in all."""
    script = (
        "import sys, backstay.estate\n"
        "heavy = {'rich', 'typer', 'sqlalchemy', 'asyncio', 'aiohttp', 'numpy'} & sys.modules.keys()\n"
        "print(','.join(sorted(heavy)), int(open('/proc/self/statm').read().split()[1]) * 4096 // 1_000_000)"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    heavy, resident_mb = answer.stdout.rstrip("\n").rsplit(" ", 1)
    assert heavy == ""
    assert int(resident_mb) < 40
