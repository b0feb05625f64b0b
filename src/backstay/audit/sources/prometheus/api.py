"""One query over a time, in windows of as many points as a server takes."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from backstay.audit.ports import SourceError
from backstay.audit.sources.asked import NotAnswered
from backstay.audit.sources.asking import Answer, Way, get, refusal
from backstay.audit.sources.prometheus.answer import Answered, Labelled, Nonsense, Refused, parse

if TYPE_CHECKING:
    import aiohttp

POINTS_LIMIT = 10_000  # of one series in one answer; Prometheus refuses more than 11,000
VALUES_LIMIT = 500_000  # of all series together, as far as we can tell: some 15 MB
ANSWER_LIMIT_BYTES = 64 * 2**20
WINDOWS_LIMIT = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Points of evaluation, both ends included, Unix seconds."""

    start_s: float
    end_s: float
    step_s: float


def spans(start_s: float, end_s: float, step_s: float, series: int) -> Iterator[Span]:
    """The time in windows. Points lie on multiples of the step: asked again, the same points come.

    `series`: how many there will be, about. A time without such a multiple is asked for at its end.
    """
    points = max(1, min(POINTS_LIMIT, VALUES_LIMIT // max(1, series)))
    first, last = math.ceil(start_s / step_s), math.floor(end_s / step_s)
    if first > last:
        yield Span(start_s=end_s, end_s=end_s, step_s=step_s)
        return
    for begin in range(first, last + 1, points):
        end = min(begin + points - 1, last)
        yield Span(start_s=begin * step_s, end_s=end * step_s, step_s=step_s)


class Api:
    """A server's query API, for one reading."""

    def __init__(self, session: aiohttp.ClientSession, url: str, way: Way, *, timeout_s: float) -> None:
        self._session = session
        self._url = f"{url.rstrip('/')}/api/v1/query_range"
        self._way = way
        self._timeout_s = timeout_s

    async def ask(self, query: str, windows: list[Span]) -> Answered:
        """The series of `query` over all windows.

        Raises Refused when the query is at fault, SourceError when the server is.
        """
        found: dict[tuple[tuple[str, str], ...], list[Labelled]] = {}
        warnings: list[str] = []
        for window in windows:
            answered = await self._one(query, window)
            warnings += answered.warnings
            for one in answered.series:
                found.setdefault(tuple(sorted(one.labels.items())), []).append(one)
        series = tuple(_joined(parts) for parts in found.values())
        return Answered(series=series, warnings=tuple(dict.fromkeys(warnings)))

    async def _one(self, query: str, window: Span) -> Answered:
        params = {
            "query": query,
            "start": f"{window.start_s:.3f}",
            "end": f"{window.end_s:.3f}",
            "step": f"{window.step_s:g}",
            "timeout": f"{self._timeout_s:g}s",
        }
        try:
            answer = await get(
                self._session,
                self._url,
                self._way,
                params=params,
                timeout_s=self._timeout_s,
                limit_bytes=ANSWER_LIMIT_BYTES,
            )
            return await asyncio.to_thread(_read, self._url, answer)  # megabytes of JSON hold up nobody
        except NotAnswered as error:
            raise SourceError(f"prometheus: {error}") from error
        except Nonsense as error:
            what = f"prometheus: {self._url} answered {error}"
            raise SourceError(f"{what}. Is `url` that of a query API, with its prefix?") from error
        except Refused as error:
            if error.bad_query:
                raise
            raise SourceError(f"prometheus: {self._url} could not answer: {error}. Ask it for less.") from error


def _read(url: str, answer: Answer) -> Answered:
    """Raises Nonsense, Refused and NotAnswered."""
    if answer.status in (200, 400, 422, 503):  # what the API itself answers with, in JSON
        try:
            return parse(answer.body)
        except Nonsense:
            if answer.status == 200:
                raise
    raise NotAnswered(refusal(url, answer))


def _joined(parts: list[Labelled]) -> Labelled:
    if len(parts) == 1:
        return parts[0]
    return Labelled(
        labels=parts[0].labels,
        times_s=np.concatenate([part.times_s for part in parts]),
        values=np.concatenate([part.values for part in parts]),
    )
