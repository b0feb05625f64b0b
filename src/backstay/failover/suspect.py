"""Is it dead, or merely unlucky? Evidence from probes, weighed. Pure.

Two questions, and both must be answered:

1. *Could lost packets alone look like this?* A sequential probability ratio test (Wald, Annals of Mathematical
   Statistics 16, 1945): how much likelier are these misses and answers from a dead candidate than from a live one? Its
   threshold is Wald's bound, A <= 1 / P(false alarm), spent over the alarms of a year. The live one sits behind the
   packet loss of the last minutes, or behind a path that has just become lossy (a mixture over loss rates: the first
   seconds of 30% loss look like a hang). A probe over TCP needs about eight packets in a row, so under 30% loss a
   failed HTTP probe says nearly nothing, and under 0.1% nearly everything; pings that answer tell the two apart.
2. *Do live ones fall silent for so long?* Packets are not independent: a paused VM, a switch that relearns, an engine
   that reloads are silent for a while and come back. Patience is the t at which silences longer than t come as often as
   the operator lets this sort be taken for death (its share of `false_takeovers_per_year`):

       silences a year longer than t  =  1 / (t / prior + years)  +  sum of min(1, (length / t)^(2 + n)) / (1 + years)

   The first term is what has not been seen: a gamma-Poisson estimate, Pareto of index 1 while nothing is known (the
   heaviest tail that has a scale), less with each year watched. The second counts the n that were seen here; each also
   stands for longer ones like it, the less the more were seen, so one long pause makes the watcher patient at once, and
   for years. What packet loss explains is no silence: the first question answers it. The phi-accrual
   detector (Hayashibara, Defago, Yared, Katayama, SRDS 2004) asks the same question, P(later), of a normal distribution
   of gaps; a pause is no gap of that kind, and what a person can choose is a rate a year, not phi.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from backstay.failover.model import Death, Episode, Evidence, Normal, Seen, Silence, Suspicion
from backstay.look.model import Outcome, ProbeKind

YEAR_S = 365.25 * 86_400
HALF_LIFE_S = 600.0  # of packet loss and alarms: "the loss of the last minutes"
NEWLY_LOSSY = 0.01  # of alarms: the path has just become lossy, by any of LOSSES
LOSSES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35)  # beyond: an outage, which is a silence and judged by its length
# In a row, of one exchange: SYN to FIN.
PACKETS = {ProbeKind.ICMP: 1, ProbeKind.HTTP: 8, ProbeKind.HTTPS: 12, ProbeKind.TCP: 3}
PACKETS_AFTER_CONNECT = {ProbeKind.HTTP: 3, ProbeKind.HTTPS: 6, ProbeKind.TCP: 0}  # once TCP's handshake is done
P_MISS_IF_DEAD = 0.999
SILENCES_KEPT = 64  # of them the longest
SILENCE_MEMORY_S = 10 * YEAR_S
LEARNT_FROM_S, LEARNT_FROM_NATS = 0.5, 10.0  # less convinces nobody
PATIENCE_STEP_S = 0.001
OUTAGE_S = 10.0  # what lasts longer cuts users off, whatever ends it: no patience goes beyond it, and it teaches none


class Prior(NamedTuple):
    """What is reckoned with before anything was seen of one sort of silence."""

    per_year: float  # longer than a second
    share: float  # of the false takeovers that the operator allows
    least_s: float = 0.0  # of patience


# HOST: from the published pauses of migrated VMs (docs/failover.md), doubled.
# REFUSED: an engine that died is restarted by its agent within about a second, and that is no death.
# TLS: likewise when HTTP is up again first; and a certificate is replaced by a reload.
PRIOR: Mapping[Death, Prior] = {
    Death.HOST: Prior(per_year=0.03, share=0.5),
    Death.HUNG: Prior(per_year=0.01, share=0.15),
    Death.REFUSED: Prior(per_year=0.02, share=0.2, least_s=1.5),
    Death.GONE: Prior(per_year=0.006, share=0.1),
    Death.TLS: Prior(per_year=0.02, share=0.05, least_s=2.0),
}

HOST_SPEAKS = frozenset(
    {Outcome.ANSWERED, Outcome.REFUSED, Outcome.RESET, Outcome.BAD_STATUS, Outcome.BAD_CERTIFICATE, Outcome.BAD_ANSWER}
)
SAYS_NO = frozenset({Outcome.REFUSED, Outcome.RESET, Outcome.BAD_CERTIFICATE, Outcome.BAD_STATUS, Outcome.BAD_ANSWER})
SERVICE = (ProbeKind.HTTP, ProbeKind.HTTPS, ProbeKind.TCP)


def take_in(suspicion: Suspicion, seen: Seen) -> Suspicion:
    """Add one probe. Our own failures (NOT_SENT) say nothing of the target and are left out."""
    if seen.outcome is Outcome.NOT_SENT:
        return suspicion
    missed = seen.outcome is not Outcome.ANSWERED
    normal = _age(suspicion.normal, seen.at_s)
    suspicion = replace(suspicion, normal=normal)
    episode = suspicion.episode
    if episode is not None and seen.at_s < episode.began_at_s:
        return suspicion  # sent before the first miss: an answer to an older question
    if missed and episode is None:
        if seen.at_s < suspicion.seen_at_s.get(seen.kind, -math.inf):
            return suspicion  # a later question was answered meanwhile: old news
        if seen.kind is ProbeKind.ICMP and suspicion.icmp_only_since_s is not None:
            return suspicion  # filtered, and said so: no reason to burst for each ping
        episode = Episode(began_at_s=seen.at_s)
        suspicion = replace(suspicion, normal=replace(normal, alarms=normal.alarms + 1))
    if episode is None:
        return _answered(suspicion, seen)
    return _in_episode(suspicion, episode, seen, missed)


def _answered(suspicion: Suspicion, seen: Seen) -> Suspicion:
    answered = {**suspicion.seen_at_s, seen.kind: seen.at_s}
    if seen.kind is not ProbeKind.ICMP:
        return replace(suspicion, seen_at_s=answered)
    normal = replace(suspicion.normal, packets_sent=suspicion.normal.packets_sent + 1)
    return replace(suspicion, normal=normal, seen_at_s=answered, icmp_only_since_s=None)


def _in_episode(suspicion: Suspicion, episode: Episode, seen: Seen, missed: bool) -> Suspicion:
    counts = dict(episode.misses if missed else episode.answers)
    counts[seen.kind] = counts.get(seen.kind, 0) + 1
    mute = dict(episode.mute)
    if missed and seen.connected and seen.outcome is Outcome.TIMED_OUT:
        mute[seen.kind] = mute.get(seen.kind, 0) + 1
    episode = replace(
        episode,
        mute=mute,
        misses=counts if missed else episode.misses,
        answers=episode.answers if missed else counts,
        last={**episode.last, seen.kind: seen.outcome},
        host_spoke=episode.host_spoke or seen.connected or seen.outcome in HOST_SPEAKS,
    )
    if missed:
        return replace(suspicion, episode=replace(episode, looked_like=sort(episode)))
    suspicion = replace(suspicion, seen_at_s={**suspicion.seen_at_s, seen.kind: seen.at_s})
    return (
        _close(suspicion, episode, seen.at_s + seen.rtt_s) if _cleared(episode) else replace(suspicion, episode=episode)
    )


def hear_of_agent(suspicion: Suspicion, *, gone: bool) -> Suspicion:
    """Take in whether the candidate's agent runs, asked since its service was first missed."""
    episode = suspicion.episode
    if episode is None or episode.agent_gone == gone:
        return suspicion
    episode = replace(episode, agent_gone=gone)
    return replace(suspicion, episode=replace(episode, looked_like=sort(episode)))


