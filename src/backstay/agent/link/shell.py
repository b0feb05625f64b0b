"""Holds the link to the server: the long poll, the reports, the delivery of events.

    listen    what is desired, as soon as it differs from what was heard last; followed at once (carry.py)
    report    how this load balancer stands: at rest every few seconds, and at once after following or applying
    deliver   events out of the spool; forgotten here once the server has them durably

A server that is away, wrong or older stops none of the agent's other loops: they do not know that there is a server.
Events go only to one whose word is followed, for what it has is forgotten here. Reports go to one whose word is older,
too: it shall know why it is not followed. Who is not ours hears nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from backstay.agent.link.carry import Carrier
from backstay.agent.link.client import Away, LinkError, NotLetIn, ServerClient
from backstay.agent.link.enrolment import Enrolment, EnrolmentFile, LinkDamaged
from backstay.agent.world import World
from backstay.journal.model import JournalError
from backstay.journal.wire import event_json
from backstay.link import follow
from backstay.link.pace import retry_after_s
from backstay.link.views import ServerView
from backstay.link.wire import Delivery, Report

WAIT_S = 25.0  # of a long poll; below the minute after which networks forget a connection that says nothing
AGAIN_S = 60.0  # what did not come about is tried again, and a server that lets us out is asked again
EVENTS_EVERY_S = 0.5
REST_S = 1.0
EVENTS_CHUNK = 100  # more at a time would stay in the process as memory that it once needed
REPORT_AT_MOST_EVERY_S = 0.2
AWAY_WARNING_S = 60.0  # a server that restarts is no matter for a person


class Link:
    """The agent's loop for its server. Does nothing without STATE/link.json."""

    def __init__(self, world: World, carrier: Carrier, report: Callable[[], Report]) -> None:
        self._world = world
        self._carrier = carrier
        self._make_report = report
        self._file = EnrolmentFile(world.files.link)
        self._enrolment: Enrolment | None = None
        self._client: ServerClient | None = None
        self._running: asyncio.Task[None] | None = None
        self._ours = asyncio.Event()  # it is the server of the enrolment, and it answers
        self._followed = asyncio.Event()  # its word is followed, too
        self._news = asyncio.Event()  # there is something to report
        self._report_every_s = 5.0
        self._renew_at_s = 0.0  # not before
        self._again_at_s = 0.0  # when what did not come about is tried again
        self._connected = False
        self._since: datetime | None = None
        self._since_s = time.monotonic()
        self._error = ""
        self._told = ""  # the kind of trouble that is in the journal already
        self._at_once = False  # it needs a person, however short it is
        self._faults: dict[str, str] = {}  # of reports and events

    # --- for others ------------------------------------------------------------------------------------------------

    def view(self) -> ServerView | None:
        """For the status; None without a server."""
        if self._enrolment is None:
            return None
        carrier = self._carrier
        error = self._error or "; ".join(filter(None, (carrier.error, *self._faults.values())))
        return ServerView(
            url=self._enrolment.url,
            id=self._enrolment.server,
            connected=self._connected,
            since=self._since.isoformat() if self._since else None,
            revision=carrier.followed.revision,
            error=error or None,
            refusals=len(carrier.refusals()),
        )

    def tell(self) -> None:
        """Report soon: the engine runs something else."""
        self._news.set()

    async def turn(self) -> None:
        """See that the link runs; follow another enrolment. Raises what ended it."""
        if self._file.altered():
            await self.close()
            self._begin()
        if self._client is None:
            return
        if self._running is None or self._running.done():
            ended, self._running = self._running, asyncio.create_task(self._run(self._client))
            if ended is not None and not ended.cancelled():
                ended.result()
        self._warn()

    async def close(self) -> None:
        """End. What was not told yet is told after the next start."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
            self._running = None
        await self._carrier.close()

    # --- life --------------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Take up the enrolment that is on the disk now."""
        self._enrolment = self._client = None
        fault = ""
        try:
            found = self._file.load(self._world.lb)
            if found is not None:
                self._client = ServerClient(found.url, found.ca, found.lb, found.credential)
                self._enrolment = found
                self._carrier.begin(found, self.tell)
        except (LinkDamaged, LinkError) as error:
            fault = str(error)
            self._world.record("link.damaged", f"lb/{self._world.lb}", fault)
        self._world.warn("server", fault)
        self._world.warn("server's estate", "")
        self._connected, self._since, self._since_s, self._error, self._told = False, None, time.monotonic(), "", ""
        self._faults.clear()

    async def _run(self, client: ServerClient) -> None:
        self._ours.clear()
        self._followed.clear()
        async with client, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen(client))
            tasks.create_task(self._while(self._ours, "reports", self._report, client))
            tasks.create_task(self._while(self._followed, "events", self._deliver, client))

    async def _listen(self, client: ServerClient) -> None:
        failures, after = 0, None
        while True:
            try:
                after = await self._hear(client, after)
                failures = 0
                await self._renew_when_due(client)
            except LinkError as error:
                # The next answer may come from a server that was restored from a copy: it is heard whole.
                failures, after = failures + 1, None
                self._trouble(str(error), what=type(error).__name__, at_once=not isinstance(error, Away))
                if isinstance(error, NotLetIn):
                    await asyncio.sleep(AGAIN_S)  # a new enrolment is taken up at once all the same (`turn`)
                await asyncio.sleep(retry_after_s(failures, random.random()))  # noqa: S311 - spreads, keeps no secret

    async def _hear(self, client: ServerClient, after: int | None) -> int | None:
        """One poll, followed. What to ask for next: a revision that is not this one, or (None) all that there is."""
        carrier, asked_s = self._carrier, time.monotonic()
        wait_s = self._wait_s(carrier.unsatisfied)
        plain = await client.desired(after=after, have_sha256=carrier.heard_sha256, wait_s=wait_s)
        if plain is None:
            if time.monotonic() - asked_s < wait_s / 2:
                await asyncio.sleep(REST_S)  # it is about to end, or has no estate yet
            if carrier.unsatisfied and time.monotonic() >= self._again_at_s:
                carrier.begin_again()
                return None
            return after if self._connected else None
        heard = follow.parse_desired(plain)
        refused = heard if isinstance(heard, follow.Refused) else await self._follow(heard)
        if refused is not None:
            await self._refuse(refused)
            return None
        assert isinstance(heard, follow.Heard)
        return heard.desired.revision

    async def _follow(self, heard: follow.Heard) -> follow.Refused | None:
        carrier, word = self._carrier, heard.desired
        refused = await carrier.follow(heard)
        self._again_at_s = time.monotonic() + AGAIN_S
        if refused is None:
            self._report_every_s = word.report_every_s
            self._well()
        self.tell()
        return refused

    async def _refuse(self, refused: follow.Refused) -> None:
        self._trouble(refused.sentence, what=refused.reason, at_once=True)
        await asyncio.sleep(retry_after_s(8, random.random()))  # noqa: S311

    def _wait_s(self, unsatisfied: bool) -> float:
        return min(WAIT_S, max(1.0, self._again_at_s - time.monotonic())) if unsatisfied else WAIT_S

    # --- what the server hears ---------------------------------------------------------------------------------------

    async def _while(
        self, heard: asyncio.Event, what: str, work: Callable[[ServerClient], Awaitable[None]], client: ServerClient
    ) -> None:
        """Do `work` again and again while `heard` is set; later after a failure."""
        failures = 0
        while True:
            await heard.wait()
            try:
                await work(client)
                failures = 0
                self._faults.pop(what, None)
            except (LinkError, JournalError) as error:
                failures += 1
                self._faults[what] = f"{what}: {error}"
                if isinstance(error, NotLetIn):  # the poll that is under way began before
                    self._trouble(str(error), what=type(error).__name__, at_once=True)
                await asyncio.sleep(retry_after_s(failures, random.random()))  # noqa: S311

    async def _report(self, client: ServerClient) -> None:
        self._news.clear()
        reported = await client.report(self._make_report())
        self._carrier.told(reported.orders)
        await asyncio.sleep(REPORT_AT_MOST_EVERY_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._report_every_s):
                await self._news.wait()

    async def _deliver(self, client: ServerClient) -> None:
        spool = self._world.record.spool
        events = spool.read(None, EVENTS_CHUNK) if spool.waiting else []
        if not events:
            await asyncio.sleep(EVENTS_EVERY_S)
            return
        delivered = await client.deliver(Delivery(events=[event_json(event) for event in events]))
        through = delivered.through
        if through is None or through not in {event.id for event in events}:
            raise LinkError("the server has not stored the events. They are kept here, and told again.")
        spool.ack(through)

    # --- the credential ----------------------------------------------------------------------------------------------

    async def _renew_when_due(self, client: ServerClient) -> None:
        """Every month. The server takes the old one until it sees the new one: either is good after a crash."""
        enrolment, now_s = self._enrolment, time.monotonic()
        assert enrolment is not None
        if not enrolment.due(datetime.now(UTC)) or now_s < self._renew_at_s:
            return
        self._renew_at_s = now_s + AGAIN_S
        try:
            renewed = await client.renew()
        except LinkError as error:
            self._faults["credential"] = f"the credential is not renewed: {error}"
            return
        if self._save(enrolment.renewed(renewed.credential, datetime.now(UTC))):
            client.credential = renewed.credential
            self._world.record("link.renewed", f"lb/{self._world.lb}", "another credential, as every month")

    def _save(self, enrolment: Enrolment) -> bool:
        if self._file.altered():
            return False  # somebody has just enrolled it anew: `turn` takes that up
        try:
            self._file.save(enrolment)
        except OSError as error:
            self._faults["credential"] = f"{self._world.files.link}: {error.strerror}. Make room on that disk."
            return False
        self._enrolment = enrolment
        self._faults.pop("credential", None)
        return True

    # --- what is so, said --------------------------------------------------------------------------------------------

    def _well(self) -> None:
        """The right server answered, and its word was followed."""
        self._ours.set()
        self._followed.set()
        self._error = self._told = ""
        if not self._connected:
            self._turned(connected=True)
            assert self._enrolment is not None
            revision = self._carrier.followed.revision
            self._world.record(
                "link.connected", f"lb/{self._world.lb}", self._enrolment.url, data={"revision": revision}
            )

    def _trouble(self, sentence: str, *, what: str, at_once: bool) -> None:
        """Its word is not heard, or not followed. Journaled once, however often it comes."""
        self._error, self._at_once = sentence, at_once
        self._followed.clear()
        if what in (follow.Reason.OLDER, follow.Reason.ANOTHER_ESTATE):
            self._ours.set()
        else:
            self._ours.clear()
        if self._connected or self._since is None:
            self._turned(connected=False)
        if what != self._told:
            self._told = what
            kind = "link.refused" if at_once else "link.lost"
            self._world.record(kind, f"lb/{self._world.lb}", sentence, data={"reason": what})

    def _turned(self, *, connected: bool) -> None:
        self._connected, self._since, self._since_s = connected, datetime.now(UTC), time.monotonic()

    def _warn(self) -> None:
        """What needs a person: a server that is wrong, at once; one that is away, after a while."""
        enrolment, carrier = self._enrolment, self._carrier
        assert enrolment is not None
        away_s = time.monotonic() - self._since_s
        lost = self._error if not self._connected and (self._at_once or away_s >= AWAY_WARNING_S) else ""
        self._world.warn("server", lost or carrier.error)
        mine, other = carrier.followed.estate_sha256, self._world.adopted.sha256
        overruled = bool(mine) and mine != other and not carrier.error
        self._world.warn(
            "server's estate",
            f"the estate in force ({self._world.adopted.source}) is not the one of {enrolment.url}: it was altered "
            "here. The server's next one will replace it."
            if overruled
            else "",
        )
