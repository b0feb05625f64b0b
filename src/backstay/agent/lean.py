"""Keeps the agent's process small (docs/agent.md, Memory; every figure measured as resident memory at import).

Only for the agent's own process: it alters what later imports find.
"""

from __future__ import annotations

import importlib
import mimetypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

# For the process that becomes the agent; each must be there before Python starts.
ENVIRONMENT = {
    "MALLOC_ARENA_MAX": "1",  # one thread works; arenas of helper threads are never given back
    "MALLOC_TRIM_THRESHOLD_": "131072",  # a peak (a large estate) is given back when it is over
    "PYTHONNODEBUGRANGES": "1",  # column numbers in code objects: 0.5 MB
    "PYDANTIC_DISABLE_PLUGINS": "1",  # none is used; looking for them reads the metadata of every package
    "FROZENLIST_NO_EXTENSIONS": "1",  # of aiohttp's: the only C++ here, and libstdc++ is 1.1 MB
    "PYTHONTZPATH": "/usr/share/zoneinfo",  # else zoneinfo reads the whole build configuration of Python: 0.6 MB
}

# `inspect`, `warnings` and others walk over all modules and look at these.
_LOOKED_AT_BY_WALKERS = ("__file__", "__path__", "__wrapped__", "__warningregistry__", "__all__")


def import_lean() -> None:
    """Import what would take more than it must. Call it before anything else of the agent is imported."""
    # Estates are parsed in a child process (host/parse.py), so the agent itself never looks into the YAML library.
    _import_when_used("yaml")  # 1.2 MB
    _import_when_used("zipfile")  # of importlib.metadata, for packages in a ZIP file: 0.7 MB
    mimetypes.knownfiles.clear()  # aiohttp reads the system's table for files that it serves: 0.5 MB
    # structlog takes rich for tracebacks on terminals (3.5 MB) and greenlet (1.2 MB) when they are there; shutil, which
    # comes with aiohttp, takes two libraries for archives (0.3 MB). A vendor's client may need them later.
    with _absent("rich", "greenlet", "bz2", "lzma"):
        import structlog  # noqa: F401

        # aiohttp loads the system's authorities into a default context at import: 2.5 MB. All of ours are made when
        # needed.
        before = os.environ.get("SSL_CERT_FILE")
        os.environ["SSL_CERT_FILE"] = os.devnull
        try:
            import aiohttp.web  # noqa: F401
        finally:
            del os.environ["SSL_CERT_FILE"]
            if before is not None:
                os.environ["SSL_CERT_FILE"] = before


@contextmanager
def _absent(*names: str) -> Iterator[None]:
    """As if these were not installed."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def _import_when_used(name: str) -> None:
    """`import name` gives a stand-in; the module itself is imported at the first look at what it holds.

    (importlib.util.LazyLoader would not do: up to Python 3.13 the next `import name` makes it load at once.)
    """
    stand_in = ModuleType(name)

    def look(attribute: str) -> object:
        if attribute in _LOOKED_AT_BY_WALKERS:
            raise AttributeError(attribute)
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]
        return getattr(importlib.import_module(name), attribute)

    stand_in.__getattr__ = look  # type: ignore[method-assign]  # PEP 562
    sys.modules.setdefault(name, stand_in)
