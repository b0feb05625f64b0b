"""A lab's server: made, started on a host of its own, and the agents enrolled with it, as in production.

Its database and keys are in FOLDER/server, an admin's API token in FOLDER/secrets/server-token. It listens inside at
the same port as what is published on 127.0.0.1, so one certificate and one port do for agents inside and a browser
outside.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import aiohttp

from backstay.agent.link.client import LinkError
from backstay.agent.link.enrolling import enrol
from backstay.agent.link.enrolment import EnrolmentFile
from backstay.agent.paths import StateFiles
from backstay.journal.mint import new_id
from backstay.lab.fabric.base import python
from backstay.lab.model import SERVER, LabError, Published, Served
from backstay.lab.state import LabFolder

ROLE = "server"
CALL_TIMEOUT_S = 30.0
ACTOR = "lab"
REASON = "the lab comes up"


def published(folder: LabFolder) -> Published:
    """Where the console is. Raises LabError for a lab without a server."""
    found = next((one for one in folder.record.published if one.name == SERVER), None)
    if found is None:
        raise LabError(f"Lab {folder.path.name} has no server. Bring it up without --no-server.")
    return found


def make(folder: LabFolder, load_balancers: Sequence[str]) -> dict[str, str]:
    """`backstay server init`, an API token, and a join token for each load balancer. Blocks for a second or two.

    Raises LabError.
    """
    try:
        from backstay.journal.store import Database
        from backstay.server.access.registry import Registry
        from backstay.server.init import InitError, Wanted, initialise
        from backstay.server.model import Role
    except ImportError as error:
        raise LabError(f"The server needs the extra [server] ({error}). Install it, or: --no-server") from error
    place = published(folder)
    names = ("127.0.0.1", place.address)
    wanted = Wanted(state_dir=folder.server, names=names, listen=place.address, port=place.port)
    try:
        made = initialise(wanted, datetime.now(UTC))
    except InitError as error:
        raise LabError(f"The lab's server cannot be made: {error}") from error
    database = Database(made.settings.database)
    try:
        registry = Registry(database)
        _, token = registry.create_token("lab", Role.ADMIN, actor=ACTOR, reason=REASON)
        joins = {lb: registry.make_join_token(lb, actor=ACTOR, reason=REASON)[1] for lb in load_balancers}
    finally:
        database.close()
    folder.server_token.touch(mode=0o600)
    folder.server_token.write_text(token + "\n", encoding="ascii")
    served = Served(url=made.settings.base_url, user=made.user, link=made.link)
    folder.write_record(replace(folder.record, served=served))
    return joins


def process(folder: LabFolder) -> tuple[str, str, tuple[str, ...]]:
    """What runs where: (host, role, argv)."""
    argv = python("-m", "backstay.cli.main", "server", "run", "--state-dir", str(folder.server))
    return SERVER, ROLE, (*argv, "--estate", str(folder.estate_file))


async def enrol_all(folder: LabFolder, joins: dict[str, str]) -> None:
    """Each agent, over the published port; they speak to the server by its own address. Raises LabError."""
    place = published(folder)
    ca = folder.server_ca.read_text(encoding="ascii")

    async def one(lb: str, join_token: str) -> None:
        files = StateFiles(folder.hosts / lb / "state")
        enrolled = await enrol(
            files, url=f"https://127.0.0.1:{place.port}", lb=lb, join_token=join_token, ca=ca, fingerprint=None
        )
        inside = replace(enrolled, id=new_id(), url=f"https://{place.address}:{place.inside_port}")
        EnrolmentFile(files.link).save(inside)

    try:
        await asyncio.gather(*(one(lb, token) for lb, token in joins.items()))
    except (LinkError, OSError) as error:
        raise LabError(f"The agents cannot be enrolled with the lab's server: {error}") from error


class ServerApi:
    """The API of a lab's server, as its admin's token."""

    def __init__(self, folder: LabFolder) -> None:
        self._base = f"https://127.0.0.1:{published(folder).port}/api/v1"
        self._tls = ssl.create_default_context(cafile=str(folder.server_ca))
        self._token = folder.server_token.read_text(encoding="ascii").strip()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> ServerApi:
        timeout = aiohttp.ClientTimeout(total=CALL_TIMEOUT_S)
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=self._tls), timeout=timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()

    async def call(self, method: str, path: str, body: dict[str, Any] | None = None, *, key: str | None = None) -> Any:
        """The answer of one call. `key`: its Idempotency-Key. Raises LabError with the problem's detail."""
        assert self._session is not None, "used as `async with ServerApi(folder) as api:`"
        headers = {"Authorization": f"Bearer {self._token}", "Idempotency-Key": key or new_id()}
        try:
            async with self._session.request(method, self._base + path, json=body, headers=headers) as response:
                answer = await response.json(content_type=None) if response.status != 204 else None
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise LabError(
                f"The lab's server does not answer {method} {path}: {error or 'nothing in time'}."
            ) from error
        if response.status >= 400:
            detail = answer.get("detail", answer) if isinstance(answer, dict) else answer
            raise LabError(f"{method} {path} ({response.status}): {detail}")
        return answer

    async def answers(self) -> bool:
        try:
            await self.call("GET", "/me")
        except LabError:
            return False
        return True

    async def connected(self, lbs: Sequence[str]) -> bool:
        """Every one of these agents follows the newest revision."""
        agents = {one["lb"]: one for one in (await self.call("GET", "/agents?limit=500"))["items"]}
        return all(lb in agents and agents[lb]["connected"] and agents[lb]["behind"] == 0 for lb in lbs)
