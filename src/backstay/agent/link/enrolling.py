"""Enrols this load balancer with a server: a join token becomes a credential of its own. For `backstay agent enrol`."""

from __future__ import annotations

import asyncio
import secrets
from datetime import UTC, datetime

from backstay.agent.link.client import Misunderstood, ServerClient, checked_url, fetch_authority
from backstay.agent.link.enrolment import Enrolment, EnrolmentFile
from backstay.agent.paths import StateFiles


async def enrol(
    files: StateFiles, *, url: str, lb: str, join_token: str, ca: str | None, fingerprint: str | None
) -> Enrolment:
    """Spend the join token; STATE/link.json is written when this returns.

    `ca`: PEM of who vouches for the server; None: the server tells it, and it must have `fingerprint`. The token is
    told to nobody else. Raises LinkError, OSError.
    """
    if ca is None:
        assert fingerprint is not None
        ca = await fetch_authority(url, fingerprint)
    await asyncio.to_thread(files.root.mkdir, mode=0o711, parents=True, exist_ok=True)
    async with ServerClient(url, ca, lb, credential=None) as client:
        enrolled = await client.enrol(join_token)
    if enrolled.lb != lb:
        raise Misunderstood(f"{url} enrolled {enrolled.lb} instead of {lb}: is it a Backstay server?")
    enrolment = Enrolment(
        id=secrets.token_hex(8),
        url=checked_url(url),
        ca=ca,
        server=enrolled.server,
        estate=enrolled.estate,
        lb=lb,
        credential=enrolled.credential,
        issued_at=datetime.now(UTC),
    )
    EnrolmentFile(files.link).save(enrolment)
    return enrolment
