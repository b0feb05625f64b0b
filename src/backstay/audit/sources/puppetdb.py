"""Facts that Puppet's agents sent to PuppetDB: the kind `puppetdb` of `backstay.facts`, over its query API, version 4.

    GET URL/pdb/query/v4/inventory?query=["~","certname","^(web1|web2)(\\.|$)"]&order_by=...&limit=100&offset=0

One entry a node, pages by `limit` and `offset` (help.puppet.com, PuppetDB: Inventory endpoint, Query paging). Nodes are
asked for in batches, so that an address does not grow too long; a batch that fails is told as its nodes' problem.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints

from backstay.audit.model import FactReport
from backstay.audit.ports import SourceError, Surroundings
from backstay.audit.sources.asked import NotAnswered
from backstay.audit.sources.asking import Way, get, refusal, trusting
from backstay.audit.sources.folder import WEEK_S, MaxAge
from backstay.audit.sources.reports import fresh, names_of, nothing, which
from backstay.audit.sources.settings import below, checked, secret_of
from backstay.audit.sources.tools import facter
from backstay.audit.sources.values import one_line, parse_time
from backstay.estate.model import FileSecret, Model, Secret

KIND = "puppetdb"
BATCH = 40  # nodes in one address: 64 characters each, and servers take 8 kB
NODES_LIMIT = 200_000
PAGE_LIMIT_BYTES = 256_000_000
TOKEN_HEADER = "X-Authentication"  # noqa: S105 the name of a header (Puppet Enterprise)


def _origin(url: str) -> str:
    if not re.fullmatch(r"https?://[^/?#\s@]+/?", url):
        raise ValueError("write it as https://HOST:PORT, without a path")
    return url.rstrip("/")


class PuppetDbSettings(Model):
    url: Annotated[str, StringConstraints(max_length=300), AfterValidator(_origin)]
    """Of PuppetDB: https://HOST:8081, or http://localhost:8080 on its own machine."""
    ca: str | None = None
    """PEM of the Puppet CA; absent: the machine's own authorities."""
    certificate: str | None = None
    """PEM of a client certificate that PuppetDB lets in."""
    key: FileSecret | None = None
    """Its private key, as {file: PATH}."""
    token: Secret | None = None
    """Token of Puppet Enterprise, instead of a certificate: a secret reference."""
    endpoint: Literal["inventory", "factsets"] = "inventory"
    """What is asked: inventory (PuppetDB 5 and later), or factsets."""
    page: Annotated[int, Field(ge=1, le=1_000)] = 100
    """Nodes in one answer."""
    max_age_s: MaxAge = WEEK_S
    """Facts that PuppetDB got longer ago say nothing of the node as it is now."""


def facts(settings: Mapping[str, Any], around: Surroundings) -> PuppetDb:
    """For the entry point `puppetdb`. Raises SourceError for settings that it does not take."""
    given = checked(PuppetDbSettings, settings, KIND)
    if (given.certificate is None) != (given.key is None):
        raise SourceError(f"source {KIND}: certificate and key go together. Give both, or neither.")
    return PuppetDb(given, around)


Entry = Mapping[str, Any]


