"""A folder with a file a node, which some tool keeps up to date: one that is broken is its node's problem alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints

from backstay.audit.model import FactReport
from backstay.audit.ports import SourceError, Surroundings
from backstay.audit.sources.factfile import NODES_LIMIT, document, written
from backstay.audit.sources.reading import fault
from backstay.audit.sources.reports import fresh, names_of, nothing, which
from backstay.audit.sources.settings import below
from backstay.audit.sources.tools import Reader
from backstay.estate.model import Model

ENDINGS = (".gz", ".json", ".yaml", ".yml")
NODE_LIMIT_BYTES = 64_000_000
TABLES_LIMIT = 1_000
WEEK_S = 7 * 86_400.0

MaxAge = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class FolderSettings(Model):
    path: Annotated[str, StringConstraints(min_length=1, max_length=4_096)]
    """Folder with a file a node, named after it (web1, web1.json, web1.example.com.json)."""
    max_age_s: MaxAge = WEEK_S
    """A file that was written longer ago says nothing of its node as it is now."""


class FolderFacts:
    """Facts from the files of one folder.

    `reader`: a file's content -> facts. `named`: a file's name -> its node's. `tables`: a node may have a folder of its
    own, with a file a table; together they are one object.
    """

    def __init__(
        self,
        name: str,
        settings: FolderSettings,
        around: Surroundings,
        reader: Reader,
        named: Callable[[str], str] = str,
        tables: bool = False,
    ) -> None:
        self.name = name
        self._path = below(around, settings.path)
        self._max_age_s = settings.max_age_s
        self._clock = around.clock
        self._reader = reader
        self._named = named
        self._tables = tables

    async def read(self, nodes: Sequence[str], *, timeout_s: float) -> Sequence[FactReport]:
        """As FactSource says. Raises SourceError where there is no such folder."""
        end = asyncio.get_running_loop().time() + timeout_s
        try:
            async with asyncio.timeout_at(end):
                files = await asyncio.to_thread(self._files)
        except TimeoutError:
            raise SourceError(f"{self._path}: not listed within {timeout_s:g} s. Is the file system there?") from None
        wanted = {node: (node,) for node in files} if not nodes else names_of(nodes, files)
        found = []
        for node, names in wanted.items():
            problem = which(node, names, str(self._path))
            try:
                async with asyncio.timeout_at(end):
                    read = self._nothing(node, problem) if problem else await self._read(node, files[names[0]])
            except TimeoutError:
                read = self._nothing(node, f"not read within {timeout_s:g} s for all nodes. Give it more time.")
            found.append(read)
        return found

    async def _read(self, node: str, path: Path) -> FactReport:
        return await asyncio.to_thread(self._report, node, path)

    def _report(self, node: str, path: Path) -> FactReport:
        now = self._clock()
        try:
            files = sorted(path.glob("*.json"))[: TABLES_LIMIT + 1] if path.is_dir() else [path]
            if len(files) > TABLES_LIMIT or sum(file.stat().st_size for file in files) > NODE_LIMIT_BYTES:
                raise fault(path, f"more than {TABLES_LIMIT} files or {NODE_LIMIT_BYTES} bytes for one node.")
            content = {file.stem: document(file) for file in files} if path.is_dir() else document(path)
            values, unread = self._reader(content)
            time = min((written(file, now) for file in files), default=now)
        except SourceError as error:
            return self._nothing(node, str(error))
        except (ValueError, RecursionError, OSError) as error:
            return self._nothing(node, f"{path}: {str(error)[:300]}")
        if not values:
            return self._nothing(node, f"{path}: no facts in it. Collect them again.")
        report = FactReport(node=node, source=self.name, time=time, values=values, unread=unread)
        return fresh(report, now, self._max_age_s)

    def _nothing(self, node: str, problem: str) -> FactReport:
        return nothing(node, self.name, self._clock(), problem)

    def _files(self) -> Mapping[str, Path]:
        """Name of a node, as the folder has it -> its file."""
        if not self._path.is_dir():
            raise fault(self._path, "no folder. Give one with a file a node, and let the tool write into it.")
        found: dict[str, Path] = {}
        for path in sorted(self._path.iterdir()):
            if not path.name.startswith(".") and (path.is_file() or (self._tables and path.is_dir())):
                name = path.name
                for ending in ENDINGS:
                    name = name.removesuffix(ending)
                found[self._named(name)] = path
                if len(found) > NODES_LIMIT:
                    raise fault(self._path, f"more than {NODES_LIMIT} files. Give a folder a cluster.")
        return found

    async def close(self) -> None:
        """Nothing is held open."""
