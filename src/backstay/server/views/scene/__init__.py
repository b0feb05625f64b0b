"""A Snapshot at a time, with its estate's index and its agents' reports at hand. Pure; `Memo` keeps what was read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from backstay.estate import Estate
from backstay.link.wire import Report
from backstay.server.model import AgentRecord, Snapshot
from backstay.server.views.scene.index import Index, index
from backstay.server.views.scene.said import Said, read

KEPT_FOR = timedelta(seconds=1)  # all who look meanwhile see the same scene, unless something altered


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What views are made of. `estate` and `index` are there for every view but the first steps."""

    now: datetime  # UTC
    snapshot: Snapshot
    index: Index
    said: Mapping[str, Said]  # load balancer -> its newest report, however old
    fresh: Mapping[str, Said] = field(default_factory=dict)  # of the agents that are connected

    @property
    def estate(self) -> Estate:
        """Raises when there is none: ask `snapshot.estate` first."""
        assert self.snapshot.estate is not None
        return self.snapshot.estate

    def agent(self, lb: str) -> AgentRecord | None:
        return self.snapshot.agents.get(lb)

    def connected(self, lb: str) -> bool:
        record = self.snapshot.agents.get(lb)
        return record is not None and record.connected(self.now)


EMPTY = Index(
    zones={},
    nodes={},
    region_of={},
    members={},
    clusters_of={},
    pools_of={},
    pools_on={},
    carriers={},
    services_of={},
    tier_of={},
    ips_of={},
)


class Memo:
    """Reads each report and each estate once. One a process; it forgets what the newest snapshot does not hold."""

    def __init__(self) -> None:
        self._estate: Estate | None = None
        self._index = EMPTY
        self._said: dict[str, tuple[Report, Said]] = {}
        self._scene: Scene | None = None

    def scene(self, snapshot: Snapshot, now: datetime) -> Scene:
        """The snapshot as it is seen at `now`; the scene of up to KEPT_FOR ago where it is of the same snapshot."""
        held = self._scene
        if held is None or held.snapshot is not snapshot or not timedelta(0) <= now - held.now < KEPT_FOR:
            held = self._scene = self._made(snapshot, now)
        return held

    def _made(self, snapshot: Snapshot, now: datetime) -> Scene:
        if snapshot.estate is not self._estate:
            self._estate = snapshot.estate
            self._index = EMPTY if snapshot.estate is None else index(snapshot.estate)
        kept: dict[str, tuple[Report, Said]] = {}
        for lb, record in snapshot.agents.items():
            if record.report is None or record.revoked_at is not None:
                continue
            held = self._said.get(lb)
            kept[lb] = held if held is not None and held[0] is record.report else (record.report, read(record.report))
        self._said = kept
        said = {lb: one for lb, (_, one) in kept.items()}
        connected = {lb: one for lb, one in said.items() if snapshot.agents[lb].connected(now)}
        return Scene(now=now, snapshot=snapshot, index=self._index, said=said, fresh=connected)
