"""Amazon: elastic IPs, by boto3.

AssociateAddress with AllowReassociation takes the address from the interface that has it: nothing is disassociated
first. Remapping is billed beyond 100 a month, and one to the same interface counts: so the owner is read first.
(https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_AssociateAddress.html)
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from backstay.estate.model import AwsProvider, Secret
from backstay.failover.ports import IpProvider, ProviderDenied, ProviderError, ProviderUnreachable
from backstay.failover.providers.flow import (
    READ_AGAIN,
    REQUEST_S,
    Ask,
    Reading,
    Routed,
    bounded_retry_after_s,
    nonsense,
    said,
)

DENIED = {
    "AuthFailure",
    "ExpiredToken",
    "InvalidClientTokenId",
    "MissingAuthenticationToken",
    "OptInRequired",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "UnauthorizedOperation",
}
THROTTLED = {"RequestLimitExceeded", "Throttling", "ThrottlingException", "TooManyRequestsException"}


def provider(provider: AwsProvider, nodes: Mapping[str, str], secrets: Callable[[Secret], str]) -> IpProvider:
    """For the entry point `aws`."""
    return Routed("aws", Aws(provider, nodes, secrets), nodes)


_making = threading.Lock()  # sessions make clients one at a time


class Aws:
    """One client for all requests: making it takes a while."""

    def __init__(self, provider: AwsProvider, nodes: Mapping[str, str], secrets: Callable[[Secret], str]) -> None:
        self._provider = provider
        self._secrets = secrets
        self._nodes = nodes
        self._names = {address: name for name, address in nodes.items()}
        self._made: Any = None

    async def read(self, address: str, ask: Ask) -> Reading:
        found = await self._request(ask, lambda ec2: ec2.describe_addresses(PublicIps=[address]))
        for one in found["Addresses"]:
            if one.get("PublicIp") == address:
                where = one.get("PrivateIpAddress") if one.get("AssociationId") else None
                holder = None if where is None else self._names.get(where, one.get("InstanceId") or where)
                return Reading(holder=holder, moving=False, ref=one.get("AllocationId"))
        raise ProviderError("the account has no such elastic IP in this region. Check address, region and keys.")

    async def route(self, address: str, target: str, reading: Reading, ask: Ask) -> None:
        where = self._nodes[target]
        by_address = [{"Name": "addresses.private-ip-address", "Values": [where]}]
        found = await self._request(ask, lambda ec2: ec2.describe_network_interfaces(Filters=by_address))
        interfaces = [one["NetworkInterfaceId"] for one in found["NetworkInterfaces"]]
        if len(interfaces) != 1:
            raise ProviderError(
                f"{len(interfaces)} network interfaces have {where}, the address of {target}; it takes exactly one. "
                "Check the estate's address, and which VPCs the keys see."
            )
        await self._request(
            ask,
            lambda ec2: ec2.associate_address(
                AllocationId=reading.ref,
                NetworkInterfaceId=interfaces[0],
                PrivateIpAddress=where,
                AllowReassociation=True,
            ),
        )

    async def close(self) -> None:
        if self._made is not None:
            self._made.close()
            self._made = None

    async def _request(self, ask: Ask, request: Callable[[Any], Any]) -> Any:
        await self._warm_up()
        return await ask(lambda _: self._in_thread(request))

    async def _warm_up(self) -> None:
        """Make the client outside of the time that a request has: its import alone takes a second."""
        if self._made is None:
            from backstay.blocking import in_thread

            await in_thread(self._client, timeout_s=30.0)

    def _in_thread(self, request: Callable[[Any], Any]) -> Any:
        """One request. Raises ProviderError."""
        client = self._client()
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError
        from botocore.parsers import ResponseParserError

        try:
            answer = request(client)
        except ClientError as error:
            raise _told(error.response) from error
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise ProviderDenied(f"{said(error)}. Give keys in the estate, or the machine a role.") from error
        except ResponseParserError as error:
            raise nonsense(error) from error
        except BotoCoreError as error:
            raise ProviderUnreachable(f"{said(error)}. {READ_AGAIN}") from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:  # the client trips over an odd body
            raise nonsense(error) from error
        if not isinstance(answer, dict) or answer.keys() <= {"ResponseMetadata"}:
            raise nonsense(answer)
        return answer

    def _client(self) -> Any:
        with _making:
            if self._made is None:
                self._made = self._make()
            return self._made

    def _make(self) -> Any:
        session = _session()
        from botocore.config import Config

        of = self._provider
        return session.client(
            "ec2",
            region_name=of.region,
            endpoint_url=of.endpoint_url,
            aws_access_key_id=self._secrets(of.access_key_id) if of.access_key_id else None,
            aws_secret_access_key=self._secrets(of.secret_access_key) if of.secret_access_key else None,
            config=Config(
                connect_timeout=REQUEST_S,
                read_timeout=REQUEST_S,
                retries={"total_max_attempts": 1, "mode": "standard"},  # repeating is for those who know what was asked
                user_agent_extra="backstay",
            ),
        )


@cache
def _session() -> Any:
    """One for all providers: it holds EC2's service model, 20 MB."""
    try:
        import boto3
    except ImportError as error:
        raise ProviderError("boto3 is not installed. Install backstay[aws].") from error
    return boto3.session.Session()


def _told(answer: Mapping[str, Any]) -> ProviderError:
    meta = answer.get("ResponseMetadata", {})
    status, headers = meta.get("HTTPStatusCode", 0), meta.get("HTTPHeaders", {})
    code, words = answer.get("Error", {}).get("Code", ""), said(answer.get("Error", {}).get("Message", ""))
    if code in DENIED or status in (401, 403):
        return ProviderDenied(f"denied: {words} ({code}). Check the keys or the role, and what it may do.")
    if code in THROTTLED or status == 429:
        wait_s = bounded_retry_after_s(headers.get("retry-after"))
        return ProviderError(f"too many requests: {words}. Wait.", retry_after_s=wait_s)
    if status >= 500:
        return ProviderUnreachable(f"{words} ({code}, HTTP {status}). {READ_AGAIN}")
    return ProviderError(f"refused: {words} ({code}).")
