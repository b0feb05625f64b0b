"""Speaks to an agent's control API: by its unix socket on the same machine, by HTTPS and a token from elsewhere.

for lb, agent in clients_for(loaded.estate, folder=loaded.folder).items():
    async with agent:
        print(lb, (await agent.status())["in_sync"])
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import aiohttp

from backstay.agent.paths import control_socket, run_dir
from backstay.change.wire import ChangeRequest, UndoRequest
from backstay.estate import locate
from backstay.estate.model import Estate, Secret
from backstay.estate.secrets import SecretUnavailable, resolve
from backstay.estate.select import load_balancers
from backstay.link.views import (
    AppliedView,
    ChangeAnswer,
    ChangeView,
    EventView,
    ExplainView,
    IpExplainView,
    IpView,
    PlanView,
    PoolView,
    ProofView,
    SeenThroughView,
    SignalsView,
    StatusView,
)

ANSWER_LIMIT_BYTES = 16 * 2**20
TIMEOUT_S = 10.0
MOVE_TIMEOUT_S = 115.0  # below the agent's own limit for an answer
APPLY_TIMEOUT_S = 90.0  # an engine's check, reload and verification on a large estate


class AgentError(Exception):
    """A call of an agent that did not do what was asked. `lb` is the load balancer."""

    lb: str


class AgentUnreachable(AgentError):
    """No answer: what happened, and what next."""

    def __init__(self, lb: str, what: str, next_step: str, *, refused: bool = False) -> None:
        """`refused`: the machine itself said that nobody listens."""
        super().__init__(f"{lb}: {what}. {next_step}")
        self.lb, self.what, self.next_step, self.refused = lb, what, next_step, refused


class AgentRefused(AgentError):
    """409: a guard said no (`code` is its Refusal) or the plan is stale ("stale_plan"). `figures`: weighed on what."""

    def __init__(self, lb: str, code: str, detail: str, figures: Mapping[str, Any]) -> None:
        super().__init__(f"{lb}: {detail}")
        self.lb, self.code, self.detail, self.figures = lb, code, detail, figures


class AgentFailed(AgentError):
    """The agent answered, and it was an error: bad input (4xx) or not now (5xx)."""

    def __init__(self, lb: str, status: int, detail: str, code: str = "") -> None:
        super().__init__(f"{lb}: {detail}")
        self.lb, self.status, self.detail, self.code = lb, status, detail, code


class AgentClient:
    """One agent. Every call ends by its timeout, and raises AgentUnreachable, AgentRefused or AgentFailed."""

    def __init__(
        self,
        lb: str,
        *,
        socket: Path | None = None,
        url: str | None = None,
        token: Secret | None = None,
        ca_file: Path | None = None,
        folder: Path = Path(),
        unreachable: str | None = None,
    ) -> None:
        """`socket` wins over `url`. With neither, every call says `unreachable`. `folder`: the token is relative to."""
        self.lb = lb
        self._socket = socket
        self._url = url
        self._token = token
        self._ca_file = ca_file
        self._folder = folder
        self._unreachable = unreachable or "no socket and no address to speak to"
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    @property
    def has_way(self) -> bool:
        """There is a socket or an address to speak to; whether anybody answers there is another question."""
        return self._socket is not None or self._url is not None

    @property
    def where(self) -> str:
        """How this agent is reached, for people."""
        return str(self._socket or self._url or "nowhere")

    # --- what is -------------------------------------------------------------------------------------------------

    async def status(self) -> StatusView:
        return cast(StatusView, await self._get("/v1/status"))

    async def pools(self) -> list[PoolView]:
        return cast(list[PoolView], await self._get("/v1/pools"))

    async def pool(self, pool: str) -> PoolView:
        return cast(PoolView, await self._get(f"/v1/pools/{pool}"))

    async def explain(self, pool: str) -> ExplainView:
        return cast(ExplainView, await self._get(f"/v1/pools/{pool}/explain"))

    async def signals(self, pool: str, *, timeout_s: float = TIMEOUT_S) -> SignalsView:
        return cast(SignalsView, await self._get(f"/v1/pools/{pool}/signals", timeout_s=timeout_s))

    async def events(self, *, after: str | None = None, limit: int = 1_000) -> list[EventView]:
        params = {"limit": str(limit)} | ({"after": after} if after else {})
        return cast(list[EventView], await self._get("/v1/events", params=params))

    async def changes(self) -> list[ChangeView]:
        """In force, and those that ended lately; oldest first."""
        return cast(list[ChangeView], await self._get("/v1/changes"))

    async def proof(self, change_id: str) -> list[ProofView]:
        """A drain's proof so far; empty until the engine has taken the drain."""
        return cast(list[ProofView], await self._get(f"/v1/changes/{change_id}/proof"))

    # --- global IPs ------------------------------------------------------------------------------------------------

    async def ips(self) -> list[IpView]:
        return cast(list[IpView], await self._get("/v1/ips"))

    async def ip(self, ip: str, *, timeout_s: float = TIMEOUT_S) -> IpView:
        return cast(IpView, await self._get(f"/v1/ips/{ip}", timeout_s=timeout_s))

    async def explain_ip(self, ip: str) -> IpExplainView:
        return cast(IpExplainView, await self._get(f"/v1/ips/{ip}/explain"))

    async def see(self, ip: str, *, timeout_s: float = TIMEOUT_S) -> SeenThroughView:
        """Who answers this machine at the address itself."""
        return cast(SeenThroughView, await self._get(f"/v1/ips/{ip}/seen", timeout_s=timeout_s))

    async def ip_history(self, ip: str) -> list[EventView]:
        return cast(list[EventView], await self._get(f"/v1/ips/{ip}/history"))

    async def expect_move(self, ip: str, *, to: str, actor: str, reason: str) -> IpView:
        """Say that a person moves the address to `to`: losing it then quarantines nobody."""
        body = {"to": to, "actor": actor, "reason": reason}
        return cast(IpView, await self._post(f"/v1/ips/{ip}/expect", body))

    async def move_ip(self, ip: str, *, actor: str, reason: str) -> IpView:
        """Have this load balancer take the address, as planned. AgentRefused when it is not fit to."""
        body = {"to": self.lb, "actor": actor, "reason": reason}
        return cast(IpView, await self._post(f"/v1/ips/{ip}/move", body, timeout_s=MOVE_TIMEOUT_S))

    async def rearm_ip(self, ip: str, *, actor: str, reason: str, false_alarm: bool = False) -> IpView:
        """A person has looked. `false_alarm`: its last takeover was for nothing; AgentRefused when it had none."""
        body = {"actor": actor, "reason": reason} | ({"false_alarm": True} if false_alarm else {})
        return cast(IpView, await self._post(f"/v1/ips/{ip}/rearm", body))

    async def freeze_ip(self, ip: str, *, for_s: float, actor: str, reason: str) -> IpView:
        """No automatic takeover by this candidate for so long; 0 ends a freeze."""
        return cast(
            IpView, await self._post(f"/v1/ips/{ip}/freeze", {"for_s": for_s, "actor": actor, "reason": reason})
        )

    # --- what shall be -------------------------------------------------------------------------------------------

    async def plan(self, estate_text: str | None = None) -> PlanView:
        """What apply would alter; without a text, for the estate that the agent has."""
        if estate_text is None:
            return cast(PlanView, await self._get("/v1/plan", timeout_s=APPLY_TIMEOUT_S))
        return cast(PlanView, await self._post("/v1/plan", {"estate": estate_text}, timeout_s=APPLY_TIMEOUT_S))

    async def apply(self, estate_text: str, *, plan: str, actor: str, reason: str = "") -> AppliedView:
        """Adopt an estate. `plan` is the digest of the plan that was agreed to; AgentRefused when it is stale."""
        body = {"estate": estate_text, "plan": plan, "actor": actor, "reason": reason}
        return cast(AppliedView, await self._post("/v1/apply", body, timeout_s=APPLY_TIMEOUT_S))

    async def put_change(self, request: ChangeRequest, *, dry_run: bool = False) -> ChangeAnswer:
        """Put a change in force; idempotent by its id. AgentRefused when a guard refuses it.

        With `dry_run` nothing is altered, and a refusal is an answer (`verdict`), not an error.
        """
        body = {"change": request.to_json(), "dry_run": dry_run}
        return cast(ChangeAnswer, await self._post("/v1/changes", body))

    async def undo(self, change_id: str, request: UndoRequest) -> ChangeView:
        """End a change; idempotent. AgentFailed with status 404 when the agent never saw it."""
        body = request.model_dump(mode="json")
        return cast(ChangeView, await self._post(f"/v1/changes/{change_id}/undo", body))

    async def ack_events(self, through: str) -> None:
        """Events up to and with `through` are stored elsewhere."""
        await self._post("/v1/events/ack", {"through": through})

    # --- the wire ------------------------------------------------------------------------------------------------

    async def _get(self, path: str, *, params: Mapping[str, str] | None = None, timeout_s: float = TIMEOUT_S) -> Any:
        return await self._call("GET", path, params=params, timeout_s=timeout_s)

    async def _post(self, path: str, body: Mapping[str, Any], *, timeout_s: float = TIMEOUT_S) -> Any:
        return await self._call("POST", path, body=body, timeout_s=timeout_s)

    async def _call(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, str] | None = None,
        timeout_s: float,
    ) -> Any:
        session, url = await self._open()
        try:
            async with session.request(
                method,
                url + path,
                json=body,
                params=params,
                timeout=aiohttp.ClientTimeout(total=timeout_s),
                server_hostname=None if self._socket else self.lb,  # certificates name the node
            ) as response:
                return await self._read(response)
        except TimeoutError as error:
            raise AgentUnreachable(
                self.lb, f"no answer within {timeout_s:g} s from {self.where}", "Is the machine up, is it overloaded?"
            ) from error
        except aiohttp.ClientConnectorCertificateError as error:
            what = f"{self.where}: its certificate is not trusted ({error.certificate_error})"
            raise AgentUnreachable(
                self.lb, what, f"It must name {self.lb} and be signed by agents.ca of the estate."
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            cause = getattr(error, "os_error", error)
            if isinstance(cause, PermissionError):
                what = f"{self.where}: permission denied"
                raise AgentUnreachable(self.lb, what, "Only the agent's user and root may: try sudo.") from error
            raise AgentUnreachable(
                self.lb,
                f"{self.where}: {error or type(error).__name__}",
                "Does `backstay agent run` run there?",
                refused=isinstance(cause, ConnectionRefusedError),
            ) from error

    async def _open(self) -> tuple[aiohttp.ClientSession, str]:
        url = "http://agent" if self._socket else self._url
        if url is None:
            raise AgentUnreachable(
                self.lb,
                self._unreachable,
                "Run this on the load balancer, or give the estate `agents: {token, certificate, key, ca}`.",
            )
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=self._connector(), headers=await self._authorization(), auto_decompress=False
            )
        return self._session, url

    async def _authorization(self) -> dict[str, str]:
        if self._socket or self._token is None:
            return {}
        try:
            return {"Authorization": f"Bearer {await resolve(self._token, self._folder)}"}
        except SecretUnavailable as error:
            raise AgentUnreachable(self.lb, f"no token for {self._url}", f"agents.token: {error}") from error

    def _connector(self) -> aiohttp.BaseConnector:
        if self._socket:
            return aiohttp.UnixConnector(path=str(self._socket))
        try:
            context = ssl.create_default_context(cafile=self._ca_file)
        except (OSError, ssl.SSLError) as error:
            raise AgentUnreachable(
                self.lb, f"agents.ca {self._ca_file}: {error}", "It must be a PEM file of certificates."
            ) from error
        return aiohttp.TCPConnector(ssl=context)

    async def _read(self, response: aiohttp.ClientResponse) -> Any:
        raw = bytearray()
        async for chunk in response.content.iter_chunked(65_536):
            raw += chunk
            if len(raw) > ANSWER_LIMIT_BYTES:
                raise AgentFailed(self.lb, response.status, f"answered more than {ANSWER_LIMIT_BYTES} bytes")
        if response.status == 204:
            return None
        try:
            answer = json.loads(raw)
        except ValueError as error:
            raise AgentFailed(self.lb, response.status, f"{self.where} answered no JSON: is it an agent?") from error
        if response.status < 400:
            return answer
        problem = answer if isinstance(answer, dict) else {}
        detail = str(problem.get("detail") or problem.get("title") or f"HTTP {response.status}")
        if response.status == 409:
            raise AgentRefused(self.lb, str(problem.get("code", "refused")), detail, problem.get("figures") or {})
        raise AgentFailed(self.lb, response.status, detail, str(problem.get("code", "")))


