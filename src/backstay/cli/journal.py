"""`backstay journal tail | show | verify | collect`: what happened, who did it, why, and what came of it."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from backstay.cli.options import EstateOption, load_or_fail
from backstay.cli.output import Exit, Format, Output, Row, emit, fail, note
from backstay.cli.served.way import Way, with_way

if TYPE_CHECKING:
    from backstay.agent.client import AgentClient
    from backstay.cli.served.journal import ServedJournal
    from backstay.journal import Event, Link
    from backstay.journal.store import JournalStore

journal = typer.Typer(add_completion=False, no_args_is_help=True, help="What happened: tail, show, verify, collect.")

FOLLOW_S = 1.0

UrlOption = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        envvar="BACKSTAY_DATABASE_URL",
        metavar="URL",
        help="sqlite:////path/journal.db or postgresql://user@host/db. Without: a SQLite file in the state directory.",
    ),
]
OptionalEstate = Annotated[
    Path | None,
    typer.Option("-e", "--estate", envvar="BACKSTAY_ESTATE", metavar="FILE", help="Collect from its agents first."),
]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The event's id, from `backstay journal tail`.")]


@journal.command()
@with_way
def tail(  # noqa: PLR0913, PLR0917 - a parameter is a flag
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=10_000, help="How many events.")] = 30,
    kind: Annotated[str | None, typer.Option("--kind", help='Of this kind: drain.started, "drain.*".')] = None,
    subject: Annotated[str | None, typer.Option("--subject", help='About this: node/web2, "lb/*".')] = None,
    by: Annotated[str | None, typer.Option("--actor", help='By this actor: alice, "agent/*".')] = None,
    text: Annotated[
        str | None, typer.Option("--text", help="With this text in subject, actor, reason or data.")
    ] = None,
    since: Annotated[str | None, typer.Option("--since", help="Not before: 2h (ago), or an ISO 8601 time.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Before: 2h (ago), or an ISO 8601 time.")] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what happens next, until ^C.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask the agents for new events.")] = False,
    estate: OptionalEstate = None,
    database_url: UrlOption = None,
    output: Output = Format.TABLE,
    *,
    way: Way,
) -> None:
    """The newest events, oldest of them first."""
    from backstay.journal.store import Filter

    where = Filter(kind=kind, subject=subject, actor=by, text=text, since=_moment(since), until=_moment(until))
    with _journal(way, database_url) as store:
        source = None if offline or way.url else estate  # a server is told by its agents
        told = _collect(store, source, set())
        after = store.newest()  # before the events are read: what comes meanwhile must not be missed
        links = store.tail(limit=limit, where=where)
        if not follow:
            emit([_plain(link) for link in links], output, rows=[_row(link.event) for link in links])
            return
        after = max([after, *(link.seq for link in links)])
        try:
            _print(links, output)
            while True:
                time.sleep(FOLLOW_S)
                told = _collect(store, source, told)
                links = store.tail(limit=1_000, where=where, after=after)
                after = links[-1].seq if links else after
                _print(links, output)
        except KeyboardInterrupt:
            return


@journal.command()
@with_way
def show(event_id: IdArgument, database_url: UrlOption = None, output: Output = Format.TABLE, *, way: Way) -> None:
    """One event, what led to it, and what came of it."""
    from backstay.journal import event_json

    with _journal(way, database_url) as store:
        story, link = store.causes(event_id), store.get(event_id)
    if story is None or link is None:
        fail(f"No event {event_id[:64]} in {store.where}. What there is: backstay journal tail")
    data = _plain(link) | {
        "causes": [event_json(event) for event in story.causes],
        "effects": [event_json(event) for event in story.effects],
    }
    rows: list[Row] = [{"": "cause", **_row(event)} for event in story.causes]
    rows += [{"": "this", **_row(story.event)}]
    rows += [{"": "effect", **_row(event)} for event in story.effects]
    emit(data, output, rows=rows)
    if output is Format.TABLE and story.event.data:
        note(_words(story.event))
    if story.cut:
        note("There is more: only the nearest causes and effects are shown.")


@journal.command()
def verify(
    expect: Annotated[
        str | None, typer.Option("--expect", metavar="HASH", help="A head that an earlier verify printed.")
    ] = None,
    database_url: UrlOption = None,
    output: Output = Format.TABLE,
) -> None:
    """Check the whole chain. Exit code 3, and the first broken link, when somebody altered it."""
    from backstay.journal import Whole

    with _store(database_url) as store:
        found = store.verify(expect=expect)
    if isinstance(found, Whole):
        emit({"whole": True, "events": found.links, "head": found.head}, output)
        note("Note the head elsewhere: `verify --expect HEAD` finds a journal that was written anew.")
        return
    broken = {"whole": False, "link": found.seq, "event": found.event_id, "fault": found.fault.value}
    emit(broken | {"sentence": found.sentence}, output)
    note(f"{store.where}: {found.sentence}. Compare with a backup of the database.")
    raise typer.Exit(int(Exit.FINDINGS))


@journal.command()
def collect(estate: EstateOption, database_url: UrlOption = None, output: Output = Format.TABLE) -> None:
    """Bring the agents' events into the journal."""
    with _store(database_url) as store:
        rows = asyncio.run(_collect_all(store, estate))
    emit(rows, output)
    if any(row["result"] != "done" for row in rows):
        raise typer.Exit(int(Exit.UNREACHABLE))


