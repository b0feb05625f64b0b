"""Nouns of the estate file. Frozen pydantic models: one definition for the file, its JSON Schema and the code.

Keys of mappings are names; an object does not repeat its own name. Units are in key names.
Cross references are checked in `check.py`, not here, so that all faults are reported at once with line and column.
"""

from __future__ import annotations

from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, StringConstraints, Tag

from backstay.estate.audit import Audit

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
    model_config = ConfigDict(frozen=True, defer_build=True, extra="forbid", use_attribute_docstrings=True)


class EnvSecret(Model):
    env: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    """Name of the environment variable that holds the secret."""


class FileSecret(Model):
    file: Annotated[str, StringConstraints(min_length=1)]
    """Path of the file that holds the secret (relative: to the estate file)."""


class CommandSecret(Model):
    command: Annotated[tuple[str, ...], Field(min_length=1)]
    """Program and arguments that print the secret."""


def _kind_of_secret(value: Any) -> str | None:
    """Which reference `value` is. None: a literal, or none or several of the keys at once."""
    given = value.keys() if isinstance(value, dict) else type(value).model_fields if isinstance(value, Model) else ()
    kinds = [kind for kind in ("env", "file", "command") if kind in given]
    return kinds[0] if len(kinds) == 1 else None


Secret = Annotated[
    Annotated[EnvSecret, Tag("env")] | Annotated[FileSecret, Tag("file")] | Annotated[CommandSecret, Tag("command")],
    Discriminator(_kind_of_secret, custom_error_type="secret", custom_error_message="not a secret reference"),
]


class SoftlayerProvider(Model):
    kind: Literal["softlayer"]
    username: Secret
    """User of the API."""
    api_key: Secret
    """Its key."""
    endpoint_url: str | None = None
    """Another address of the API; absent: the vendor's."""


class HetznerProvider(Model):
    kind: Literal["hetzner"]
    token: Secret
    """API token."""
    endpoint_url: str | None = None
    """Another address of the API; absent: the vendor's."""


class AwsProvider(Model):
    kind: Literal["aws"]
    region: str
    """Region of the addresses, as AWS names it."""
    access_key_id: Secret | None = None
    """Absent: the machine's own role."""
    secret_access_key: Secret | None = None
    """Absent: the machine's own role."""
    endpoint_url: str | None = None
    """Another address of the API; absent: the vendor's."""


class CommandProvider(Model):
    kind: Literal["command"]
    owner: Annotated[tuple[str, ...], Field(min_length=1)]
    """Prints the owner of the address."""
    assign: Annotated[tuple[str, ...], Field(min_length=1)]
    """Routes the address to a load balancer."""


class PluginProvider(Model):
    kind: Literal["plugin"]
    plugin: Name
    """Name of the entry point in `backstay.providers` that somebody else's package brings."""
    settings: dict[str, str] = {}
    """What the package wants to know; its own page says what."""
    secrets: dict[str, Secret] = {}
    """The secrets that it wants."""


Provider = Annotated[
    SoftlayerProvider | HetznerProvider | AwsProvider | CommandProvider | PluginProvider, Field(discriminator="kind")
]


class Zone(Model):
    paths: tuple[Name, ...] = ()
    """Failure paths (power feeds, switches, racks): what fails as one."""


class Region(Model):
    provider: Name | None = None
    """Who provides it: a name of providers."""
    zones: Annotated[dict[Name, Zone], Field(min_length=1)]
    """Zones by name; a name is unique in the estate."""


class Node(Model):
    zone: Name
    """A name of some region's zones."""
    address: Address
    """IPv4 or IPv6; no two nodes share one."""
    paths: tuple[Name, ...] = ()
    """Failure paths of the zone that this node hangs on."""


Glob = Annotated[str, StringConstraints(pattern=r"^[a-z0-9*?\[\]!-]{1,100}$")]
Members = Annotated[
    Annotated[tuple[Name, ...], Tag("names")] | Annotated[Glob, Tag("glob")],
    Discriminator(lambda value: "glob" if isinstance(value, str) else "names"),
]


class Cluster(Model):
    members: Members
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
    """What carries the traffic."""
    members: Annotated[tuple[Name, ...], Field(min_length=1)]
    """Nodes that are load balancers; a node is in one tier at most."""
    global_ip: Name | None = None
    """A name of global_ips."""
    listen: Literal["all", "node"] = "all"
    """Listen on every address of the machine, or on the load balancer's own only."""


class GlobalIp(Model):
    """An address that the provider routes to exactly one load balancer."""

    address: Address
    """The address; no node's own."""
    provider: Name
    """Who routes it: a name of providers."""
    candidates: Annotated[tuple[Name, ...], Field(min_length=1)]
    """Load balancers that may hold the address, preferred first."""
    false_takeovers_per_year: Annotated[float, Field(gt=0, le=1000)] = 0.1
    """How often a takeover without cause is borne; sets the patience."""
    handover: bool = False
    """Planned moves cut nobody off: the new holder passes on what belongs to connections of the old one (nftables)."""


class TlsProfile(StrEnum):
    """Mozilla's server-side TLS profiles (wiki.mozilla.org/Security/Server_Side_TLS)."""

    MODERN = "modern"
    INTERMEDIATE = "intermediate"
    OLD = "old"


