"""node_exporter (or any exporter) scraped directly, no Prometheus between: the kind `exporter`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, StringConstraints

from backstay.audit.model import Series
from backstay.audit.ports import SourceError, Surroundings
from backstay.audit.sources.asked import UNKNOWN, NotAnswered, ask_each
from backstay.audit.sources.asking import Access, Way, get, refusal, url_of, way_of
from backstay.audit.sources.hosts.exposition import read
from backstay.audit.sources.hosts.selector import selector
from backstay.audit.sources.hosts.table import FORMULAS, Formula, single, values
from backstay.audit.sources.settings import checked
from backstay.estate.audit import IndicatorName
from backstay.estate.model import Path, Port

if TYPE_CHECKING:
    import aiohttp

KIND = "exporter"
ANSWER_LIMIT_BYTES = 16 * 2**20  # node_exporter on a large machine: under 1 MB
Selects = Annotated[str, StringConstraints(min_length=1, max_length=1_000)]


class ExporterSettings(Access):
    scheme: Literal["http", "https"] = "http"
    """With https its certificate names the node."""
    port: Port = 9100
    """Of the exporter, on every node."""
    path: Path = "/metrics"
    """Of its page."""
    metrics: dict[IndicatorName, Selects] = Field(default_factory=dict, max_length=200)
    """Indicator to the metric that it is the sum of, as PromQL selects it: beside the usual ones, or in their place."""
    usual: bool = True
    """The indicators of node_exporter (docs/audit-sources.md has the table)."""
    timeout_s: Annotated[float, Field(gt=0, le=120)] = 10.0
    """For one node."""
    at_once: Annotated[int, Field(ge=1, le=256)] = 16
    """Nodes at the same time."""


def indicators(settings: Mapping[str, Any], around: Surroundings) -> ExporterIndicators:
    """The source of these settings. Raises SourceError for settings that it does not take."""
    return ExporterIndicators(checked(ExporterSettings, settings, KIND), around)


class ExporterIndicators:
    """Asks every node for what is now. Its counters restart with the node: the store sees that."""

    name = KIND

    def __init__(self, settings: ExporterSettings, around: Surroundings) -> None:
        self.problems: Sequence[str] = ()
        self._settings = settings
        self._around = around
        self._formulas = formulas_of(settings.metrics, usual=settings.usual)
        self._metrics = frozenset(metric for formula in self._formulas.values() for metric in formula.metrics)

    async def read(
        self, nodes: Sequence[str], *, start: datetime, end: datetime, step_s: float, timeout_s: float
    ) -> Sequence[Series]:
        """As IndicatorSource says: a sample an indicator, with our own time: a node's clock does not matter."""
        import aiohttp

        settings, addresses = self._settings, self._around.addresses
        known = [node for node in nodes or addresses if node in addresses]
        unknown = [UNKNOWN.format(node=node) for node in nodes if node not in addresses]
        way = await way_of(settings, self._around, KIND, https=settings.scheme == "https")
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def ask(node: str) -> list[Series]:
                return await self._scrape(session, way, node)

            asked = await ask_each(known, ask, at_once=settings.at_once, timeout_s=timeout_s)
        self.problems = (*unknown, *asked.problems)
        return [series for found in asked.answers.values() for series in found]

    async def close(self) -> None:
        """Nothing is held open."""

    async def _scrape(self, session: aiohttp.ClientSession, way: Way, node: str) -> list[Series]:
        settings = self._settings
        url = url_of(settings.scheme, self._around.addresses[node], settings.port, settings.path)
        before = self._around.clock().timestamp()
        answer = await get(
            session,
            url,
            way,
            timeout_s=settings.timeout_s,
            limit_bytes=ANSWER_LIMIT_BYTES,
            host=node if settings.scheme == "https" else None,
        )
        time_s = 0.5 * (before + self._around.clock().timestamp())
        if answer.status != 200:
            raise NotAnswered(refusal(url, answer))
        try:
            samples = read(answer.body.decode(), self._metrics)
        except ValueError as error:  # no UTF-8, too
            raise NotAnswered(f"{url}: {error}") from None
        found = values(self._formulas, samples)
        if not found:
            raise NotAnswered(f"{url} has none of the metrics that are asked for. Is it node_exporter? See `metrics`.")
        return [single(node, indicator, time_s, value) for indicator, value in found.items()]


def formulas_of(metrics: Mapping[str, str], *, usual: bool) -> dict[str, Formula]:
    """The usual indicators, and those of the settings. Raises SourceError for a selector that is none."""
    formulas = dict(FORMULAS) if usual else {}
    for indicator, text in metrics.items():
        try:
            formulas[indicator] = Formula((selector(text),))
        except ValueError as error:
            raise SourceError(f"source {KIND}: metrics.{indicator}: {error}") from None
    if not formulas:
        raise SourceError(f"source {KIND}: no metrics and usual: false leave nothing to read. Write metrics.")
    return formulas
