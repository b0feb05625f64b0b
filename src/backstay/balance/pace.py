"""When an engine may be reloaded for the sake of shares. Pure; the time is an argument.

HAProxy takes a new weight by its socket, so it is told at once. An nginx takes it by a reload: it is told when a
share moved by 10% or more since the last apply (by 10% more for each reload of the last two minutes: a reload makes
nginx forget what is in flight and how long it takes, which costs more than a small move wins), and at most four times
a minute. Whatever alters who is served (a drain, a failed check, another backend, another service) is told at once to
both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from backstay.balance.model import Desired, DesiredPool

SHARE_STEP = 0.10  # of the share that runs; so much more for each reload within MEMORY_S
RELOADS_LIMIT = 4
PER_S = 60.0
MEMORY_S = 120.0
REMEMBERED = 32  # drains and failed checks reload without limit


class When(StrEnum):
    NOTHING = "nothing"  # what runs is what is desired
    NOW = "now"
    LATER = "later"  # only shares differ: not by enough, or too many reloads lately


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Reloads lately, oldest first: seconds on a clock that does not step, best CLOCK_BOOTTIME."""

    reloads_s: tuple[float, ...] = ()

    def reloaded(self, now_s: float) -> Pace:
        """One reload more. Call it for every reload, whatever its cause: they all count."""
        return Pace(reloads_s=(*self._lately(now_s, MEMORY_S), now_s)[-REMEMBERED:])

    def may_reload(self, moved: float, now_s: float) -> bool:
        """Is a share's relative change of `moved` worth a reload now?"""
        needed = SHARE_STEP * (1 + len(self._lately(now_s, MEMORY_S)))
        return moved >= needed - 1e-9 and len(self._lately(now_s, PER_S)) < RELOADS_LIMIT

    def _lately(self, now_s: float, within_s: float) -> tuple[float, ...]:
        # A time in the future is of a clock that was stepped back: it must not stop reloads for ever.
        return tuple(then for then in self.reloads_s if now_s - within_s < then <= now_s)


def when(running: Desired | None, wanted: Desired, pace: Pace, now_s: float, *, runtime_changes: bool) -> When:
    """Should `wanted` be applied now? `running`: what was applied last; None: nothing runs.

    `runtime_changes`: the engine takes shares without a reload (Capabilities).
    """
    if running is None:
        return When.NOW
    if running.revision == wanted.revision:
        return When.NOTHING
    if runtime_changes or _structure(running) != _structure(wanted):
        return When.NOW
    return When.NOW if pace.may_reload(_moved(running, wanted), now_s) else When.LATER


def _structure(desired: Desired) -> Desired:
    """`desired` without shares and words."""
    pools = tuple(
        replace(pool, backends=tuple(replace(backend, share=1.0, reason="") for backend in pool.backends))
        for pool in desired.pools
    )
    return replace(desired, pools=pools, revision="")


def _moved(running: Desired, wanted: Desired) -> float:
    """The largest relative change of a share."""
    before = {pool.name: _shares(pool) for pool in running.pools}
    return max(
        (
            abs(share - before[pool.name][name]) / before[pool.name][name]
            for pool in wanted.pools
            for name, share in _shares(pool).items()
        ),
        default=0.0,
    )


def _shares(pool: DesiredPool) -> Mapping[str, float]:
    return {backend.name: backend.share for backend in pool.backends}
