"""Years of one watcher's suspicion in a few seconds: how often it is wrong, how fast it is right. Pure.

A pair-year has about 1e8 probes; nearly all are answered and change nothing, so they are not played. What is:

- **Disturbances** (pauses, lossy minutes, outages) are drawn as Poisson processes and played in full (play.py).
- **Independent loss** is split (exactly; the coins are independent). A probe that is missed in health opens an
  episode: rate = sum over kinds of P(miss) a second. It is *quiet* when of the first two HTTP and first two HTTPS
  probes of its burst at most one is missed, and *hard* otherwise; the sixteen cases have their exact probabilities.
  Hard ones are a Poisson process of rate x P(hard) and are played, their case forced. Quiet ones convince nobody (each
  sort is played 48 times for the watcher that is easiest to convince, and a rate at which one does is refused) and are
  too short to be learnt as silences (likewise), but they are alarms, and lose packets: of the last 40 minutes (four
  half-lives) before an event as many as chance deals are drawn from those played.
- **Learnt state** lives as long as the pair (YEARS_A_PAIR). Watchers of several configured rates share one state until
  one of them takes over, and again when they know the same.
- **Deaths** are played from what each pair knows at its end, after the last probes of health.

Each of these silences would have ended by itself, so each takeover but of a death is *false*, with one exception,
counted apart: *justified, and it came back*. Where the active was cut off from everybody for OUTAGE_S or longer, users
were cut off as well and the takeover ended that; nobody can tell such an outage from a death while it lasts, and nobody
should wait. A path between watcher and active that is cut for as long is no excuse: users still reached the active.

Left out: pauses of the watcher itself (Watcher.stood_still drops what was suspected), outages on its own side (the
check of isolation), and everything after the conviction (compare at the provider, route, verify).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TypeVar

from backstay.failover.model import Seen, Suspicion
from backstay.failover.play import KINDS, RTT_S, Chance, Effect, Opening, Played, Plight, miss_chance, play
from backstay.failover.suspect import HALF_LIFE_S, OUTAGE_S, YEAR_S, take_in
from backstay.look.model import Outcome, ProbeKind

Choice = TypeVar("Choice")
Case = tuple[bool, ...]  # of the first probes of a burst: HTTP of each round, then HTTPS; True: missed

YEARS_A_PAIR = 10.0
SERVICE = KINDS[1:]
ROUNDS = 2  # of a burst, that decide whether an episode of independent loss is quiet
LIBRARY = 48  # played quiet episodes of each sort
DEALT = 8192  # of them, each sort as often as it happens: what is drawn from
RECENT_S = 4 * HALF_LIFE_S
INDEPENDENT = "independent loss"
DEATHS: Mapping[str, Effect] = {
    "engine": Effect.REFUSE,  # and its agent, which runs, does not get it up again
    "engine and agent": Effect.GONE,
    "hang": Effect.HANG,
    "link down": Effect.CUT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Disturbance:
    """Something that ends by itself. Lengths are log-uniform between the two."""

    name: str
    effect: Effect
    per_year: float
    shortest_s: float
    longest_s: float
    losses: tuple[float, ...] = (0.0,)  # one of them, equally likely
    everybody: bool = True  # it is felt by the users too, not by this watcher alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """What a load balancer and the path to it go through in a year."""

    name: str
    sources: tuple[str, ...]  # of the figures
    loss: float  # of packets, independent, always
    disturbances: tuple[Disturbance, ...]
    share: float = 1.0  # of the pair-years that are asked for: where more happens, fewer say as much

    def times(self, factor: float, name: str) -> Pattern:
        """So much more often, and so much more independent loss; no longer."""
        worse = tuple(replace(one, per_year=one.per_year * factor) for one in self.disturbances)
        sources = (f"{factor:g} times as often as {self.name}, no longer",)
        return Pattern(name=name, sources=sources, loss=self.loss * factor, disturbances=worse, share=0.5)


MEASURED = Pattern(
    name="measured",
    sources=(
        "published: loss within a datacenter 1e-5 to 1e-4 (Guo et al., Pingmesh, SIGCOMM 2015)",
        "published: pauses of live migrations 50 ms median, 300 ms 99th percentile (Ruprecht et al., VM Live Migration"
        " At Scale, VEE 2018): with one a month 2.2 a year above 0.1 s and 0.017 above 0.5 s, by a log-normal through"
        " the two; taken as 2 and 0.02, with heavier tails",
        "published: pauses of up to 5 s in live migrations (Azure, Maintenance for virtual machines): the longest",
        "published: a top-of-rack switch fails in about 5% of years (Gill et al., SIGCOMM 2011); its 30 s are assumed",
        "assumed: one migration a month; bursts of loss, lossy minutes, cut paths, restarts of an engine",
        "measured by us: the round trip, in namespaces under load (docs/failover.md)",
    ),
    loss=2e-5,
    disturbances=(
        Disturbance(name="short pause", effect=Effect.PAUSE, per_year=2.0, shortest_s=0.1, longest_s=0.5),
        Disturbance(name="long pause", effect=Effect.PAUSE, per_year=0.02, shortest_s=0.5, longest_s=5.0),
        Disturbance(
            name="burst of loss",
            effect=Effect.LOSS,
            per_year=2.0,
            shortest_s=0.1,
            longest_s=2.0,
            losses=(0.1, 0.3, 0.5),
        ),
        Disturbance(
            name="lossy minutes",
            effect=Effect.LOSS,
            per_year=0.01,
            shortest_s=60.0,
            longest_s=180.0,
            losses=(0.1, 0.2, 0.3),
        ),
        Disturbance(name="engine restart", effect=Effect.REFUSE, per_year=1.0, shortest_s=0.3, longest_s=1.2),
        Disturbance(name="switch outage", effect=Effect.CUT, per_year=0.05, shortest_s=30.0, longest_s=30.0),
        Disturbance(
            name="cut path", effect=Effect.CUT, per_year=0.002, shortest_s=30.0, longest_s=30.0, everybody=False
        ),
    ),
)
PATTERNS: Mapping[str, Pattern] = {one.name: one for one in (MEASURED, MEASURED.times(10, "worse"))}


@dataclass(slots=True)
class Tally:
    """What came of it at one configured rate."""

    pattern: str
    rate: float  # false_takeovers_per_year, as configured
    pair_years: float
    happened: Counter[str] = field(default_factory=Counter)  # cause -> how often
    false: Counter[str] = field(default_factory=Counter)  # cause -> how often it was taken for a death
    justified: Counter[str] = field(default_factory=Counter)  # likewise, of outages that users felt too
    took_s: dict[str, list[float]] = field(default_factory=dict)  # death -> detection times, sorted
    missed: Counter[str] = field(default_factory=Counter)  # death -> not detected within a minute

    @property
    def false_per_year(self) -> float:
        return self.false.total() / self.pair_years

    @property
    def justified_per_year(self) -> float:
        return self.justified.total() / self.pair_years

    @property
    def interval(self) -> tuple[float, float]:
        """95%, of false takeovers a pair-year."""
        low, high = poisson_interval(self.false.total())
        return low / self.pair_years, high / self.pair_years

    @property
    def verdict(self) -> str:
        low, high = self.interval
        return "met" if high <= self.rate else "NOT MET" if low > self.rate else "within its interval"

    def detection_s(self, death: str, part: float) -> float | None:
        """The quantile `part` (0..1) of a death's detection times, by nearest rank; None: never detected."""
        times = self.took_s.get(death)
        return times[max(0, math.ceil(part * len(times)) - 1)] if times else None


