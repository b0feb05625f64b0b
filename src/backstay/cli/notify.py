"""`backstay notify test`: does each channel of the estate take a page? Straight from here; no agent is needed."""

from __future__ import annotations

import asyncio
import socket
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from backstay.cli.options import EstateOption, SetOption, load_or_fail
from backstay.cli.output import Exit, Format, Output, Row, actor, emit, fail

if TYPE_CHECKING:
    from backstay.notify import Notifier, Page

TIMEOUT_S = 20.0

notify = typer.Typer(add_completion=False, no_args_is_help=True, help="Who is told: test.")

ChannelOption = Annotated[
    list[str] | None,
    typer.Option("--channel", metavar="NAME", help="Only this channel. Repeatable; default: all that the estate has."),
]


@notify.callback()
def group() -> None:
    """Who is told of a takeover."""


@notify.command()
def test(
    estate: EstateOption, channel: ChannelOption = None, sets: SetOption = None, output: Output = Format.TABLE
) -> None:
    """Send a page that says that it is a test. Exit status 1 when a channel does not take it."""
    from backstay.notify.channels import configured

    loaded = load_or_fail(estate, sets)
    channels = configured(loaded.estate.notify, loaded.folder)
    if not channels:
        fail(f"{loaded.name} names nobody to tell. Add `notify`: pagerduty, alertmanager, slack or smtp.")
    for name in channel or ():
        if name not in channels:
            fail(f'"{name[:60]}" is no channel of {loaded.name}. Channels: {", ".join(channels)}.', Exit.USAGE)
    chosen = {name: made for name, made in channels.items() if not channel or name in channel}
    rows = asyncio.run(_send_all(chosen, _page(loaded.estate.estate)))
    emit(rows, output)
    if any(row["result"] != "delivered" for row in rows):
        raise typer.Exit(int(Exit.FAILED))


def _page(estate: str) -> Page:
    from backstay.journal.mint import new_id
    from backstay.notify import Page, Severity

    return Page(
        key=f"test-{new_id()}",
        at=datetime.now(UTC),
        summary=f"Backstay test page of {estate}: nothing is wrong",
        source=socket.gethostname(),
        subject="notify/test",
        severity=Severity.INFO,
        done=(f"{actor()} ran `backstay notify test`",),
        not_done=("nothing was moved",),
        commands={"look": "backstay ip list"},
    )


async def _send_all(channels: dict[str, Notifier], page: Page) -> list[Row]:
    """All at once, each once: a test shows what happens, and repeats nothing."""
    return await asyncio.gather(*(_send(name, channel, page) for name, channel in channels.items()))


async def _send(name: str, channel: Notifier, page: Page) -> Row:
    from backstay.notify import SendFailed, SendRefused

    began_s = time.monotonic()
    try:
        result, detail = "delivered", await channel.send(page, timeout_s=TIMEOUT_S)
    except SendRefused as error:
        result, detail = "refused", str(error)
    except SendFailed as error:
        result, detail = "failed", str(error)
    return {"channel": name, "result": result, "seconds": round(time.monotonic() - began_s, 3), "detail": detail}
