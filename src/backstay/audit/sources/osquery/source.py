"""A folder of query results, or one result log, as a FactSource."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from backstay.audit.model import FactReport
from backstay.audit.ports import FactSource, SourceError, Surroundings
from backstay.audit.sources.folder import FolderFacts, FolderSettings
from backstay.audit.sources.osquery.log import BEGINS_LATE, Host, Log
from backstay.audit.sources.osquery.rows import facts_of_rows, table_of
from backstay.audit.sources.reading import Faults, fault, lines
from backstay.audit.sources.reports import fresh, names_of, nothing, which
from backstay.audit.sources.settings import below, checked
from backstay.audit.sources.tools import Facts

KIND = "osquery"
HOSTS_LIMIT = 200_000


def facts(settings: Mapping[str, Any], around: Surroundings) -> FactSource:
    """For the entry point `osquery`. Raises SourceError for settings that it does not take."""
    given = checked(FolderSettings, settings, KIND)
    path = below(around, given.path)
    if path.is_dir():
        return FolderFacts(KIND, given, around, tables, tables=True)
    return ResultLog(path, given.max_age_s, around)


def tables(content: Any) -> Facts:
    """{"system_info": [rows], ...} -> facts. Raises ValueError."""
    if not isinstance(content, dict) or not all(isinstance(rows, list) for rows in content.values()):
        raise ValueError('this is no object of tables. Write {"system_info": [rows that `osqueryi --json` prints]}.')
    values: dict[str, str] = {}
    for query, rows in content.items():
        values |= facts_of_rows(table_of(query), rows)
    return values, {}


class ResultLog:
    """The file that osqueryd's filesystem logger writes, of one host or gathered of many."""

    name = KIND

    def __init__(self, path: Path, max_age_s: float, around: Surroundings) -> None:
        self._path = path
        self._max_age_s = max_age_s
        self._clock = around.clock

    async def read(self, nodes: Sequence[str], *, timeout_s: float) -> Sequence[FactReport]:
        """As FactSource says. Raises SourceError for a file that cannot be read, with each fault as file:line."""
        try:
            async with asyncio.timeout(timeout_s):
                hosts = await asyncio.to_thread(self._hosts)
        except TimeoutError:
            raise SourceError(f"{self._path}: not read within {timeout_s:g} s. Rotate it, or give more time.") from None
        wanted = {host: (host,) for host in hosts} if not nodes else names_of(nodes, hosts)
        return [self._report(node, names, hosts) for node, names in wanted.items()]

    def _report(self, node: str, names: Sequence[str], hosts: Mapping[str, Host]) -> FactReport:
        now = self._clock()
        if problem := which(node, names, str(self._path)):
            return nothing(node, KIND, now, problem)
        host = hosts[names[0]]
        values: dict[str, str] = {}
        unread: dict[str, str] = {}
        try:
            for table, query in host.queries.items():
                if query.whole:
                    values |= facts_of_rows(table, query.rows.values())
                else:
                    unread[f"osquery.{table}.*"] = BEGINS_LATE
        except ValueError as error:
            return nothing(node, KIND, now, f"{error}")
        time = datetime.fromtimestamp(host.time_s, UTC)
        return fresh(FactReport(node=node, source=KIND, time=time, values=values, unread=unread), now, self._max_age_s)

    def _hosts(self) -> Mapping[str, Host]:
        faults, log = Faults(self._path), Log()
        for number, line in lines(self._path):
            if line.strip():
                try:
                    log.add(json.loads(line, parse_float=str, parse_int=str))
                except (ValueError, RecursionError) as error:
                    faults.add(number, f"{str(error)[:200]}. Is it osqueryd's result log?")
                if len(log.hosts) > HOSTS_LIMIT:
                    raise fault(self._path, f"more than {HOSTS_LIMIT} hosts. Give a log a cluster.", number)
        faults.end()
        if not log.hosts:
            raise fault(self._path, "no results in it. Give osqueryd.results.log, or a folder with a file a node.")
        return log.hosts

    async def close(self) -> None:
        """Nothing is held open."""