def simulate(pattern: Pattern, rates: Sequence[float], pair_years: float, chance: Chance) -> list[Tally]:
    """Play `pair_years` of `pattern`; one tally a configured rate, in their order. The same chance, the same result.

    Raises ValueError for years or rates that are not positive.
    """
    if not (0 < pair_years < math.inf) or not rates or min(rates) <= 0:
        raise ValueError(f"{pair_years} pair-years at rates {list(rates)}: give positive ones")
    tallies = {rate: Tally(pattern=pattern.name, rate=rate, pair_years=pair_years) for rate in rates}
    quiet = _Quiet(pattern.loss, rates, chance)
    left = pair_years
    while left > 0:
        years = min(left, YEARS_A_PAIR)
        _Pair(pattern, quiet, tallies, chance).live(years * YEAR_S)
        left -= years
    for tally in tallies.values():
        for times in tally.took_s.values():
            times.sort()
    return list(tallies.values())


@dataclass(frozen=True, slots=True)
class _Event:
    at_s: float
    cause: str
    plight: Plight
    opening: Opening | None = None
    justifies: bool = False


class _Pair:
    def __init__(self, pattern: Pattern, quiet: _Quiet, tallies: Mapping[float, Tally], chance: Chance) -> None:
        self._pattern, self._quiet, self._tallies, self._chance = pattern, quiet, tallies, chance
        self._now_s = 0.0
        self._known: list[tuple[Suspicion, tuple[float, ...]]] = [(fresh(), tuple(tallies))]

    def live(self, for_s: float) -> None:
        for event in sorted(self._events(for_s), key=lambda event: event.at_s):
            self._pass(max(self._now_s, event.at_s))
            plight = replace(event.plight, start_s=self._now_s)
            self._all_play(replace(event, plight=plight))
            self._now_s += plight.length_s
        self._pass(max(self._now_s, for_s))
        for name, effect in DEATHS.items():
            self._die(name, effect)

    def _events(self, for_s: float) -> Iterator[_Event]:
        background = self._pattern.loss
        for one in self._pattern.disturbances:
            for at_s in _arrivals(one.per_year / YEAR_S, for_s, self._chance):
                length_s = one.shortest_s * (one.longest_s / one.shortest_s) ** self._chance.random()
                loss = one.losses[int(self._chance.random() * len(one.losses))]
                plight = Plight(effect=one.effect, start_s=at_s, length_s=length_s, loss=loss, background=background)
                justifies = one.everybody and one.effect is Effect.CUT and length_s >= OUTAGE_S
                yield _Event(at_s, one.name, plight, justifies=justifies)
        for at_s in _arrivals(self._quiet.hard_per_s, for_s, self._chance):
            plight = Plight(effect=Effect.LOSS, start_s=at_s, length_s=0.0, background=background)
            yield _Event(at_s, INDEPENDENT, plight, self._quiet.hard_opening(self._chance))

    def _pass(self, to_s: float) -> None:
        """Time in which nothing but quiet episodes happens."""
        taught = self._quiet.taught(to_s - self._now_s, to_s, self._chance)
        known: list[tuple[Suspicion, tuple[float, ...]]] = []
        for suspicion, rates in self._known:
            _join(known, taught.add_to(suspicion), rates)
        self._known, self._now_s = known, to_s

    def _all_play(self, event: _Event) -> None:
        known: list[tuple[Suspicion, tuple[float, ...]]] = []
        for suspicion, rates in self._known:
            for rate, played in play(suspicion, event.plight, rates, self._chance, event.opening).items():
                tally = self._tallies[rate]
                tally.happened[event.cause] += 1
                if played.convinced_after_s is not None:
                    (tally.justified if event.justifies else tally.false)[event.cause] += 1
                _join(known, played.suspicion, (rate,))
        self._known = known

    def _die(self, name: str, effect: Effect) -> None:
        plight = Plight(effect=effect, start_s=self._now_s, length_s=math.inf, background=self._pattern.loss)
        for suspicion, rates in self._known:
            for rate, played in play(suspicion, plight, rates, self._chance).items():
                if played.convinced_after_s is None:
                    self._tallies[rate].missed[name] += 1
                else:
                    self._tallies[rate].took_s.setdefault(name, []).append(played.convinced_after_s)