class PuppetDb:
    """Asks PuppetDB; talks to no node."""

    name = KIND

    def __init__(self, settings: PuppetDbSettings, around: Surroundings) -> None:
        self._settings = settings
        self._around = around
        self._url = f"{settings.url}/pdb/query/v4/{settings.endpoint}"

    async def read(self, nodes: Sequence[str], *, timeout_s: float) -> Sequence[FactReport]:
        """As FactSource says. Raises SourceError when PuppetDB answers nothing that can be used."""
        import aiohttp

        way = await self._way()
        end = asyncio.get_running_loop().time() + timeout_s
        entries: dict[str, Entry] = {}
        unasked: dict[str, str] = {}  # node -> why its batch failed
        wanted = tuple(dict.fromkeys(nodes))
        async with aiohttp.ClientSession(trust_env=False) as session:
            for batch in _batches(wanted):
                try:
                    entries |= await self._batch(session, way, batch, end)
                except NotAnswered as error:
                    if len(unasked) + len(batch) == len(wanted) or not batch:
                        raise SourceError(f"source {KIND}: {error}") from error
                    unasked |= dict.fromkeys(batch, str(error))
        if not wanted:
            return [self._report(name, entry) for name, entry in entries.items()]
        return [self._of_node(node, names, entries, unasked) for node, names in names_of(wanted, entries).items()]

    async def _way(self) -> Way:
        given, around = self._settings, self._around
        headers = {TOKEN_HEADER: await secret_of(given.token, around, KIND)} if given.token else {}
        if given.url.startswith("http:"):
            return Way(headers=headers)
        tls = trusting(below(around, given.ca) if given.ca else None, KIND)
        if given.certificate is not None and given.key is not None:
            try:
                tls.load_cert_chain(below(around, given.certificate), below(around, given.key.file))
            except (OSError, ssl.SSLError) as error:
                what = f"source {KIND}: certificate, key: {error}"
                raise SourceError(f"{what}. Both are PEM files, the key without a passphrase.") from None
        return Way(headers=headers, tls=tls)

    async def _batch(self, session: Any, way: Way, batch: Sequence[str], end: float) -> dict[str, Entry]:
        """Entries by certname, page by page. Raises NotAnswered."""
        found: dict[str, Entry] = {}
        offset, page = 0, self._settings.page
        while True:
            params = {"order_by": '[{"field":"certname"}]', "limit": str(page), "offset": str(offset)}
            if batch:
                pattern = f"^({'|'.join(map(re.escape, batch))})(\\.|$)"
                params["query"] = json.dumps(["~", "certname", pattern])
            left_s = end - asyncio.get_running_loop().time()
            if left_s <= 0.0:
                raise NotAnswered(f"{self._url}: not all was asked in time. Give it more, or larger pages.")
            answer = await get(session, self._url, way, timeout_s=left_s, limit_bytes=PAGE_LIMIT_BYTES, params=params)
            if answer.status in (401, 403):
                raise NotAnswered(_not_let_in(self._url, answer.status))
            if answer.status != 200:
                raise NotAnswered(refusal(self._url, answer))
            entries = await asyncio.to_thread(_entries, self._url, answer.body)
            found |= {str(entry["certname"]): entry for entry in entries}
            if len(found) > NODES_LIMIT:
                raise NotAnswered(f"{self._url} has more than {NODES_LIMIT} nodes. Name those that are asked for.")
            if len(entries) < page:
                return found
            offset += page

    def _of_node(
        self, node: str, names: Sequence[str], entries: Mapping[str, Entry], unasked: Mapping[str, str]
    ) -> FactReport:
        problem = unasked.get(node) or which(node, names, "PuppetDB")
        if problem:
            return nothing(node, KIND, self._around.clock(), problem)
        return self._report(node, entries[names[0]])

    def _report(self, node: str, entry: Entry) -> FactReport:
        now = self._around.clock()
        try:
            values, unread = facter(_tree(entry["facts"]))
        except ValueError as error:
            return nothing(node, KIND, now, f"PuppetDB's facts of it cannot be used: {error}")
        report = FactReport(node=node, source=KIND, time=_time(entry, now), values=values, unread=unread)
        if not values:
            return nothing(node, KIND, now, "PuppetDB has no facts of it. Does its agent run?")
        return fresh(report, now, self._settings.max_age_s)

    async def close(self) -> None:
        """Nothing is held open."""


def _batches(nodes: Sequence[str]) -> Iterator[Sequence[str]]:
    """At least one: the empty batch asks for all nodes."""
    yield nodes[:BATCH]
    for start in range(BATCH, len(nodes), BATCH):
        yield nodes[start : start + BATCH]


def _entries(url: str, body: bytes) -> list[Entry]:
    """Raises NotAnswered for what is no list of entries."""
    try:
        content = json.loads(body, parse_float=str, parse_int=str)
    except (ValueError, RecursionError):
        said = one_line(body[:1_000].decode(errors="replace"), 80)
        raise NotAnswered(f"{url} answers no JSON ({said!r}). Is this PuppetDB's address?") from None
    if not isinstance(content, list) or not all(
        isinstance(entry, dict) and isinstance(entry.get("certname"), str) and "facts" in entry for entry in content
    ):
        raise NotAnswered(f"{url} answers JSON that is no list of nodes with facts. Is this PuppetDB's address?")
    return content


def _tree(told: Any) -> Any:
    """Facts of an inventory as they are; those of a factset are a list of names and values."""
    if isinstance(told, dict) and isinstance(told.get("data"), list) and "href" in told:
        return {str(one["name"]): one.get("value") for one in told["data"] if isinstance(one, dict) and "name" in one}
    return told


def _time(entry: Entry, now: datetime) -> datetime:
    return parse_time(str(entry.get("timestamp"))) or now


def _not_let_in(url: str, status: int) -> str:
    what = f"{url} does not let us in (HTTP {status})"
    return f"{what}. Give certificate and key of a client on its allowlist, or a token that may read nodes."
