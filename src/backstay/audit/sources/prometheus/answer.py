"""What /api/v1/query_range answers (https://prometheus.io/docs/prometheus/latest/querying/api/). Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from backstay.audit.model import Floats

SERIES_LIMIT = 20_000
WORDS_LIMIT = 300


class Nonsense(Exception):
    """Not what the API answers: what it was."""


class Refused(Exception):
    """The server did not carry out this query: its own words. `bad_query`: the query is at fault, not the server."""

    def __init__(self, words: str, *, bad_query: bool) -> None:
        super().__init__(words)
        self.bad_query = bad_query


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """One series of an answer."""

    labels: Mapping[str, str]
    times_s: Floats  # (samples,): when it was evaluated
    values: Floats  # (samples,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    series: tuple[Labelled, ...]
    warnings: tuple[str, ...]  # the answer may not be whole


def parse(body: bytes) -> Answered:
    """Raises Nonsense, and Refused for an error of the API."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        raise Nonsense(f"no JSON: {_short(body.decode(errors='replace'))!r}") from None
    if not isinstance(told, dict) or told.get("status") not in ("success", "error"):
        raise Nonsense(f"JSON without a status: {_short(str(told))!r}")
    if told["status"] == "error":
        kind = str(told.get("errorType", ""))
        raise Refused(_short(f"{kind}: {told.get('error', 'no reason given')}"), bad_query=kind in BAD_QUERY)
    data = told.get("data")
    if not isinstance(data, dict) or data.get("resultType") != "matrix" or not isinstance(data.get("result"), list):
        raise Nonsense(f"no matrix of series: {_short(str(data))!r}")
    if len(data["result"]) > SERIES_LIMIT:
        raise Refused(
            f"{len(data['result'])} series, {SERIES_LIMIT} at most: has it a label too many? Sum by the node's label.",
            bad_query=True,
        )
    warnings = [_short(str(warning)) for warning in told.get("warnings") or ()]
    if told.get("isPartial") is True:  # VictoriaMetrics, when a storage node is away
        warnings.append("a part of the storage did not answer")
    return Answered(series=tuple(_series(one) for one in data["result"]), warnings=tuple(warnings))


BAD_QUERY = ("bad_data", "execution", "400", "422")  # VictoriaMetrics writes the HTTP status


def _series(one: Any) -> Labelled:
    try:
        labels, pairs = dict(one["metric"]), one.get("values", ())
        # Native histograms come as `histograms`, and give no number.
        columns = np.array([(float(time_s), float(value)) for time_s, value in pairs], np.float64).reshape(-1, 2)
    except (TypeError, ValueError, KeyError, AttributeError):
        raise Nonsense(f"a series that is none: {_short(str(one))!r}") from None
    if not np.isfinite(columns[:, 0]).all():
        raise Nonsense(f"a sample without a time: {_short(str(one))!r}")
    return Labelled(
        labels={str(name): str(value) for name, value in labels.items()}, times_s=columns[:, 0], values=columns[:, 1]
    )


def _short(words: str) -> str:
    return " ".join(words[: 4 * WORDS_LIMIT].split())[:WORDS_LIMIT]