def _join(known: list[tuple[Suspicion, tuple[float, ...]]], suspicion: Suspicion, joining: tuple[float, ...]) -> None:
    """Watchers that know the same go on together."""
    for index, (other, rates) in enumerate(known):
        if other.normal == suspicion.normal:
            known[index] = (other, (*rates, *joining))
            return
    known.append((suspicion, joining))


def fresh() -> Suspicion:
    """A watcher that has seen each kind answer, and nothing else."""
    suspicion = Suspicion()
    for kind in KINDS:
        suspicion = take_in(suspicion, Seen(at_s=0.0, kind=kind, outcome=Outcome.ANSWERED, rtt_s=RTT_S))
    return suspicion


@dataclass(frozen=True, slots=True)
class _Taught:
    """What a time of health leaves behind."""

    for_s: float
    at_s: float
    lost: float
    alarms: float

    def add_to(self, suspicion: Suspicion) -> Suspicion:
        keep = 0.5 ** (self.for_s / HALF_LIFE_S)
        before = suspicion.normal
        normal = replace(
            before,
            watched_s=self.at_s,  # from the pair's beginning on
            packets_sent=before.packets_sent * keep + (1.0 - keep) * HALF_LIFE_S / math.log(2),  # a ping a second
            packets_lost=before.packets_lost * keep + self.lost,
            alarms=before.alarms * keep + self.alarms,
            updated_at_s=self.at_s,
        )
        return replace(suspicion, normal=normal, seen_at_s=dict.fromkeys(KINDS, self.at_s), icmp_only_since_s=None)


