"""The rescaler's state and steps as JSON: for the agent's disk, and for the log that `pool replay` reads. Pure.

One line of the log is one step: everything that it was decided from, and what was decided.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from backstay.balance import window as windows_json
from backstay.balance.model import SHARE_CAP, SHARE_FLOOR
from backstay.balance.rescale import BackendScale, Guard, PoolScale, Rescaled
from backstay.balance.signal import Evidence, Nature
from backstay.balance.window import BACKENDS_LIMIT, Times, Window


class BadRecord(ValueError):
    """What was read is no state or line of the rescaler: what and where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """What a step was decided from, but for the state."""

    pool: str
    at: datetime  # UTC
    windows: tuple[Window, ...]
    load_balancers: tuple[str, ...]
    backends: tuple[str, ...]
    serving: tuple[str, ...]
    ramping: tuple[str, ...]


def state_to_json(state: PoolScale) -> dict[str, Any]:
    plain = asdict(state)
    plain["guard"]["before"] = {
        route: [[number, count] for number, count in sorted(times.bins.items())]
        for route, times in state.guard.before.items()
    }
    return plain


def state_from_json(data: Any) -> PoolScale:
    """The inverse of `state_to_json`. Shares are brought within their bounds. Raises BadRecord for anything else."""
    try:
        if len(data["backends"]) > BACKENDS_LIMIT:
            raise BadRecord(f"state: more than {BACKENDS_LIMIT} backends")
        backends = {str(name): _scale(plain) for name, plain in data["backends"].items()}
        guard = data["guard"]
        return PoolScale(
            backends=backends,
            seen={str(lb): str(window_id) for lb, window_id in data["seen"].items()},
            missing={str(lb): int(steps) for lb, steps in data["missing"].items()},
            guard=Guard(
                before={
                    str(route): Times(bins={int(number): int(count) for number, count in pairs})
                    for route, pairs in guard["before"].items()
                },
                safe={str(name): _share(share) for name, share in guard["safe"].items()},
                worse=int(guard["worse"]),
                held=int(guard["held"]),
            ),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BadRecord(f"the state of the rescaler cannot be read ({error!r}); it starts anew without it") from error


def _scale(plain: Any) -> BackendScale:
    natures = {
        str(route): Nature(unloaded_s=float(nature["unloaded_s"]), steps=int(nature["steps"]))
        for route, nature in plain["natures"].items()
    }
    if any(not 0.0 < nature.unloaded_s < 3600.0 or nature.steps < 1 for nature in natures.values()):
        raise BadRecord("state: an unloaded time is not within 0 to 3600 s, or learnt in no step")
    evidence = plain["evidence"]
    return BackendScale(
        evidence=None if evidence is None else _evidence(evidence),
        share=_share(plain["share"]),
        gain=float(plain["gain"]),
        sign=int(plain["sign"]),
        natures=natures,
    )


def _evidence(plain: Any) -> Evidence:
    evidence = Evidence(
        deviation=float(plain["deviation"]), precision=float(plain["precision"]), samples=float(plain["samples"])
    )
    numbers = (evidence.deviation, evidence.precision, evidence.samples)
    if not all(math.isfinite(number) for number in numbers) or evidence.precision <= 0.0 or evidence.samples < 0.0:
        raise BadRecord("state: evidence that is none")
    return evidence


def _share(value: Any) -> float:
    share = float(value)
    if not math.isfinite(share):
        raise BadRecord("state: a share is not a number")
    return min(max(share, SHARE_FLOOR), SHARE_CAP)


def line(occasion: Occasion, state: PoolScale, rescaled: Rescaled) -> dict[str, Any]:
    """One line of the log: JSON values. `state`: before the step."""
    return {
        "pool": occasion.pool,
        "at": occasion.at.isoformat(),
        "load_balancers": list(occasion.load_balancers),
        "backends": list(occasion.backends),
        "serving": list(occasion.serving),
        "ramping": list(occasion.ramping),
        "windows": [
            {"lb": window.lb, "id": window.id, "signals": windows_json.to_json(window)} for window in occasion.windows
        ],
        "state": state_to_json(state),
        "frozen": rescaled.frozen,
        "steps": [asdict(step) for step in rescaled.steps],
    }


def read_line(data: Mapping[str, Any]) -> tuple[Occasion, PoolScale]:
    """What a line's step was decided from. Raises BadRecord."""
    try:
        occasion = Occasion(
            pool=str(data["pool"]),
            at=datetime.fromisoformat(data["at"]),
            windows=tuple(
                windows_json.from_json(str(entry["lb"]), str(entry["id"]), entry["signals"])
                for entry in data["windows"]
            ),
            load_balancers=_names(data["load_balancers"]),
            backends=_names(data["backends"]),
            serving=_names(data["serving"]),
            ramping=_names(data["ramping"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadRecord(f"not a step of the rescaler: {error!r}") from error
    return occasion, state_from_json(data.get("state"))


def _names(value: Sequence[Any]) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise BadRecord(f"{value!r} is no list of names")
    return tuple(value)
