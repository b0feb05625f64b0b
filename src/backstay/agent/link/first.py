"""A start without an estate file: an agent that is enrolled gets the estate from its server, and keeps it."""

from __future__ import annotations

import asyncio
import random

import structlog

from backstay.agent.host.adoption import Adopted, Adoption, Source
from backstay.agent.host.parse import EstateRefused
from backstay.agent.link.client import LinkError, ServerClient
from backstay.agent.link.enrolment import Enrolment, EnrolmentFile, LinkDamaged
from backstay.agent.paths import StateFiles
from backstay.agent.start import CannotStart, Options
from backstay.change import ChangeBook
from backstay.link import follow
from backstay.link.follow import Followed
from backstay.link.pace import retry_after_s

log = structlog.get_logger()


async def find_estate(options: Options) -> None:
    """See that there is an estate to start with: the file, the last good one, or the server's.

    Waits for the server as long as it takes: without an estate there is nothing else to do. Raises CannotStart when
    there is no server either, or its word cannot be followed.
    """
    files = StateFiles(options.state.absolute())
    if options.estate.exists() or files.estate.exists():
        return
    try:
        enrolment = EnrolmentFile(files.link).load(options.lb)
    except LinkDamaged as error:
        raise CannotStart(str(error)) from error
    if enrolment is None:
        return  # load_world says what is missing
    adoption = Adoption(options.estate, options.lb, files)
    adopted = await _first_word(enrolment, adoption)
    try:
        adoption.keep(adopted)
    except OSError as error:
        raise CannotStart(f"{files.estate}: {error.strerror}. The agent keeps its estate there.") from error


async def _first_word(enrolment: Enrolment, adoption: Adoption) -> Adopted:
    """The server's estate. Raises CannotStart."""
    failures = 0
    try:
        client = ServerClient(enrolment.url, enrolment.ca, enrolment.lb, enrolment.credential)
    except LinkError as error:
        raise CannotStart(str(error)) from error
    async with client:
        while True:
            try:
                plain = await client.desired(after=None, have_sha256="", wait_s=0.0)
            except LinkError as error:
                failures += 1
                if failures == 1:
                    log.warning("no estate yet: waits for the server", server=enrolment.url, error=str(error))
            else:
                if plain is not None:
                    return await asyncio.to_thread(_estate_of, plain, enrolment, adoption)
                failures += 1
            await asyncio.sleep(retry_after_s(failures, random.random()))  # noqa: S311


def _estate_of(plain: object, enrolment: Enrolment, adoption: Adoption) -> Adopted:
    heard = follow.parse_desired(plain)
    if isinstance(heard, follow.Refused):
        raise CannotStart(heard.sentence)
    standing = follow.Standing(book=ChangeBook(), estate=enrolment.estate, heard_sha256="")
    decided = follow.decide_follow(enrolment.pinned, Followed(), standing, heard.desired)
    if isinstance(decided, follow.Refused):
        raise CannotStart(decided.sentence)
    assert decided.adopt is not None, "nothing was adopted before, so there is an estate to adopt"
    try:
        return adoption.parse(decided.adopt.text, Source.SERVER)
    except EstateRefused as refused:
        raise CannotStart(f"the server's estate is refused: {refused}") from None