def _cleared(episode: Episode) -> bool:
    """Cleared when every kind of the service that was asked answers again; ICMP alone neither clears nor convicts."""
    asked = [kind for kind in SERVICE if kind in episode.last]
    if asked:
        return all(episode.last[kind] is Outcome.ANSWERED for kind in asked)
    return episode.last.get(ProbeKind.ICMP) is Outcome.ANSWERED


def _close(suspicion: Suspicion, episode: Episode, at_s: float) -> Suspicion:
    """The candidate lives: what was missed was bad luck or a silence; learn from it."""
    normal = suspicion.normal
    icmp_missed = episode.misses.get(ProbeKind.ICMP, 0)
    icmp_answered = episode.answers.get(ProbeKind.ICMP, 0)
    filtered = icmp_missed > 0 and icmp_answered == 0 and not _service_missed(episode)
    if not filtered:
        normal = replace(
            normal,
            packets_sent=normal.packets_sent + icmp_missed + icmp_answered,
            packets_lost=normal.packets_lost + icmp_missed,
        )
    if _teaches(episode, at_s - episode.began_at_s, packet_loss(normal)):
        silence = Silence(death=episode.looked_like, ended_at_s=at_s, duration_s=at_s - episode.began_at_s)
        normal = learn_silence(normal, silence)
    since = suspicion.icmp_only_since_s
    if filtered and since is None:
        since = episode.began_at_s
    elif icmp_answered:
        since = None
    return replace(suspicion, normal=normal, episode=None, icmp_only_since_s=since)