class Tls(Model):
    certificate: str
    """Path of the PEM chain, leaf first (relative: to the estate file)."""
    key: FileSecret
    """The private key of the certificate."""
    ca: str | None = None
    """PEM of the authority that signed it, for the probes of failover; absent: the system's authorities."""
    profile: TlsProfile = TlsProfile.INTERMEDIATE
    """Mozilla's profile: versions and ciphers."""
    hsts_max_age_s: Annotated[int, Field(ge=0)] = 63_072_000
    """Strict-Transport-Security; 0 sends none."""


class Route(Model):
    path: Path
    """Prefix of the request path; the longest that matches wins."""
    pool: Name
    """Who serves it: a name of pools."""
    websocket: bool = False
    """Let connections upgrade; the pool speaks http."""


class Service(Model):
    """What users reach: hostnames with routes (HTTP), or one TCP port with a pool."""

    tiers: tuple[Name, ...] | None = None
    """Tiers that carry it; all of them when absent."""
    hostnames: tuple[Hostname, ...] = ()
    """Hosts of an HTTP service; requests for others never reach a backend."""
    http_port: Port = 80
    """Port of HTTP."""
    https_port: Port = 443
    """Port of HTTPS; needs tls."""
    tls: Tls | None = None
    """Absent: HTTP only."""
    redirect_http: bool = True
    """With `tls`: send HTTP on to HTTPS (308). Without: ignored."""
    header_limit_kb: Annotated[int, Field(ge=1, le=64)] = 16
    """Request headers; beyond it a 431."""
    body_limit_mb: Annotated[int, Field(ge=1, le=10_240)] = 100
    """Request body."""
    routes: tuple[Route, ...] = ()
    """Which pool serves which path of an HTTP service."""
    tcp_port: Port | None = None
    """Port of a TCP service."""
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
    """Between two checks of one backend."""
    timeout_s: Annotated[float, Field(ge=0.05, le=60)] = 2.0
    """No answer by then is a failure."""
    rise: Annotated[int, Field(ge=1, le=100)] = 2
    """Successes in a row that bring a backend back."""
    fall: Annotated[int, Field(ge=1, le=100)] = 2
    """Failures in a row that take it out."""


class Rescale(Model):
    every_s: Annotated[float, Field(ge=1, le=3600)] = 15.0
    """Between two steps of the rescaler."""


class Fastcgi(Model):
    document_root: Path
    """Folder of the scripts on the backend."""
    index: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]+$")] = "index.php"
    """Script of a path that ends in /."""


class Pool(Model):
    cluster: Name
    """Whose members are the backends: a name of clusters."""
    port: Port
    """The serving port."""
    protocol: Protocol = Protocol.HTTP
    """What the backends speak."""
    balance: Balance = Balance.LEAST_TIME
    """How the engine chooses a backend."""
    check: Check | None = None
    """Absent: backends are not checked; {}: a TCP connect."""
    rescale: Rescale | None = None
    """Absent: shares stay equal."""
    slow_start_s: Annotated[float, Field(ge=0, le=3600)] = 30.0
    """How long a backend that comes back takes to its full share."""
    connect_timeout_s: Annotated[float, Field(gt=0, le=60)] = 2.0
    """To a backend."""
    response_timeout_s: Annotated[float, Field(gt=0, le=3600)] = 60.0
    """Between two reads from a backend."""
    fastcgi: Fastcgi | None = None
    """For protocol fastcgi, and needed there."""


class Pagerduty(Model):
    routing_key: Secret
    """Integration key of the service."""
    endpoint_url: str | None = None
    """Another address of the Events API; absent: the vendor's."""


class Webhook(Model):
    url: Secret
    """A secret: who knows it can write there."""


class Smtp(Model):
    host: str
    """Mail server."""
    port: Port = 25
    """Its port."""
    sender: str
    """From."""
    recipients: Annotated[tuple[str, ...], Field(min_length=1)]
    """To."""


class Notify(Model):
    pagerduty: Pagerduty | None = None
    """Events API v2."""
    alertmanager: Webhook | None = None
    """Its API."""
    slack: Webhook | None = None
    """A Slack-style webhook."""
    smtp: Smtp | None = None
    """E-mail."""


class Agents(Model):
    """How the agents on the load balancers are reached from elsewhere."""

    port: Port = 8404
    """HTTPS port of the control API."""
    token: Secret | None = None
    """Bearer token of the control API over HTTPS; absent: the unix socket only."""
    certificate: str | None = None
    """PEM chain; needed by token."""
    key: FileSecret | None = None
    """Its private key; needed by token."""
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
    """Name of the estate."""
    providers: dict[Name, Provider] = {}
    """Who routes the global IPs."""
    regions: Annotated[dict[Name, Region], Field(min_length=1)]
    """Regions with their zones: what fails as one."""
    nodes: Annotated[dict[Name, Node], Field(min_length=1)]
    """Every machine."""
    clusters: dict[Name, Cluster] = {}
    """Nodes that do the same work."""
    tiers: dict[Name, Tier] = {}
    """Load balancers."""
    global_ips: dict[Name, GlobalIp] = {}
    """Addresses that a provider routes to exactly one load balancer."""
    services: dict[Name, Service] = {}
    """What users reach."""
    pools: dict[Name, Pool] = {}
    """Who serves."""
    agents: Agents = Agents()
    """Reaching the agents from other machines: port, token, certificates."""
    notify: Notify = Notify()
    """Who is told."""
    audit: Audit = Audit()
    """Where facts and indicators come from."""
    promises: dict[FailureLevel, Downtime] = {}
    """Failure level to the downtime promised for it: none, or a number and s, m, h or d."""
