"""What an agent does on the side: certificates, the checkpoint, the spool's held events."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from backstay.agent.host import checkpoint
from backstay.agent.loops.draining import Draining
from backstay.agent.loops.rescaling import Rescaling
from backstay.agent.world import World, now_s
from backstay.balance.health import from_json, to_json
from backstay.estate.select import services_of

CHECKPOINT_EVERY_S = 5.0
EXPIRY_WARNING = timedelta(days=14)


class Renewal:
    """Notices renewed, broken and expiring certificates."""

    def __init__(self, world: World, changed: Callable[[], None]) -> None:
        """`changed` is called when another certificate shall be used."""
        self._world = world
        self._changed = changed
        self._warned: set[str] = set()  # fingerprints whose coming end is journaled

    async def turn(self) -> None:
        world = self._world
        certificates = world.certificates
        before = dict(certificates.tls)
        services = services_of(world.estate, world.tier)
        for service in certificates.look(services, world.adopted.folder):
            fault = certificates.faults.get(service)
            if fault:
                serving = "the last good one goes on" if service in certificates.pairs else "the service is not served"
                world.record("certificate.refused", f"service/{service}", f"{fault} Meanwhile {serving}.")
            elif service in certificates.pairs:
                pair = certificates.pairs[service]
                data = {"fingerprint": pair.tls.fingerprint, "not_after": str(pair.not_after)}
                world.record("certificate.adopted", f"service/{service}", "a good certificate and its key", data=data)
        self._warn(services.keys())
        if dict(certificates.tls) != before:
            self._changed()

    def _warn(self, services: Any) -> None:
        world = self._world
        for service in services:
            pair, fault = world.certificates.pairs.get(service), world.certificates.faults.get(service, "")
            if not fault and pair is not None and pair.not_after is not None:
                left = pair.not_after - datetime.now(UTC)
                if left < EXPIRY_WARNING:
                    fault = f"service {service}: its certificate ends on {pair.not_after:%Y-%m-%d %H:%M} UTC. Renew it."
                    if pair.tls.fingerprint not in self._warned:
                        self._warned.add(pair.tls.fingerprint)
                        world.record("certificate.expiring", f"service/{service}", fault)
            world.warn(f"certificate {service}", fault)
        for topic in [topic for topic in world.warnings if topic.startswith("certificate ")]:
            if topic.removeprefix("certificate ") not in services:
                world.warn(topic, "")


class Checkpoint:
    """Keeps what the agent goes on with; at once while a drain is being proven."""

    def __init__(self, world: World, draining: Draining, rescaling: Rescaling) -> None:
        self._world = world
        self._draining = draining
        self._rescaling = rescaling
        self._saved_s = 0.0

    async def turn(self) -> None:
        self._world.record.flush()
        self._world.warn("journal", self._world.record.fault)
        if self._draining.altered or time.monotonic() - self._saved_s >= CHECKPOINT_EVERY_S:
            self.save()

    def save(self) -> None:
        world = self._world
        sections: dict[str, Any] = {
            "engine": world.capabilities.version.kind.value,
            "health": {pool: to_json(health, now_s()) for pool, health in world.health.items()},
            "ramps": [[*key, begun - now_s()] for key, begun in world.ramps.items()],
            "scales": self._rescaling.to_json(),
            "proofs": self._draining.to_json(),
        }
        try:
            checkpoint.save(world.files, sections)
        except OSError as error:
            world.warn("checkpoint", f"{world.files.checkpoint}: {error.strerror}. Make room on that disk.")
            return
        world.warn("checkpoint", "")
        self._saved_s = time.monotonic()
        self._draining.altered = False

    def recall(self) -> str:
        """Go on with what was kept. Returns the engine that ran then, "" when that is not known."""
        world = self._world
        sections, fault = checkpoint.load(world.files)
        if fault:
            world.record("checkpoint.damaged", f"lb/{world.lb}", fault)
        healths = sections.get("health")
        for pool, plain in healths.items() if isinstance(healths, dict) else ():
            with suppress(ValueError, TypeError, KeyError, AttributeError):
                world.health[str(pool)] = from_json(plain, now_s())
        with suppress(ValueError, TypeError):
            world.ramps = {
                (str(pool), str(node)): now_s() + float(age) for pool, node, age in sections.get("ramps", [])
            }
        self._rescaling.recall(sections.get("scales"))
        self._draining.recall(sections.get("proofs"))
        return str(sections.get("engine", ""))
