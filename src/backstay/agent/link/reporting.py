"""How this load balancer stands, as the server hears it: the answers of the control API in one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

from backstay.agent.control.ips import IpRoutes
from backstay.agent.control.views import Views
from backstay.agent.link.carry import Carrier
from backstay.agent.world import World
from backstay.link.wire import Report


class Reporter:
    """Reads only."""

    def __init__(self, world: World, views: Views, ips: IpRoutes, carrier: Carrier) -> None:
        self._world = world
        self._views = views
        self._ips = ips
        self._carrier = carrier

    def report(self) -> Report:
        pools = self._views.pools()
        changes = self._views.changes()
        in_force = [change["id"] for change in changes if "ended" not in change]
        return Report(
            lb=self._world.lb,
            at=datetime.now(UTC),
            revision=self._carrier.followed.revision,
            error=self._carrier.error[:4_000],
            refusals=tuple(self._carrier.refusals()),
            orders=self._carrier.outcomes(),
            status=_plain(self._views.status()),
            pools=[_plain(pool) for pool in pools],
            explains=[_plain(self._views.explain(pool["pool"])) for pool in pools],
            changes=[_plain(change) for change in changes],
            proofs=[_plain(proof) for change in in_force for proof in self._views.proof(change)],
            ips=[_plain(ip) for ip in self._ips.explains()],
        )


def _plain(view: object) -> dict[str, Any]:
    """A TypedDict is a dict of JSON values; the type checker does not take one for the other."""
    return cast(dict[str, Any], view)
