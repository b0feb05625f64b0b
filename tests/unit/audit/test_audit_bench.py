"""The bench runs on any file of the form, and says what is wrong with one that is not."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

pytest.importorskip("sklearn", reason="needs scikit-learn, whose DBSCAN is a peer in the bench")

from benches.audit.__main__ import audit


def a_file(folder: Path, lines: list[str]) -> Path:
    path = folder / "servers.jsonl.gz"
    with gzip.open(path, "wt") as out:
        out.write("\n".join(lines) + "\n")
    return path


def a_server(at: int) -> str:
    """One of two CPU models, 30% apart, in one family."""
    model = at % 2
    facts = {"cpu.model name": f"V{model}", "cpu.stepping": str(model), "system.uuid": str(at), "cpu.cpu(s)": str(at)}
    indicators = {"cpu_ops_per_s_full_1": 1000.0 * 1.3**model * (1.0 + 0.001 * at)}
    return json.dumps({"vendor": "v", "server": f"s{at}", "family": "f", "facts": facts, "indicators": indicators})


def test_the_smoking_gun_is_found_in_a_file_of_the_form(tmp_path: Path) -> None:
    path = a_file(tmp_path, [a_server(at) for at in range(10)])
    out = tmp_path / "out.json"
    bench = audit(["smoking-gun", "--data", str(path), "--nodes", "4", "--count", "10", "--json", str(out)])
    assert bench.run() == 0
    rows = {row["subject"]: row["figures"] for row in json.loads(out.read_text())["rows"]}
    assert rows["4 nodes, 0 decoys: Backstay"]["first"] == 1.0
    assert rows["4 nodes, 3 decoys: chance"]["clusters"] == 10


def test_without_the_data_the_part_is_skipped_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit(["smoking-gun", "--data", str(tmp_path / "none.jsonl.gz")]).run() == 0
    assert "skipped: no none.jsonl.gz" in capsys.readouterr().out


@pytest.mark.parametrize("line", ["{", "[]", '{"facts": {}}', '{"indicators": 1, "facts": {}}'])
def test_a_file_of_another_form_is_named_with_its_line(tmp_path: Path, line: str) -> None:
    path = a_file(tmp_path, [a_server(0), line])
    with pytest.raises(SystemExit, match=r"servers\.jsonl\.gz:2: "):
        audit(["smoking-gun", "--data", str(path)]).run()