class _Quiet:
    """Independent loss: its cases, their probabilities, and what the quiet ones teach."""

    def __init__(self, loss: float, rates: Sequence[float], chance: Chance) -> None:
        self._loss = loss
        self._miss = {kind: miss_chance(kind, loss) for kind in KINDS}
        self._per_s = sum(self._miss.values())  # a probe a second of each kind
        cases = [(case, self._weight(case)) for case in product((False, True), repeat=ROUNDS * len(SERVICE))]
        quiet = [(case, weight) for case, weight in cases if sum(case) < ROUNDS]
        self._hard_cases = [(case, weight) for case, weight in cases if sum(case) >= ROUNDS]
        self.hard_per_s = self._per_s * sum(weight for _, weight in self._hard_cases)
        self._lost: list[float] = []  # packets, by one of them; each equally likely
        if self._per_s > 0:
            self._lost = self._play_all(quiet, max(rates), chance)

    def _weight(self, case: Case) -> float:
        kinds = [kind for kind in SERVICE for _ in range(ROUNDS)]
        tossed = zip(kinds, case, strict=True)
        return math.prod(self._miss[kind] if missed else 1.0 - self._miss[kind] for kind, missed in tossed)

    def _play_all(self, cases: Sequence[tuple[Case, float]], rate: float, chance: Chance) -> list[float]:
        """Play some of each sort, then deal them out as often as each sort happens."""
        known = fresh()
        # Easiest to convince: years without any alarm, and the highest rate.
        known = replace(known, normal=replace(known.normal, watched_s=YEARS_A_PAIR * YEAR_S))
        plight = Plight(effect=Effect.LOSS, start_s=0.0, length_s=0.0, background=self._loss)
        library: dict[tuple[ProbeKind, Case], list[Played]] = {}
        for kind, (case, _) in product(KINDS, cases):
            opening = _opening(kind, case)
            library[kind, case] = [play(known, plight, (rate,), chance, opening)[rate] for _ in range(LIBRARY)]
        everyone = [one for played in library.values() for one in played]
        if any(one.convinced_after_s is not None for one in everyone):
            raise ValueError(f"{rate} false takeovers a year: so many that two lost probes convince; give a lower rate")
        assert not any(one.suspicion.normal.silences for one in everyone), "a lost probe is no silence"
        lost = []
        for _ in range(DEALT):
            found = library[_pick(list(self._miss.items()), chance), _pick(cases, chance)]
            lost.append(found[int(chance.random() * len(found))].suspicion.normal.packets_lost)
        return lost

    def hard_opening(self, chance: Chance) -> Opening:
        return _opening(_pick(list(self._miss.items()), chance), _pick(self._hard_cases, chance))

    def taught(self, for_s: float, at_s: float, chance: Chance) -> _Taught:
        """The newest come first: what is older than RECENT_S has decayed."""
        lost = alarms = 0.0
        for age_s in _arrivals(self._per_s, min(for_s, RECENT_S), chance):
            keep = 0.5 ** (age_s / HALF_LIFE_S)
            lost += keep * self._lost[int(chance.random() * DEALT)]
            alarms += keep
        return _Taught(for_s, at_s, lost, alarms)


def _opening(kind: ProbeKind, case: Case) -> Opening:
    missed = {service: case[place * ROUNDS : (place + 1) * ROUNDS] for place, service in enumerate(SERVICE)}
    return Opening(kind=kind, missed=missed)


def _pick(weighed: Sequence[tuple[Choice, float]], chance: Chance) -> Choice:
    at = chance.random() * sum(weight for _, weight in weighed)
    for found, weight in weighed:
        at -= weight
        if at < 0:
            return found
    return weighed[-1][0]


def _arrivals(per_s: float, for_s: float, chance: Chance) -> Iterator[float]:
    """Times of a Poisson process."""
    at_s = 0.0
    while per_s > 0:
        at_s -= math.log(1.0 - chance.random()) / per_s
        if at_s >= for_s:
            return
        yield at_s


def poisson_interval(count: int, doubt: float = 0.05) -> tuple[float, float]:
    """Of a Poisson mean, of which `count` were seen: exact (Garwood 1936), by bisection."""

    def mean_with(enough: int, part: float) -> float:
        """The mean at which P(X < enough) = part."""
        low, high = 0.0, 10.0 + 2.0 * enough + 10.0 * math.sqrt(enough)
        for _ in range(60):
            middle = (low + high) / 2
            terms = [i * math.log(middle) - middle - math.lgamma(i + 1) for i in range(enough)]
            low, high = (middle, high) if sum(map(math.exp, terms)) > part else (low, middle)
        return (low + high) / 2

    return (mean_with(count, 1 - doubt / 2) if count else 0.0), mean_with(count + 1, doubt / 2)
