"""The lab of the failover tests: what is, what is done, and what must come; and how each case ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from rig import Rig, poll, run

from backstay.agent.client import AgentClient, AgentError
from backstay.estate import load_file
from backstay.lab import build, proc
from backstay.lab.hosts.control import tell
from backstay.lab.keeper.client import call

IP = "www"
CANDIDATES = ("lb1", "lb2", "lb3")
PATIENCE_S = 75.0
JOURNAL_S = 2.0  # for one agent's; a stopped one does not answer at all
QUIET_S = 5.0  # "nothing happens" is watched for that long: twice what the most patient takeover takes
ENDINGS: Mapping[str, Any] = yaml.safe_load(
    (Path(__file__).parents[1] / "cases/failover/endings.yaml").read_text(encoding="utf-8")
)

# Events that tell what happened to the address, and not how it came: what an ending's `journal` names.
ACTS = {
    *("takeover_started", "taken", "takeover_failed", "takeover_refused", "takeover_abandoned"),
    *("verified", "unverified", "move_started", "moved_by_plan", "handed_over", "handover_failed"),
    *("quarantined", "stuck", "icmp_filtered", "memory_damaged"),
}
PAGES = {  # what a page's summary holds: what it is called in an ending
    " took ": "took",
    "is quarantined": "quarantined",
    "does not take over": "stuck",
    "does not route it": "failing",
    "does not answer through it": "unverified",
}


@dataclass
class Scene:
    """The lab, and what was at the pager and the provider before this test."""

    rig: Rig
    pages_before: int = 0
    writes_before: int = 0
    events_before: dict[str, set[str]] = field(default_factory=dict)  # their ids, of each candidate

    # --- what is

    def view(self, lb: str) -> dict[str, Any]:
        async def ask() -> dict[str, Any]:
            async with AgentClient(lb, socket=self.rig.folder.run / f"{lb}.sock") as agent:
                return dict(await agent.ip(IP, timeout_s=3.0))

        try:
            return run(ask())
        except AgentError:
            return {}

    def state(self, lb: str) -> str:
        return str(self.view(lb).get("state", "not reached"))

    def standing(self, lb: str) -> tuple[str, str | None]:
        """Its state, and whom it takes for the holder."""
        view = self.view(lb)
        return str(view.get("state")), view.get("owner")

    def in_sync(self, lb: str) -> bool:
        """Does its engine run what is desired?"""

        async def ask() -> bool:
            async with AgentClient(lb, socket=self.rig.folder.run / f"{lb}.sock") as agent:
                return bool((await agent.status())["in_sync"])

        return run(ask())

    def heard_s(self, lb: str) -> float:
        """How long ago the provider's word is that `lb` has, by the clock of its agent (before this machine's: > 0)."""
        return (datetime.now(UTC) - datetime.fromisoformat(self.view(lb)["owner_at"])).total_seconds()

    def suspects_somebody(self, lb: str) -> bool:
        async def ask() -> bool:
            async with AgentClient(lb, socket=self.rig.folder.run / f"{lb}.sock") as agent:
                return not all(one["answers"] for one in (await agent.explain_ip(IP))["candidates_seen"])

        return run(ask())

    def resident_bytes(self, lb: str) -> int:
        """Of its agent's own process."""
        return int((proc.PROC / str(self.pid(lb)) / "statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    def provider(self, **message: Any) -> dict[str, Any]:
        return run(tell(self.rig.folder.control / "provider.sock", message))

    def pager(self) -> dict[str, Any]:
        return run(tell(self.rig.folder.control / "pager.sock", {}))

    @property
    def owner(self) -> str:
        return str(self.provider()["owners"][IP])

    @property
    def writes(self) -> int:
        """Calls that alter something, since the test began."""
        return int(self.provider()["writes"]) - self.writes_before

    def pages(self) -> list[dict[str, Any]]:
        """About events of this test; one about an earlier event may still be on its way."""
        found = self.pager()
        before = set().union(*self.events_before.values())
        count = int(found["count"]) - self.pages_before
        new = found["incidents"][-count:] if count else []
        return [page for page in new if page["key"].partition("/")[0] not in before]

    def told_people(self) -> list[str]:
        """Who told what, in the words of an ending."""
        return [f"{page['source']} {_word(page['summary'])}" for page in self.pages()]

    def journal(self, lb: str) -> list[str]:
        """Kinds of this test's events of the address on `lb`, in their order. Raises for one that does not answer."""
        return run(self._journal(lb))

    async def _journal(self, lb: str) -> list[str]:
        async with asyncio.timeout(JOURNAL_S), AgentClient(lb, socket=self.rig.folder.run / f"{lb}.sock") as agent:
            events = await agent.ip_history(IP)
        return [event["kind"] for event in events if event["id"] not in self.events_before.get(lb, set())]

    async def _event_ids(self, lb: str) -> set[str]:
        async with AgentClient(lb, socket=self.rig.folder.run / f"{lb}.sock") as agent:
            return {event["id"] for event in await agent.ip_history(IP)}

    def acts(self) -> dict[str, list[str]]:
        """What each candidate did, in the order in which each act came first; nothing of one that does not answer."""

        async def of_all() -> list[list[str] | BaseException]:
            return await asyncio.gather(*(self._journal(lb) for lb in CANDIDATES), return_exceptions=True)

        return {
            lb: [kind.removeprefix("ip.") for kind in dict.fromkeys(kinds) if kind.removeprefix("ip.") in ACTS]
            if isinstance(kinds, list)
            else []
            for lb, kinds in zip(CANDIDATES, run(of_all()), strict=True)
        }

    # --- what is done

    def pid(self, lb: str) -> int:
        """Of the agent, as this machine numbers it (the keeper's numbers are of its own namespace)."""
        state = str(self.rig.folder.hosts / lb / "state").encode()
        for pid in proc.pids():
            with suppress(OSError):
                argv = (proc.PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
                if b"backstay.agent" in argv and state in argv:
                    return pid
        raise AssertionError(f"no agent runs on {lb}")

    def kill_agent(self, lb: str) -> None:
        os.kill(self.pid(lb), signal.SIGKILL)

    def restart_agent(self, lb: str, **environment: str) -> None:
        """Start it again, as systemd would."""
        spec = next(p for p in build.processes(self.rig.folder, self.rig.folder.layout, [lb], 25.0) if p[0] == lb)
        usual = build.agent_environment(load_file(self.rig.folder.estate_file).estate)
        run(call(self.rig.folder, "spawn", host=lb, role="agent", argv=spec[2], env=usual | environment))

    def on_host(self, host: str, *argv: str) -> None:
        run(call(self.rig.folder, "run", host=host, role="means", argv=list(argv)))

    async def _people(self, lb: str, what: str, **arguments: Any) -> None:
        async with AgentClient(lb, socket=self.rig.folder.run / f"{lb}.sock") as agent:
            await getattr(agent, what)(IP, actor="tester", reason="a test", **arguments)

    def rearm(self, lb: str, *, false_alarm: bool = False) -> None:
        run(self._people(lb, "rearm_ip", false_alarm=false_alarm))

    def freeze(self, lb: str, for_s: float) -> None:
        run(self._people(lb, "freeze_ip", for_s=for_s))

    def move(self, to: str) -> None:
        for lb in CANDIDATES:
            if lb != to:
                run(self._people(lb, "expect_move", to=to))
        run(self._people(to, "move_ip"))

    # --- what must come

    def until(self, condition: Any, what: str, timeout_s: float = PATIENCE_S) -> None:
        assert poll(condition, timeout_s), f"{what} never came: {self.told()}"

    def held_by(self, lb: str, timeout_s: float = PATIENCE_S) -> None:
        self.until(lambda: self.owner == lb, f"{lb} holding it", timeout_s)

    def stays_with(self, lb: str, for_s: float = QUIET_S, *, writes: int = 0) -> None:
        end = time.monotonic() + for_s
        while time.monotonic() < end:
            assert self.owner == lb, self.told()
            time.sleep(0.25)
        assert self.writes == writes, self.told()

    def ends_as(self, case: str) -> None:
        """It comes to the ending that tests/cases/failover/endings.yaml has for `case`, and to nothing else."""
        ending = ENDINGS[case]

        def said() -> dict[str, Any]:
            return {
                "holder": self.owner,
                "assigns": self.writes,
                "pages": self.told_people(),
                "journal": self.acts(),
            }

        def ended() -> bool:
            now = said()
            return (
                now["holder"] == ending["holder"]
                and now["assigns"] == ending["assigns"]
                and _matches(sorted(now["pages"]), sorted(ending["pages"]))
                and all(_matches(now["journal"][lb], ending["journal"].get(lb, [])) for lb in CANDIDATES)
            )

        end = time.monotonic() + PATIENCE_S
        while not ended() and time.monotonic() < end:
            time.sleep(0.1)
        time.sleep(1.0)  # nothing comes after it
        assert ended(), f"{case}: {json.dumps(said())}, not {json.dumps(ending)}\n{self.told()}"

    def told(self) -> str:
        return json.dumps({"acts": self.acts(), "views": {lb: self.view(lb) for lb in CANDIDATES}}, indent=1)

    def calm(self) -> None:
        """Everything well, lb1 the holder, everybody armed, and nobody suspects anybody."""
        self.rig.heal()
        self.provider(faults={})
        for lb in CANDIDATES:
            self.until(lambda lb=lb: self.view(lb).get("owner_known", False), f"{lb} back")
            self.rearm(lb)
            self.freeze(lb, 0)
        for lb in CANDIDATES:
            self.until(lambda lb=lb: self.state(lb) not in ("taking", "suspecting", "not reached"), f"{lb} at rest")
        if self.owner != "lb1":
            self.until(self.moved_back, "the move back to lb1", 45.0)
            for lb in CANDIDATES:
                self.rearm(lb)  # which has the provider asked at once
        for lb in CANDIDATES:
            self.until(lambda lb=lb: self.as_it_began(lb), f"{lb} as it began")
        self.pages_before = int(self.pager()["count"])
        self.writes_before = int(self.provider()["writes"])
        for lb in CANDIDATES:
            self.events_before[lb] = run(self._event_ids(lb))

    def as_it_began(self, lb: str) -> bool:
        """lb1 holds it and nobody has taken it; a loaded machine's pauses may have moved it meanwhile."""
        state, owner = self.standing(lb)
        if state in ("holding", "quarantined"):
            self.rearm(lb)
        return (state, owner) == ("active" if lb == "lb1" else "watching", "lb1")

    def moved_back(self) -> bool:
        """False when lb1 is not fit yet, or does not know yet who holds it."""
        self.rearm("lb1")
        time.sleep(0.5)
        try:
            self.move("lb1")
        except AgentError:
            return False
        return True


def _word(summary: str) -> str:
    return next((word for words, word in PAGES.items() if words in summary), summary)


def _matches(found: list[str], wanted: list[str]) -> bool:
    """Is `found` the list that is wanted? A word that ends in `?` may be missing."""
    left = list(found)
    for word in wanted:
        if left and left[0] == word.rstrip("?"):
            left.pop(0)
        elif not word.endswith("?"):
            return False
    return not left
