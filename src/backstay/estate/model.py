"""Nouns of the estate file. Frozen pydantic models: one definition for the file, its JSON Schema and the code.

Keys of mappings are names; an object does not repeat its own name. Units are in key names.
Cross references are checked in `check.py`, not here, so that all faults are reported at once with line and column.
"""

from __future__ import annotations

from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Name = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"), Field(description="a DNS label")
]
Hostname = Annotated[
    str,
    StringConstraints(
        pattern=r"^(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        max_length=253,
    ),
]
Port = Annotated[int, Field(ge=1, le=65535)]
Address = IPv4Address | IPv6Address
Path = Annotated[str, StringConstraints(pattern=r"^/[^\s\"'{};\\$#]*$", max_length=1024)]


class Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class EnvSecret(Model):
    env: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    """Name of the environment variable that holds the secret."""


class FileSecret(Model):
    file: Annotated[str, StringConstraints(min_length=1)]
    """Path of the file that holds the secret (relative: to the estate file)."""


class CommandSecret(Model):
    command: Annotated[tuple[str, ...], Field(min_length=1)]
    """Program and arguments that print the secret."""


Secret = EnvSecret | FileSecret | CommandSecret


class SoftlayerProvider(Model):
    kind: Literal["softlayer"]
    username: Secret
    api_key: Secret
    endpoint_url: str | None = None


class HetznerProvider(Model):
    kind: Literal["hetzner"]
    token: Secret
    endpoint_url: str | None = None


class AwsProvider(Model):
    kind: Literal["aws"]
    region: str
    access_key_id: Secret | None = None
    secret_access_key: Secret | None = None
    endpoint_url: str | None = None


class CommandProvider(Model):
    kind: Literal["command"]
    owner: Annotated[tuple[str, ...], Field(min_length=1)]
    """Prints the owner of the address."""
    assign: Annotated[tuple[str, ...], Field(min_length=1)]
    """Routes the address to a load balancer."""


Provider = Annotated[SoftlayerProvider | HetznerProvider | AwsProvider | CommandProvider, Field(discriminator="kind")]


class Zone(Model):
    paths: tuple[Name, ...] = ()
    """Failure paths (power feeds, switches, racks): what fails as one."""


class Region(Model):
    provider: Name | None = None
    zones: Annotated[dict[Name, Zone], Field(min_length=1)]


class Node(Model):
    zone: Name
    address: Address
    paths: tuple[Name, ...] = ()
    """Failure paths of the zone that this node hangs on."""


class Cluster(Model):
    members: tuple[Name, ...] | str
    """Names of nodes, or one glob over node names ("queue*")."""
    spare: Annotated[int, Field(ge=0)] = 1
    """How many members may be out at once with the load still carried (N+1)."""
    work: str | None = None
    """Indicator of the unit of work (requests, messages), which the audit normalises by."""


class EngineKind(StrEnum):
    NGINX = "nginx"
    HAPROXY = "haproxy"


class Tier(Model):
    engine: EngineKind
    members: Annotated[tuple[Name, ...], Field(min_length=1)]
    global_ip: Name | None = None
    listen: Literal["all", "node"] = "all"
    """Listen on every address of the machine, or on the load balancer's own only."""


class GlobalIp(Model):
    """An address that the provider routes to exactly one load balancer."""

    address: Address
    provider: Name
    candidates: Annotated[tuple[Name, ...], Field(min_length=1)]
    """Load balancers that may hold the address, preferred first."""
    false_takeovers_per_year: Annotated[float, Field(gt=0, le=1000)] = 0.1


class TlsProfile(StrEnum):
    """Mozilla's server-side TLS profiles (wiki.mozilla.org/Security/Server_Side_TLS)."""

    MODERN = "modern"
    INTERMEDIATE = "intermediate"
    OLD = "old"


class Tls(Model):
    certificate: str
    """Path of the PEM chain, leaf first (relative: to the estate file)."""
    key: FileSecret
    profile: TlsProfile = TlsProfile.INTERMEDIATE
    hsts_max_age_s: Annotated[int, Field(ge=0)] = 63_072_000


class Route(Model):
    path: Path
    """Prefix of the request path; the longest that matches wins."""
    pool: Name
    websocket: bool = False


