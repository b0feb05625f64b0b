"""Samples as sources told them, into the tables `series` and `fresh`: each once, none from the future."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backstay.audit.model import Series, SeriesKind
from backstay.audit.store.database import Columns, Session
from backstay.audit.store.indicators.cells import Samples, Whole

Chosen = NDArray[np.bool_]

SAMPLES_AT_ONCE = 2_000_000  # in memory
NEVER = -1  # no sample yet

FUTURE = "samples from later than now, left out (is the node's clock ahead?)"
UNDATED = "samples without a time, or from before 1970, left out"
UNKNOWN = "values that are infinite or no number, as gaps"
DOUBLED = "doubled samples, of which the first counts"
FOLDED = "samples from a time that is down-sampled already, left out"


@dataclass(slots=True)
class Kept:
    """A series of the store."""

    id: int
    new: bool
    latest: int = NEVER  # ms
    folded: int = NEVER  # ms: what is older cannot be added


class Keeping:
    """One `add`. `latest_ms`: what is later is from the future."""

    def __init__(self, session: Session, latest_ms: float) -> None:
        self._session = session
        self._latest_ms = latest_ms
        self._counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}
        self.new = 0

    @property
    def problems(self) -> tuple[str, ...]:
        return tuple(f"{what}: {count} (first: {self._first[what]})" for what, count in self._counts.items())

    def keep(self, series: Sequence[Series]) -> None:
        known = self._known(series)
        for part in _parts(series):
            self._keep([known[_key(one)] for one in part], part)
        self._save(known)

    def _known(self, series: Sequence[Series]) -> dict[tuple[str, str, bool], Kept]:
        """Of every series; ids for the new ones."""
        keys = list(dict.fromkeys(_key(one) for one in series))
        nodes, indicators, counters = zip(*keys, strict=True) if keys else ((), (), ())
        columns = {
            "node": np.array(nodes, object),
            "indicator": np.array(indicators, object),
            "counter": np.array(counters, bool),
        }
        with self._session.given("told", columns):
            rows = self._session.rows(
                "SELECT node, indicator, counter, id, latest, coalesce(folded, -1) FROM series "
                "SEMI JOIN told USING (node, indicator, counter)"
            )
        found = {
            (node, indicator, counter): Kept(id, False, latest, folded)
            for node, indicator, counter, id, latest, folded in rows
        }
        next_id = self._session.rows("SELECT coalesce(max(id), -1) + 1 FROM series")[0][0]
        for key in keys:
            if key not in found:
                found[key] = Kept(next_id, True)
                next_id += 1
        return found

    def _keep(self, kept: Sequence[Kept], series: Sequence[Series]) -> None:
        """`kept`: as many as `series`; one may occur more than once."""
        samples = self._tidy(kept, series)
        latest = {one.id: one.latest for one in kept}
        ids, place = np.unique(samples.series, return_inverse=True)
        newer = samples.times_ms > np.array([latest[id] for id in ids.tolist()], np.int64)[place]
        self._newer(samples, newer)
        self._late(samples, ~newer)
        last = {one: int(samples.times_ms[where][-1]) for one, where in samples.each()}
        for one in kept:
            one.latest = max(one.latest, last.get(one.id, NEVER))

    def _tidy(self, kept: Sequence[Kept], series: Sequence[Series]) -> Samples:
        """By series and time, each once, finite, not from the future, not older than what is down-sampled."""
        sizes = [one.times_s.size for one in series]
        owner = np.repeat(np.arange(len(series)), sizes)
        times_s = np.concatenate([np.asarray(one.times_s, float) for one in series])
        values = np.concatenate([np.asarray(one.values, float) for one in series])
        dated = (times_s >= 0.0) & (times_s * 1000.0 <= self._latest_ms)
        times_ms = np.rint(np.where(dated, times_s, 0.0) * 1000.0).astype(np.int64)
        left = np.ones(owner.size, bool)
        for what, which in (
            (UNDATED, ~(times_s >= 0.0)),
            (FUTURE, ~dated),
            (UNKNOWN, ~np.isfinite(values)),
            (FOLDED, times_ms < np.repeat([one.folded for one in kept], sizes)),
        ):
            self._tell(what, left & which, owner, series)
            left &= ~which
        ids = np.repeat(np.array([one.id for one in kept], np.int64), sizes)
        order = np.flatnonzero(left)[
            np.lexsort((times_ms[left], ids[left]))
        ]  # stable: the first that was told is first
        ids, times_ms, values, owner = ids[order], times_ms[order], values[order], owner[order]
        doubled = np.append(False, (np.diff(ids) == 0) & (np.diff(times_ms) == 0))[: ids.size]
        self._tell(DOUBLED, doubled, owner, series)
        return Samples(ids[~doubled], times_ms[~doubled], values[~doubled])

    def _newer(self, samples: Samples, which: Chosen) -> None:
        """Samples that cannot be there yet."""
        if which.any():
            with self._session.given("new", _columns(samples, which)):
                self.new += self._session.run("INSERT INTO fresh SELECT series, time, value FROM new")

    def _late(self, samples: Samples, which: Chosen) -> None:
        """Samples that may be there already."""
        if not which.any():
            return
        columns = _columns(samples, which)
        with self._session.given("late", columns):
            self.new += self._session.run(
                "INSERT INTO fresh SELECT series, time, value FROM late "
                "ANTI JOIN (SELECT series, time FROM samples WHERE time BETWEEN $1 AND $2) USING (series, time)",
                (int(columns["time"].min()), int(columns["time"].max())),
            )

    def _save(self, known: dict[tuple[str, str, bool], Kept]) -> None:
        changed = {key: one for key, one in known.items() if one.latest != NEVER}
        if not changed:
            return
        columns = {
            "id": np.array([one.id for one in changed.values()], np.int64),
            "new": np.array([one.new for one in changed.values()], bool),
            "node": np.array([node for node, _, _ in changed], object),
            "indicator": np.array([indicator for _, indicator, _ in changed], object),
            "counter": np.array([counter for _, _, counter in changed], bool),
            "latest": np.array([one.latest for one in changed.values()], np.int64),
        }
        with self._session.given("told", columns):
            self._session.run(
                "UPDATE series SET latest = told.latest FROM told "
                "WHERE series.id = told.id AND series.latest < told.latest"
            )
            self._session.run(
                "INSERT INTO series (id, node, indicator, counter, latest) "
                "SELECT id, node, indicator, counter, latest FROM told WHERE new"
            )

    def _tell(self, what: str, which: Chosen, owner: Whole, series: Sequence[Series]) -> None:
        """`which` of the samples; `owner`: the place in `series` of each."""
        count = int(which.sum())
        if count:
            first = series[int(owner[int(which.argmax())])]
            self._counts[what] += count
            self._first.setdefault(what, f"{first.node}, {first.indicator}")


def _key(series: Series) -> tuple[str, str, bool]:
    return series.node, series.indicator, series.kind is SeriesKind.COUNTER


def _parts(series: Sequence[Series]) -> Iterator[Sequence[Series]]:
    """SAMPLES_AT_ONCE at a time, or one series that has more."""
    part: list[Series] = []
    size = 0
    for one in series:
        if part and size + one.times_s.size > SAMPLES_AT_ONCE:
            yield part
            part, size = [], 0
        part.append(one)
        size += one.times_s.size
    if part:
        yield part


def _columns(samples: Samples, which: Chosen) -> Columns:
    return {"series": samples.series[which], "time": samples.times_ms[which], "value": samples.values[which]}