def _teaches(episode: Episode, silent_s: float, loss: float) -> bool:
    """What lost packets explain is no silence, and an outage is no pause."""
    if not (_service_missed(episode) and LEARNT_FROM_S <= silent_s <= OUTAGE_S):
        return False
    unanswered = replace(episode, answers={kind: n for kind, n in episode.answers.items() if kind is ProbeKind.ICMP})
    return log_likelihood(unanswered, episode.looked_like, loss) > LEARNT_FROM_NATS


def learn_silence(normal: Normal, silence: Silence) -> Normal:
    """Patience is learnt from it: kept for SILENCE_MEMORY_S, and the longest the longest."""
    kept = [one for one in (*normal.silences, silence) if silence.ended_at_s - one.ended_at_s < SILENCE_MEMORY_S]
    if len(kept) > SILENCES_KEPT:
        kept.remove(min(kept, key=lambda one: one.duration_s))
    return replace(normal, silences=tuple(kept))


def unlearn_death(normal: Normal, since_s: float) -> Normal:
    """What ended since then had convinced: it was a death, and patience is learnt from false alarms alone.

    Unless the host itself was silent: no machine starts within OUTAGE_S, so what is back by then had not died.
    """
    kept = (one for one in normal.silences if one.ended_at_s < since_s or one.death is Death.HOST)
    return replace(normal, silences=tuple(kept))


def _service_missed(episode: Episode) -> bool:
    return any(episode.misses.get(kind, 0) for kind in SERVICE)


def _age(normal: Normal, now_s: float) -> Normal:
    """Decay what is recent; count the time watched. A clock that stands still or returns ages nothing."""
    if normal.updated_at_s is None:
        return replace(normal, updated_at_s=now_s)
    passed = now_s - normal.updated_at_s
    if passed <= 0:
        return normal
    keep = 0.5 ** (passed / HALF_LIFE_S)
    return replace(
        normal,
        watched_s=normal.watched_s + min(passed, 60.0),  # a longer gap is our own absence
        packets_sent=normal.packets_sent * keep,
        packets_lost=normal.packets_lost * keep,
        alarms=normal.alarms * keep,
        updated_at_s=now_s,
    )


def sort(episode: Episode) -> Death:
    """Which death the misses look like."""
    http = episode.last.get(ProbeKind.HTTP)
    https = episode.last.get(ProbeKind.HTTPS)
    if http is Outcome.ANSWERED and https not in (None, Outcome.ANSWERED):
        return Death.TLS
    if http is None and https is Outcome.BAD_CERTIFICATE:
        return Death.TLS  # whoever shows a certificate does not hang
    if not episode.host_spoke:
        return Death.HOST
    if Outcome.REFUSED in (http, https, episode.last.get(ProbeKind.TCP)):
        return Death.GONE if episode.agent_gone else Death.REFUSED
    return Death.HUNG


def weigh(suspicion: Suspicion, now_s: float, *, false_takeovers_per_year: float) -> Evidence | None:
    """The evidence that the candidate is dead at `now_s`; None while it answers.

    Only `Evidence.convincing` is a verdict. A miss of ICMP alone weighs nothing while the service answers.
    """
    episode = suspicion.episode
    if episode is None or not (_service_missed(episode) or not _service_asked(suspicion, episode)):
        return None
    death = sort(episode)
    loss = packet_loss(suspicion.normal)
    silent_s = max(0.0, now_s - episode.began_at_s)
    return Evidence(
        death=death,
        silent_s=silent_s,
        patience_s=patience_s(suspicion.normal, death, false_takeovers_per_year=false_takeovers_per_year),
        log_likelihood=log_likelihood(episode, death, loss, pings=suspicion.icmp_only_since_s is None),
        threshold=threshold(suspicion.normal, false_takeovers_per_year=false_takeovers_per_year),
        packet_loss=loss,
        misses=episode.misses,
        answers=episode.answers,
    )


def _service_asked(suspicion: Suspicion, episode: Episode) -> bool:
    return any(kind in suspicion.seen_at_s or kind in episode.last for kind in SERVICE)


def packet_loss(normal: Normal) -> float:
    """The loss of the last minutes, with a prior worth ten packets at 0.5%: a new watcher is neither blind nor sure."""
    return min(LOSSES[-1], (normal.packets_lost + 0.05) / (normal.packets_sent + 10.0))


