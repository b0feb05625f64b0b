"""Facts from files: what people have at hand, or wrote by hand.

    facts.jsonl   {"node": "web1", "time": "2026-03-01T00:00:00Z", "facts": {...}, "unread": {"dmi.*": "needs root"}}
    facts.json    {"web1": {...}, "web2": {...}}, or a list of what a line above has
    facts.yaml    the same as facts.json
    a folder      a file a node, named after it: `facter --json`, an ansible fact cache, `lscpu -J`

Nested facts get dotted names: {"cpu": {"model name": "V1"}} is "cpu.model name". Values are kept as they are written:
1.10 stays 1.10.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from backstay.audit.model import FactReport
from backstay.audit.sources.reading import Faults, fault, kind_of, lines, text
from backstay.audit.sources.values import NAME_LIMIT, FactTree, flatten, is_name, parse_time

NODES_LIMIT = 200_000
FACTS_OF_ALL_LIMIT = 20_000_000
SKEW_S = 60.0  # clocks of fact collectors agree no better
SOURCE = "file"
WRITE_SO = '{"node": "web1", "facts": {"cpu.model name": "..."}}'


def read_facts(path: Path, now: datetime) -> tuple[FactReport, ...]:
    """Every report in `path`: a file or a folder. A report without a time has that of its file.

    Raises SourceError with every fault as file:line.
    """
    if path.is_dir():
        return _of_folder(path, now)
    kind = kind_of(path)
    if kind in ("jsonl", "ndjson"):
        return _of_lines(path, now)
    if kind in ("json", "yaml", "yml"):
        return _of_document(path, now)
    raise fault(
        path, "by its name this is no file of facts. Name a .jsonl, .json or .yaml file (or .gz of it), or a folder."
    )


class _Collector:
    """Reports of one file, or folder, and its faults."""

    def __init__(self, path: Path, now: datetime) -> None:
        self.faults = Faults(path)
        self.reports: list[FactReport] = []
        self._now = now
        self._known: dict[tuple[str, datetime], dict[str, str]] = {}
        self._nodes: set[str] = set()
        self._count = 0

    def entry(self, line: int | None, entry: object, time: datetime) -> None:
        """What a line of JSON lines holds."""
        if not isinstance(entry, dict) or not isinstance(entry.get("facts"), dict):
            return self.faults.add(line, f"this is no report. Write {WRITE_SO}.")
        unread = entry.get("unread", {})
        if isinstance(unread, list):
            unread = dict.fromkeys(map(str, unread), "unread")
        if not isinstance(unread, dict):
            return self.faults.add(line, 'unread is no mapping. Write {"dmi.*": "needs root"}.')
        if extra := sorted(map(str, set(entry) - {"node", "facts", "unread", "time"}))[:5]:
            return self.faults.add(line, f"{', '.join(extra)}: unknown here. There are node, time, facts, unread.")
        if "time" in entry:
            found = parse_time(str(entry["time"]))
            if found is None:
                return self.faults.add(line, f'"{str(entry["time"])[:40]}" is no time. Write 2026-03-01T00:00:00Z.')
            time = found
        reasons = {str(fact)[:NAME_LIMIT]: str(why)[:200] for fact, why in unread.items()}
        return self.report(line, entry.get("node"), time, entry["facts"], reasons)

    def report(
        self, line: int | None, node: object, time: datetime, facts: FactTree, unread: dict[str, str] | None = None
    ) -> None:
        if not isinstance(node, str) or not is_name(node):
            return self.faults.add(line, f"no name of a node. Write {WRITE_SO}.")
        if time > self._now + timedelta(seconds=SKEW_S):
            what = f"{node} was read at {time.isoformat()}, which is later than now. Set its clock, or the time."
            return self.faults.add(line, what)
        try:
            values = flatten(facts)
        except ValueError as error:
            return self.faults.add(line, f"{node}: {error}")
        known = self._known.setdefault((node, time), {})
        twice = next((fact for fact in values if known.get(fact, values[fact]) != values[fact]), None)
        if twice is not None:
            both = f'"{known[twice][:40]}" and "{values[twice][:40]}"'
            what = f"{node} has {twice} twice, {both}. Remove one, or give times."
            return self.faults.add(line, what)
        known |= values
        self._nodes.add(node)
        self._count += len(values)
        if len(self._nodes) > NODES_LIMIT or self._count > FACTS_OF_ALL_LIMIT:
            what = f"more than {NODES_LIMIT} nodes or {FACTS_OF_ALL_LIMIT} facts. Give a file a cluster."
            raise fault(self.faults.path, what, line)
        self.reports.append(FactReport(node=node, source=SOURCE, time=time, values=values, unread=unread or {}))
        return None

    def done(self) -> tuple[FactReport, ...]:
        self.faults.end()
        if not self.reports:
            raise fault(self.faults.path, f"no facts in it. Write {WRITE_SO}.")
        return tuple(self.reports)


def _of_lines(path: Path, now: datetime) -> tuple[FactReport, ...]:
    found, time = _Collector(path, now), None
    for number, line in lines(path):
        if not line.strip():
            continue
        time = time or written(path, now)
        try:
            entry = _json(line)
        except (ValueError, RecursionError) as error:
            found.faults.add(number, f"this is no JSON ({_reason(error)}). Write a report a line: {WRITE_SO}.")
        else:
            found.entry(number, entry, time)
    return found.done()


def _of_document(path: Path, now: datetime) -> tuple[FactReport, ...]:
    content = document(path)
    found, time = _Collector(path, now), written(path, now)
    if isinstance(content, list):
        for entry in content:
            found.entry(None, entry, time)
    elif isinstance(content, dict) and isinstance(content.get("facts"), dict) and isinstance(content.get("node"), str):
        found.entry(None, content, time)
    elif isinstance(content, dict):
        for node, facts in content.items():
            if isinstance(facts, dict):
                found.report(None, node, time, facts)
            else:
                found.faults.add(
                    None, f'"{str(node)[:40]}" has no facts. Write {{"web1": {{"cpu.model name": "..."}}}}.'
                )
    else:
        found.faults.add(None, 'neither nodes nor a list. Write {"web1": {"cpu.model name": "..."}}.')
    return found.done()


def _of_folder(path: Path, now: datetime) -> tuple[FactReport, ...]:
    """A file a node, named after the node: what `facter --json`, ansible and `lscpu -J` write."""
    found = _Collector(path, now)
    files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
    for file in files[: NODES_LIMIT + 1]:
        node = file.name.removesuffix(".gz")
        kind = kind_of(file)
        node = node.removesuffix(f".{kind}") if kind in ("json", "yaml", "yml") else node
        content = document(file)
        if not isinstance(content, dict):
            found.faults.add(None, f"{file.name} holds no facts of a node. Give what `facter --json` writes.")
            continue
        found.report(None, node, written(file, now), _of_tool(content))
    return found.done()


def _of_tool(content: FactTree) -> FactTree:
    """Facts of what a tool wrote: ansible's setup wraps them, lscpu has a list of fields."""
    if isinstance(content.get("ansible_facts"), dict):
        return {"ansible": content["ansible_facts"]}
    if isinstance(content.get("lscpu"), list):
        return {"cpu": dict(_lscpu(content["lscpu"]))}
    return content


