"""The queries of all indicators, and what they give, as Series of nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from backstay.audit.model import Series
from backstay.audit.ports import SourceError, Surroundings
from backstay.audit.sources.asking import Access, way_of
from backstay.audit.sources.file import cut
from backstay.audit.sources.hosts.selector import Matcher, Selector, matchers
from backstay.audit.sources.hosts.table import FORMULAS, SCRAPED
from backstay.audit.sources.prometheus.answer import Refused
from backstay.audit.sources.prometheus.api import WINDOWS_LIMIT, Api, Span, spans
from backstay.audit.sources.prometheus.mapping import By, Naming, scrapes_of
from backstay.audit.sources.prometheus.reading import Reader, Told
from backstay.audit.sources.settings import checked
from backstay.estate.audit import IndicatorName

KIND = "prometheus"
Query = Annotated[str, StringConstraints(min_length=1, max_length=4_000)]  # part of a URL


class PrometheusSettings(Access):
    url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s?#]+$", max_length=1_000)]
    """Of the server, with the prefix before /api/v1."""
    queries: dict[IndicatorName, Query] = Field(default_factory=dict, max_length=500)
    """Indicator to PromQL: one series for each value of `label`. Beside the usual ones, or in their place."""
    usual: bool = True
    """The indicators of node_exporter (docs/audit-sources.md has the table)."""
    selector: Annotated[str, StringConstraints(max_length=1_000)] = ""
    """Labels that the usual queries select by, too: job="node"."""
    label: Annotated[str, StringConstraints(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$", max_length=100)] = "instance"
    """The label that tells the node."""
    by: By = By.ANY
    """What of the node it is, without a port: its name, its address, or any of them."""
    timeout_s: Annotated[float, Field(gt=0, le=600)] = 30.0
    """For one query."""
    at_once: Annotated[int, Field(ge=1, le=32)] = 4
    """Queries at the same time."""


def indicators(settings: Mapping[str, Any], around: Surroundings) -> PrometheusIndicators:
    """The source of these settings. Raises SourceError for settings that it does not take."""
    return PrometheusIndicators(checked(PrometheusSettings, settings, KIND), around)


class PrometheusIndicators:
    """Asks a server with a memory. What it has is kept as it is: counters stay counters."""

    name = KIND

    def __init__(self, settings: PrometheusSettings, around: Surroundings) -> None:
        self.problems: Sequence[str] = ()
        self._settings = settings
        self._around = around
        self._naming = Naming(around.addresses, settings.label, settings.by)
        try:
            within = matchers(settings.selector)
        except ValueError as error:
            raise SourceError(f"source {KIND}: selector: {error}") from None
        self._scraped = f"timestamp({Selector(SCRAPED.metric, within)})"
        self._queries = self._usual(within) | settings.queries
        if not self._queries:
            raise SourceError(f"source {KIND}: no queries and usual: false leave nothing to ask. Write queries.")

    def _usual(self, within: tuple[Matcher, ...]) -> dict[str, str]:
        if not self._settings.usual:
            return {}
        return {indicator: formula.promql(self._settings.label, within) for indicator, formula in FORMULAS.items()}

    async def read(
        self, nodes: Sequence[str], *, start: datetime, end: datetime, step_s: float, timeout_s: float
    ) -> Sequence[Series]:
        """As IndicatorSource says. A query that the server refuses is a problem, and the others are read."""
        import aiohttp

        wanted = tuple(nodes) or tuple(self._around.addresses)
        every = spans(start.timestamp(), end.timestamp(), step_s, len(self._around.addresses))
        windows = list(islice(every, WINDOWS_LIMIT + 1))
        if len(windows) > WINDOWS_LIMIT:
            what = f"{KIND}: {start:%Y-%m-%d} to {end:%Y-%m-%d} every {step_s:g} s are more than {WINDOWS_LIMIT}"
            raise SourceError(f"{what} questions for each query. Ask for a shorter time, or a longer step.")
        settings = self._settings
        way = await way_of(settings, self._around, KIND, https=settings.url.startswith("https:"))
        try:
            async with (
                asyncio.timeout(timeout_s),
                aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=settings.at_once)) as session,
            ):
                api = Api(session, settings.url, way, timeout_s=settings.timeout_s)
                scraped = await api.ask(self._scraped, windows)
                reader = Reader(
                    label=settings.label,
                    naming=self._naming,
                    scrapes=scrapes_of(scraped.series, settings.label),
                    wanted=frozenset(wanted),
                )
                told = await self._ask_all(api, windows, reader)
        except TimeoutError:
            what = f"{KIND}: {settings.url} did not answer {len(self._queries)} queries within {timeout_s:g} s"
            raise SourceError(f"{what}. Ask for a shorter time, or give it more.") from None
        except Refused as error:
            raise SourceError(f"{KIND}: {settings.url} refuses even {self._scraped}: {error}") from error
        cuts = (cut(one, start, end) for each in told for one in each.series)
        series = [one for one in cuts if one.times_s.size]
        seen = set(reader.scrapes.times).union(reader.scrapes.twice, *(each.seen for each in told))
        problems = [
            *(f"it warns: {warning}" for warning in scraped.warnings),
            *(problem for each in told for problem in each.problems),
            *reader.missing(wanted, {one.node for one in series}, seen),
        ]
        self.problems = tuple(dict.fromkeys(problems))
        return series

    async def close(self) -> None:
        """Nothing is held open."""

    async def _ask_all(self, api: Api, windows: list[Span], reader: Reader) -> list[Told]:
        """What each query gave, in their order. Raises SourceError for the server's own trouble."""
        free = asyncio.Semaphore(self._settings.at_once)

        async def one(indicator: str, query: str) -> Told:
            async with free:
                try:
                    answered = await api.ask(query, windows)
                except Refused as refused:
                    return Told(problems=(f"{indicator}: the query is refused: {refused}",))
            if indicator in self._settings.queries and not answered.series:
                nothing = f"{indicator}: the query gives nothing. Is there such a metric in this time?"
                return Told(problems=(nothing,))
            return reader.read(indicator, answered)

        tasks = [asyncio.create_task(one(indicator, query)) for indicator, query in self._queries.items()]
        try:
            return await asyncio.gather(*tasks)
        finally:  # at the first that says that the server is in trouble, the others need not ask it
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