def log_likelihood(episode: Episode, death: Death, loss: float, *, pings: bool = True) -> float:
    """Nats by which the episode is likelier from a dead candidate than from a live one.

    `pings`: whether ICMP tells anything; behind a filter it does not.
    """
    paths = [(math.log(1.0 - NEWLY_LOSSY), loss)]
    paths += [(math.log(NEWLY_LOSSY / len(LOSSES)), lossy) for lossy in LOSSES]
    if_alive = [weight + _of_alive(episode, rate, pings) for weight, rate in paths]
    if_dead = [weight + _of_dead(episode, death, rate, pings) for weight, rate in paths]
    return _log_sum(if_dead) - _log_sum(if_alive)


def _of_alive(episode: Episode, loss: float, pings: bool) -> float:
    total = _of_pings(episode, loss) if pings else 0.0
    return total + sum(_of_live_service(episode, kind, loss) for kind in SERVICE if kind in episode.last)


def _of_dead(episode: Episode, death: Death, loss: float, pings: bool) -> float:
    total = 0.0
    if pings and death is Death.HOST:
        total += episode.misses.get(ProbeKind.ICMP, 0) * math.log(P_MISS_IF_DEAD)
    elif pings:
        total += _of_pings(episode, loss)
    for kind in SERVICE:
        if kind not in episode.last:
            continue
        if death is Death.TLS and kind is ProbeKind.HTTP:
            total += _of_live_service(episode, kind, loss)
            continue
        total += episode.misses.get(kind, 0) * math.log(P_MISS_IF_DEAD)
        total += episode.answers.get(kind, 0) * math.log(1.0 - P_MISS_IF_DEAD)
    return total


def _of_live_service(episode: Episode, kind: ProbeKind, loss: float) -> float:
    of_tcp = 1.0 - (1.0 - loss) ** PACKETS[kind]
    # An answer that says no (refused, reset, a bad certificate) is not a lost packet.
    miss = 1e-6 if episode.last.get(kind) in SAYS_NO else of_tcp
    # Connected, and then nothing: fewer packets could have been lost. Conditional on the connection, which a hung
    # engine's kernel makes as well.
    mute = episode.mute.get(kind, 0)
    of_mute = min(miss, 1.0 - (1.0 - loss) ** PACKETS_AFTER_CONNECT[kind])
    return (
        (episode.misses.get(kind, 0) - mute) * math.log(miss)
        + (mute * math.log(of_mute) if mute else 0.0)
        + episode.answers.get(kind, 0) * math.log(1.0 - of_tcp)
    )


def _of_pings(episode: Episode, loss: float) -> float:
    missed, answered = episode.misses.get(ProbeKind.ICMP, 0), episode.answers.get(ProbeKind.ICMP, 0)
    return missed * math.log(loss) + answered * math.log(1.0 - loss)


def _log_sum(terms: list[float]) -> float:
    top = max(terms)
    return top + math.log(sum(math.exp(term - top) for term in terms))


def threshold(normal: Normal, *, false_takeovers_per_year: float) -> float:
    """Nats at which so many alarms as there are now give at most the chosen rate of false takeovers (Wald's bound)."""
    alarms_per_s = (normal.alarms + 1.0) * math.log(2) / HALF_LIFE_S
    return math.log(max(1.0, alarms_per_s * YEAR_S / false_takeovers_per_year))


def patience_s(normal: Normal, death: Death, *, false_takeovers_per_year: float) -> float:
    """How long a silence must last, 0..OUTAGE_S: longer ones that end by themselves are as seldom as is allowed."""
    prior = PRIOR[death]
    allowed = prior.share * false_takeovers_per_year
    lengths = [one.duration_s for one in normal.silences if one.death is death]
    years = normal.watched_s / YEAR_S

    index = 2 + len(lengths)

    def too_short(time_s: float) -> bool:
        seen = sum(min(1.0, (length / time_s) ** index) for length in lengths)
        return 1.0 / (time_s / prior.per_year + years) + seen / (1.0 + years) > allowed

    low = max(prior.least_s, prior.per_year * (1.0 / allowed - years))  # with nothing seen
    if not lengths or low >= OUTAGE_S or too_short(OUTAGE_S):
        return min(low, OUTAGE_S) if not lengths else OUTAGE_S
    high = OUTAGE_S
    while high - low > PATIENCE_STEP_S:
        middle = (low + high) / 2
        low, high = (middle, high) if too_short(middle) else (low, middle)
    return high