def _lscpu(fields: list[Any]) -> Iterator[tuple[str, str]]:
    """Fields may have children (util-linux 2.38 and later)."""
    for field in fields:
        if not isinstance(field, dict):
            continue
        if isinstance(field.get("field"), str) and field.get("data") is not None:
            yield field["field"].rstrip(":").lower(), str(field["data"])
        yield from _lscpu(field.get("children") or [])


def document(path: Path) -> Any:
    """A JSON or YAML file; scalars as they are written. Raises SourceError."""
    content = text(path)
    try:
        return _yaml(content) if kind_of(path) in ("yaml", "yml") else _json(content)
    except json.JSONDecodeError as error:
        raise fault(path, f"this is no JSON ({error.msg}). Is it cut short?", error.lineno) from None
    except (ValueError, RecursionError) as error:
        raise fault(path, f"this is nested too deeply, or no JSON or YAML ({_reason(error)}).") from None


def _json(content: str) -> Any:
    # Numbers as they are written: a version 1.10 is not 1.1.
    return json.loads(content, parse_float=str, parse_int=str)


def _yaml(content: str) -> Any:
    import yaml

    try:
        # The base loader keeps every scalar as text: `governor: on` is "on".
        return yaml.load(content, Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader))  # noqa: S506 makes text alone
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise json.JSONDecodeError(f"{error.problem}, as YAML", content, _offset(content, line)) from None
    except yaml.YAMLError as error:
        raise ValueError(str(error).splitlines()[0]) from None


def _offset(content: str, line: int) -> int:
    return sum(len(one) + 1 for one in content.split("\n")[: line - 1])


def written(path: Path, now: datetime) -> datetime:
    """When the file was written: a copy from a machine whose clock is ahead was not written later than now."""
    return min(datetime.fromtimestamp(path.stat().st_mtime, UTC), now)


def _reason(error: BaseException) -> str:
    return error.msg if isinstance(error, json.JSONDecodeError) else str(error)[:100]
