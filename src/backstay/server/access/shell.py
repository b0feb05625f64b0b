"""Access: who asks, by what they show; logins; and the journal's lines of what was refused. One a server process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

import anyio
from structlog import get_logger

from backstay.journal import new_id
from backstay.journal.model import JournalError
from backstay.server.access import rules
from backstay.server.access.model import AccessError, Session, User, Via
from backstay.server.access.refusals import Kind, Refusals, Telling
from backstay.server.access.registry import Registry, check_reason
from backstay.server.access.tokens import Secret, digest, is_a, mint
from backstay.server.model import Principal, PrincipalKind
from backstay.server.ports import StoreError
from backstay.server.settings import Settings
from backstay.server.shell import AgentUnknown, Server

T = TypeVar("T")

CREDENTIALS_FRESH = timedelta(seconds=2)  # another server's revocation is heeded after so long
KNOWN_LATELY = timedelta(minutes=15)  # how long who was known is known on while the database is away
LATELY_LIMIT = 10_000
LOGINS_AT_ONCE = 32  # each takes a turn of the database's writers and one of argon2's
TELL_EVERY_S = 10.0
PRUNE_EVERY_S = 600.0

log = get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedIn:
    """A new session; its secret goes into the cookie."""

    user: str
    secret: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NotLoggedIn:
    """`wait_s`: too many failures, ask again then; 0: name or password is wrong, or the user is disabled."""

    wait_s: float = 0.0
    user: str | None = None  # whom the name is of, if anybody: what else was typed might be a password


async def in_thread(work: Callable[[], T]) -> T:
    """The database is synchronous."""
    return await anyio.to_thread.run_sync(work)


class Access:
    """Over the server's database, by its clock."""

    def __init__(self, server: Server, settings: Settings) -> None:
        self.registry = Registry(server.database, server.now)
        self.clock = server.now
        self._server = server
        self._journal = server.journal
        self._settings = settings
        self._refusals = Refusals()
        self._lately: dict[str, tuple[Principal, datetime]] = {}
        self._credentials: dict[str, tuple[str, bool]] = {}
        self._credentials_at: datetime | None = None
        self._reading = asyncio.Lock()
        self._logging_in = 0

    # -- who asks --------------------------------------------------------------------------------------------------

    async def by_session(self, secret: str, *, by_itself: bool = False) -> Principal | None:
        """Whose browser it is. None: unknown, ended, too old, or its user is disabled.

        `by_itself`: the page asks, not a person: it does not count as a use.
        """
        return await self._or_lately(digest(secret), self._by_session(secret, by_itself))

    async def _or_lately(self, shown: str, looked_up: Awaitable[Principal | None]) -> Principal | None:
        """With the database away, who was known lately is known on: they see what is wrong. They can alter nothing."""
        now = self.clock()
        try:
            found = await looked_up
        except (JournalError, StoreError):
            principal, at = self._lately.get(shown, (None, now))
            if principal is None or now - at > KNOWN_LATELY:
                raise
            return principal
        self._lately.pop(shown, None)
        if found is not None:
            self._lately[shown] = (found, now)
            if len(self._lately) > LATELY_LIMIT:
                del self._lately[next(iter(self._lately))]
        return found

    async def _by_session(self, secret: str, by_itself: bool) -> Principal | None:
        found = await in_thread(lambda: self.registry.people.session(digest(secret)))
        if found is None:
            return None
        session, user = found
        now = self.clock()
        lives = rules.session_lives(
            session.created_at,
            session.seen_at,
            now,
            idle_s=self._settings.session_idle_s,
            absolute_s=self._settings.session_absolute_s,
        )
        if not lives or not user.enabled:
            return None
        if not by_itself and now - session.seen_at >= rules.SEEN_EVERY:
            await in_thread(lambda: self.registry.people.touch_session(session.id, now))
        return Principal(name=user.name, kind=PrincipalKind.USER, role=user.role, session=session.id)

    async def by_bearer(self, secret: str) -> Principal | None:
        """Whose token it is: a program's or an agent's. None: unknown, expired or revoked."""
        if is_a(Secret.CREDENTIAL, secret):
            return await self._by_credential(digest(secret))
        if not is_a(Secret.TOKEN, secret):
            return None
        return await self._or_lately(digest(secret), self._by_token(secret))

    async def _by_token(self, secret: str) -> Principal | None:
        now = self.clock()
        found = await in_thread(lambda: self.registry.tokens.token(digest(secret), now))
        if found is None:
            return None
        token, role = found
        if token.last_used is None or now - token.last_used >= rules.SEEN_EVERY:
            await in_thread(lambda: self.registry.tokens.touch(token.id, now))
        return Principal(name=f"token/{token.name}", kind=PrincipalKind.TOKEN, role=role, rooms=token.rooms)

    async def _by_credential(self, shown: str) -> Principal | None:
        """From memory: a thousand agents ask all the time. What is not there is looked up anew."""
        known = await self._fresh_credentials(shown)
        if known is None:
            return None
        lb, used = known
        if not used:
            if not await in_thread(lambda: self.registry.agents.first_use(shown)):
                return None
            self._credentials_at = None
        return Principal(name=f"agent/{lb}", kind=PrincipalKind.AGENT, lb=lb)

    async def _fresh_credentials(self, shown: str) -> tuple[str, bool] | None:
        async with self._reading:  # one reads for all
            now = self.clock()
            at = self._credentials_at
            if at is None or not timedelta(0) <= now - at < CREDENTIALS_FRESH:
                try:
                    self._credentials = await in_thread(self.registry.agents.credentials)
                    self._credentials_at = now
                except JournalError:
                    if shown not in self._credentials:  # who was known goes on: with the database away, none is revoked
                        raise
            elif shown not in self._credentials:  # perhaps another server has just made it
                self._credentials |= await in_thread(lambda: self.registry.agents.credential(shown))
            return self._credentials.get(shown)

    # -- logins ----------------------------------------------------------------------------------------------------

    async def login(self, name: str, password: str, address: str) -> LoggedIn | NotLoggedIn:
        """By a password. It takes as long for a name that nobody has."""
        if self._logging_in >= LOGINS_AT_ONCE:
            return NotLoggedIn(wait_s=1.0)
        self._logging_in += 1
        try:
            return await self._login(name, password, address)
        finally:
            self._logging_in -= 1

    async def _login(self, name: str, password: str, address: str) -> LoggedIn | NotLoggedIn:
        account, bucket = rules.account_bucket(name), rules.address_bucket(address)
        throttles = {account: rules.ACCOUNT, bucket: rules.ADDRESS}
        wait_s = await in_thread(lambda: self.registry.gates.try_login(throttles, self.clock()))
        if wait_s > 0:
            return NotLoggedIn(wait_s=wait_s)
        plain = name.strip().lower()[:64]
        user, kept = await in_thread(lambda: (self.registry.people.user(plain), self.registry.people.password(plain)))
        good = await self.registry.passwords.verify(kept, password[: rules.PASSWORD_LIMIT_CHARS + 1])
        if user is None or kept is None or not good or not user.enabled:
            return NotLoggedIn(user=None if user is None else user.name)
        await in_thread(lambda: self.registry.gates.succeeded(account, [bucket]))
        if self.registry.passwords.outdated(kept):
            newer = await self.registry.passwords.hash(password)
            await in_thread(lambda: self.registry.people.refresh_password(plain, kept, newer))
        return await self.begin(user, Via.PASSWORD, address)

    async def begin(self, user: User, via: Via, address: str) -> LoggedIn:
        """A session of its own for each login: what a browser had before is worth nothing (no fixation)."""
        session, secret = self._new_session(user.name, via, address)
        event = self.registry.event("user.logged_in", f"user/{user.name}", user.name, f"by {via}", {"from": address})
        await in_thread(lambda: self.registry.people.begin_session(session, digest(secret), [event]))
        return LoggedIn(user=user.name, secret=secret)

    async def welcome(self, link_secret: str, password: str, address: str) -> LoggedIn | None:
        """Set the password of a link's user, and log in. None: the link is used, expired or unknown."""
        shown = digest(link_secret)
        link = await in_thread(lambda: self.registry.people.link(shown, self.clock()))
        if link is None:
            return None
        rules.check_password(password, link.user)
        kept = await self.registry.passwords.hash(password)
        session, secret = self._new_session(link.user, Via.LINK, address)
        event = self.registry.event(
            "user.password_set", f"user/{link.user}", link.user, "by a one-time link", {"from": address}
        )
        used = await in_thread(lambda: self.registry.people.use_link(shown, kept, session, digest(secret), [event]))
        return LoggedIn(user=link.user, secret=secret) if used else None

    async def change_password(self, principal: Principal, old: str, new: str, address: str) -> LoggedIn | NotLoggedIn:
        """By its owner, who knows the old one. All sessions end; the answer is a new one. Raises AccessError."""
        account, bucket = rules.account_bucket(principal.name), rules.address_bucket(address)
        throttles = {account: rules.ACCOUNT, bucket: rules.ADDRESS}
        wait_s = await in_thread(lambda: self.registry.gates.try_login(throttles, self.clock()))
        if wait_s > 0:
            return NotLoggedIn(wait_s=wait_s)
        user = await in_thread(lambda: self.registry.people.user(principal.name))
        kept = await in_thread(lambda: self.registry.people.password(principal.name))
        if user is None or not await self.registry.passwords.verify(kept, old[: rules.PASSWORD_LIMIT_CHARS + 1]):
            return NotLoggedIn(user=principal.name)
        await in_thread(lambda: self.registry.gates.succeeded(account, [bucket]))
        rules.check_password(new, principal.name)
        fresh = await self.registry.passwords.hash(new)
        event = self.registry.event("user.password_set", f"user/{user.name}", user.name, "by its owner")
        await in_thread(lambda: self.registry.people.set_password(user.name, fresh, [event]))
        return await self.begin(user, Via.PASSWORD, address)

    async def logout(self, principal: Principal) -> None:
        if principal.session is None:
            return
        self._lately = {shown: one for shown, one in self._lately.items() if one[0].session != principal.session}
        event = self.registry.event("user.logged_out", f"user/{principal.name}", principal.name, "logged out")
        await in_thread(lambda: self.registry.people.end_session(str(principal.session), [event]))

    def _new_session(self, user: str, via: Via, address: str) -> tuple[Session, str]:
        now = self.clock()
        session = Session(id=new_id(), user=user, via=via, address=address, created_at=now, seen_at=now)
        return session, mint(Secret.SESSION)

    # -- agents ----------------------------------------------------------------------------------------------------

    async def enrol(self, lb: str, join_token: str, address: str) -> str | None:
        """The credential of that load balancer's agent, told once. None: the join token is not good for it."""
        secret = await in_thread(lambda: self.registry.spend_join_token(lb, join_token))
        self._credentials_at = None
        if secret is not None:
            agent = Principal(name=f"agent/{lb}", kind=PrincipalKind.AGENT, lb=lb)
            await self._server.enrolled(lb, agent, "enrolled with a join token", {"from": address})
        return secret

    async def rotate(self, lb: str) -> str:
        """A new credential; the old one is good until the new one is first used."""
        secret = await in_thread(lambda: self.registry.rotate_credential(lb))
        self._credentials_at = None
        return secret

    async def revoke_agent(self, lb: str, principal: Principal, reason: str) -> None:
        """Its credentials and join tokens end at once; other servers heed it within CREDENTIALS_FRESH.

        The load balancer serves on with what it was told last. Raises AccessError when there is no such agent.
        """
        plain = check_reason(reason)
        await in_thread(lambda: self.registry.agents.revoke(lb))
        self._credentials_at = None
        try:
            await self._server.revoked(lb, principal, plain)
        except AgentUnknown as error:
            raise AccessError("unknown", str(error)) from None

    # -- refusals and housekeeping -----------------------------------------------------------------------------------

    async def refused(self, *, who: str, what: str, code: str, address: str) -> None:
        """Journal it: the first of its kind at once, its repetitions together, a minute later."""
        telling = self._refusals.note(Kind(who=who, what=what, code=code), address, self.clock())
        if telling is not None:
            await self._tell([telling])

    async def _tell(self, tellings: list[Telling]) -> None:
        events = [
            self.registry.event(
                "access.refused",
                f"access/{one.kind.who}",
                one.kind.who,
                f"{one.kind.what}: {one.kind.code}",
                {
                    "what": one.kind.what,
                    "code": one.kind.code,
                    "times": one.times,
                    "from": list(one.addresses),
                    "since": one.since.isoformat(),
                },
            )
            for one in tellings
        ]
        try:
            await in_thread(lambda: self._journal.append_many(events))
        except JournalError as error:  # refused all the same; the log has it
            log.warning("refusals could not be journaled", refusals=len(events), error=str(error))

    async def settle(self, *, all_of_them: bool = False) -> None:
        """Tell what is due of repeated refusals."""
        due = self._refusals.due(self.clock(), all_of_them=all_of_them)
        if due:
            await self._tell(due)

    async def prune(self) -> None:
        """Remove what has expired."""
        now, settings = self.clock(), self._settings
        people, gates, agents = self.registry.people, self.registry.gates, self.registry.agents
        await in_thread(
            lambda: people.prune(now, idle_s=settings.session_idle_s, absolute_s=settings.session_absolute_s)
        )
        await in_thread(lambda: gates.prune(now))
        await in_thread(lambda: agents.prune(now))

    @asynccontextmanager
    async def housekeeping(self) -> AsyncIterator[None]:
        """Keep house while the application runs."""
        tasks = [
            asyncio.create_task(self._every(TELL_EVERY_S, self.settle)),
            asyncio.create_task(self._every(PRUNE_EVERY_S, self.prune)),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*tasks)
            await self.settle(all_of_them=True)

    async def _every(self, seconds: float, duty: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await duty()
            except (JournalError, StoreError) as error:
                log.warning("access could not keep house", error=str(error))