class Service(Model):
    """What users reach: hostnames with routes (HTTP), or one TCP port with a pool."""

    tiers: tuple[Name, ...] | None = None
    """Tiers that carry it; all of them when absent."""
    hostnames: tuple[Hostname, ...] = ()
    http_port: Port = 80
    https_port: Port = 443
    tls: Tls | None = None
    redirect_http: bool = True
    """With `tls`: send HTTP on to HTTPS (308). Without: ignored."""
    header_limit_kb: Annotated[int, Field(ge=1, le=64)] = 16
    body_limit_mb: Annotated[int, Field(ge=1, le=10_240)] = 100
    routes: tuple[Route, ...] = ()
    tcp_port: Port | None = None
    pool: Name | None = None
    """Pool of a TCP service."""


class Protocol(StrEnum):
    HTTP = "http"
    TCP = "tcp"
    FASTCGI = "fastcgi"
    UWSGI = "uwsgi"


class Balance(StrEnum):
    LEAST_TIME = "least_time"
    LEAST_CONNECTIONS = "least_connections"
    ROUND_ROBIN = "round_robin"
    SOURCE = "source"


class Check(Model):
    path: Path | None = None
    """HTTP path; absent: a TCP connect."""
    port: Port | None = None
    """The health port (HAport); absent: the serving port."""
    interval_s: Annotated[float, Field(ge=0.1, le=3600)] = 2.0
    timeout_s: Annotated[float, Field(ge=0.05, le=60)] = 2.0
    rise: Annotated[int, Field(ge=1, le=100)] = 2
    fall: Annotated[int, Field(ge=1, le=100)] = 2


class Rescale(Model):
    every_s: Annotated[float, Field(ge=1, le=3600)] = 15.0


class Fastcgi(Model):
    document_root: Path
    index: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]+$")] = "index.php"


class Pool(Model):
    cluster: Name
    port: Port
    protocol: Protocol = Protocol.HTTP
    balance: Balance = Balance.LEAST_TIME
    check: Check | None = None
    rescale: Rescale | None = None
    slow_start_s: Annotated[float, Field(ge=0, le=3600)] = 30.0
    connect_timeout_s: Annotated[float, Field(gt=0, le=60)] = 2.0
    response_timeout_s: Annotated[float, Field(gt=0, le=3600)] = 60.0
    fastcgi: Fastcgi | None = None


class Pagerduty(Model):
    routing_key: Secret
    endpoint_url: str | None = None


class Webhook(Model):
    url: Secret


class Smtp(Model):
    host: str
    port: Port = 25
    sender: str
    recipients: Annotated[tuple[str, ...], Field(min_length=1)]


class Notify(Model):
    pagerduty: Pagerduty | None = None
    alertmanager: Webhook | None = None
    slack: Webhook | None = None
    smtp: Smtp | None = None


class Agents(Model):
    """How the agents on the load balancers are reached from elsewhere."""

    port: Port = 8404
    token: Secret | None = None
    """Bearer token of the control API over HTTPS; absent: the unix socket only."""
    certificate: str | None = None
    key: FileSecret | None = None
    ca: str | None = None
    """PEM of the authority that signed the agents' certificates."""


class FailureLevel(StrEnum):
    MAINTENANCE = "maintenance"
    POWER_OR_NETWORK = "power_or_network"
    ZONE = "zone"
    REGION = "region"
    PROVIDER = "provider"


Downtime = Annotated[str, StringConstraints(pattern=r"^(none|[1-9][0-9]*(s|m|h|d))$")]


class Estate(Model):
    """What is declared: the whole estate file."""

    estate: Name
    providers: dict[Name, Provider] = {}
    regions: Annotated[dict[Name, Region], Field(min_length=1)]
    nodes: Annotated[dict[Name, Node], Field(min_length=1)]
    clusters: dict[Name, Cluster] = {}
    tiers: dict[Name, Tier] = {}
    global_ips: dict[Name, GlobalIp] = {}
    services: dict[Name, Service] = {}
    pools: dict[Name, Pool] = {}
    agents: Agents = Agents()
    notify: Notify = Notify()
    promises: dict[FailureLevel, Downtime] = {}