def clients_for(
    estate: Estate, *, folder: Path, lbs: Sequence[str] | None = None, run: Path | None = None
) -> dict[str, AgentClient]:
    """A client for each of `lbs` (default: every load balancer), in the order of the tiers. Opens no connection.

    `folder` is the estate file's, for its relative names; `run` the run directory (default: this machine's).
    An agent that cannot be reached from here still gets a client: its calls raise AgentUnreachable and say why.
    """
    names = load_balancers(estate) if lbs is None else tuple(lbs)
    return {lb: _client(estate, lb, control_socket(run or run_dir(), lb), folder) for lb in names}


def _client(estate: Estate, lb: str, socket: Path, folder: Path) -> AgentClient:
    if os.path.exists(socket):  # noqa: PTH110 - false, and no error, in a folder that we may not read
        return AgentClient(lb, socket=socket)
    agents = estate.agents
    if agents.token is None:
        why = f"no agent's socket {socket} on this machine, and the estate names no agents.token"
        return AgentClient(lb, unreachable=why)
    address = estate.nodes[lb].address
    host = f"[{address}]" if address.version == 6 else str(address)
    ca_file = locate(folder, agents.ca) if agents.ca else None
    return AgentClient(lb, url=f"https://{host}:{agents.port}", token=agents.token, ca_file=ca_file, folder=folder)
