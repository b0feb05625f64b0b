"""A node's composed state (../composed.py) in the words of other programs: puppet.py, ansible.py. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from backstay.estate import Estate
from backstay.server.model import Snapshot
from backstay.server.views.scene import Memo, Scene

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)  # nothing here depends on the time


def declared_alone(estate: Estate) -> Scene:
    """The scene of an estate file without a server: no change is known, so no parameter, no drain."""
    return Memo().scene(Snapshot(at=_NEVER, server="", revision=0, estate=estate), _NEVER)


def node_named(certname: str) -> str:
    """The estate's name of who calls itself so: a node's name is one DNS label, a certname often the whole name."""
    return certname.partition(".")[0].lower()