def default_url() -> str:
    """SQLite in /var/lib/backstay as root, else in XDG_STATE_HOME/backstay."""
    if os.geteuid() == 0:
        return "sqlite:////var/lib/backstay/journal.db"
    home = os.environ.get("XDG_STATE_HOME")
    state = Path(home) if home else Path.home() / ".local" / "state"
    return f"sqlite:///{(state / 'backstay' / 'journal.db').absolute()}"


@contextmanager
def _store(url: str | None) -> Iterator[JournalStore]:
    """The journal; its errors end the command with their message."""
    from backstay.journal import JournalError
    from backstay.journal.store import JournalStore

    try:
        with JournalStore.open(url or default_url()) as store:
            yield store
    except JournalError as error:
        fail(str(error))


@contextmanager
def _journal(way: Way, url: str | None) -> Iterator[JournalStore | ServedJournal]:
    """The server's journal when there is one, else that of the database."""
    at = way.server()
    if at is None:
        with _store(url) as store:
            yield store
        return
    from backstay.cli.served.client import ServerUnreachable
    from backstay.cli.served.journal import ServedJournal
    from backstay.journal import JournalError

    try:
        yield ServedJournal(at)
    except JournalError as error:
        fail(str(error), Exit.UNREACHABLE if isinstance(error.__cause__, ServerUnreachable) else Exit.FAILED)


def _collect(store: JournalStore | ServedJournal, estate: Path | None, told: set[str]) -> set[str]:
    """New events of the agents that answer. Those that do not are told, once (`told`), and are no reason to stop."""
    if estate is None:
        return told
    own = cast("JournalStore", store)  # of a server's journal nothing is collected
    faults = {
        f"{row['load balancer']}: {row['detail']}" for row in asyncio.run(_collect_all(own, estate)) if row["detail"]
    }
    for fault in sorted(faults - told):
        note(fault)
    return faults


async def _collect_all(store: JournalStore, estate: Path) -> list[Row]:
    """A row for each load balancer: what came, or why nothing did."""
    from backstay.cli.fleet import Fleet
    from backstay.cli.served.way import Site
    from backstay.journal.collect import collect as collect_from

    async with Fleet(Site(loaded=load_or_fail(estate))) as fleet:
        # Without a server they are the agents themselves, which have a spool.
        said, answers = await fleet.ask(lambda agent: collect_from(cast("AgentClient", agent), store))
    return [
        {
            "load balancer": answer.lb,
            "result": answer.reply.value,
            "new": said[answer.lb].new if answer.lb in said else 0,
            "detail": "; ".join(said[answer.lb].faults) if answer.lb in said else answer.detail,
        }
        for answer in answers
    ]


def _print(links: list[Link], output: Format) -> None:
    """A line an event, so that a pipe may read along."""
    for link in links:
        line = (
            json.dumps(_plain(link)) if output is not Format.TABLE else "  ".join(map(str, _row(link.event).values()))
        )
        print(line, flush=True)


def _plain(link: Link) -> dict[str, Any]:
    from backstay.journal import event_json

    return event_json(link.event) | {"seq": link.seq, "previous": link.previous, "hash": link.hash}


def _row(event: Event) -> Row:
    return {
        "time (UTC)": event.time.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3],
        "kind": event.kind,
        "subject": event.subject,
        "by": event.actor,
        "reason": _one_line(event.reason),
        "id": event.id,
    }


def _words(event: Event) -> str:
    return "\n".join(f"  {key}: {_one_line(str(value))}" for key, value in sorted(event.data.items()))


def _one_line(text: str) -> str:
    """What an engine or a backend wrote may hold anything: no control characters on somebody's terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _moment(text: str | None) -> datetime | None:
    """A duration ago, or an ISO 8601 time (UTC unless it says otherwise). Ends the command when it is neither."""
    if text is None:
        return None
    from backstay.change.durations import parse_duration
    from backstay.change.model import ChangeInvalid

    try:
        return datetime.now(UTC) - timedelta(seconds=parse_duration(text))
    except ChangeInvalid:
        pass
    try:
        time_ = datetime.fromisoformat(text)
    except ValueError:
        fail(f'"{text[:40]}" is no time. Write how long ago (90s, 30m, 2h, 1d), or 2026-11-22T14:00.', Exit.USAGE)
    return time_ if time_.tzinfo is not None else time_.replace(tzinfo=UTC)
