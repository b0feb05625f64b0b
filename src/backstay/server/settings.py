"""What a server is told at its start: options of `backstay server run` over STATE/server.yaml over the defaults.

The keys of the file are the fields of `Settings`, by the same names; docs/server.md has them in a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, fields
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from backstay.estate.model import Secret
from backstay.server.model import Role

FILE_NAME = "server.yaml"
FILE_LIMIT_BYTES = 256 * 1024
LOOPBACK = {"127.0.0.1", "::1", "localhost"}

_STRICT = ConfigDict(extra="forbid")


class SettingsError(Exception):
    """The settings do not hold: which key, what is wrong, what next."""


def _origin(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("write it as https://HOST or https://HOST:PORT")
    if parts.path not in ("", "/"):
        raise ValueError("a server has a host of its own; it cannot live below a path")
    return url.rstrip("/")


def _issuer(url: str) -> str:
    parts = urlsplit(url)
    if not parts.hostname or not (parts.scheme == "https" or parts.hostname in LOOPBACK):
        raise ValueError("an issuer is https://..., so that nobody between can answer for it")
    return url


def _above_nothing(seconds: float) -> float:
    if seconds <= 0:
        raise ValueError("must be above 0")
    return seconds


Origin = Annotated[str, StringConstraints(max_length=300), AfterValidator(_origin)]
Seconds = Annotated[float, Field(allow_inf_nan=False), AfterValidator(_above_nothing)]
Word = Annotated[str, StringConstraints(min_length=1, max_length=1_000, pattern=r"^[^\x00\r\n]*$")]
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Oidc:
    """An OpenID provider whose users may log in. The role is mapped anew at each login."""

    issuer: Annotated[str, AfterValidator(_issuer)]
    """As the provider's own discovery document names it."""
    client_id: Annotated[str, StringConstraints(min_length=1, max_length=300)]
    """What the provider knows this server by."""
    client_secret: Secret | None = None
    """A secret reference; absent: a public client, held by PKCE alone."""
    label: Annotated[str, StringConstraints(min_length=1, max_length=60)] = "single sign-on"
    """Of the button on the login page."""
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    """What is asked for; openid must be among them."""
    name_claim: str = "preferred_username"
    """Claim that names the user here."""
    role_claim: str = "groups"
    """Claim that `roles` is looked up by: a text or a list of texts."""
    roles: Mapping[str, Role] = field(default_factory=dict)
    """Value of the claim to role; of several the highest counts. Nobody else gets in."""
    algorithms: tuple[Algorithm, ...] = ("RS256", "ES256", "PS256")
    """Signatures that are taken; never a shared secret, never none."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class RunSettings:
    """How "run now" reaches nodes by SSH, and what it runs there. Who asks for a run chooses nodes alone."""

    key: Path
    """Private key that the nodes let in, without a passphrase; relative to `state_dir`."""
    known_hosts: Path
    """Host keys of the nodes by name or address, as OpenSSH writes them; relative to `state_dir`."""
    user: Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_-]{0,31}$")] = "root"
    """Who it logs in as."""
    port: Annotated[int, Field(ge=1, le=65535)] = 22
    """Of the nodes' SSH servers."""
    command: Annotated[tuple[Word, ...], Field(min_length=1, max_length=64)] = (
        "puppet", "agent", "--test", "--color=false",
    )  # fmt: skip
    """What is run there: program and arguments."""
    at_once: Annotated[int, Field(ge=1, le=100)] = 10
    """How many nodes at most run it at the same time."""
    connect_timeout_s: Annotated[Seconds, Field(le=120)] = 15.0
    """A node that lets nobody in for so long is unreachable."""
    timeout_s: Annotated[Seconds, Field(le=7_200)] = 900.0
    """A command that lasts longer is ended."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class TlsFiles:
    certificate: Path
    """PEM, with its chain."""
    key: Path
    """PEM."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Settings:
    """Checked when it is made: pydantic raises ValidationError (`load` makes it a SettingsError)."""

    state_dir: Path
    """Where the server keeps its database, keys and `server.yaml`."""
    base_url: Origin = "https://localhost:8443"
    """How browsers and agents reach it; its host is the one that requests must name."""
    listen: str = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8443
    """Port to listen on."""
    database_url: str | None = None
    """SQLite or PostgreSQL; absent: SQLite in `state_dir`."""
    tls: TlsFiles | None = None
    """Certificate and key; absent: plain HTTP, for loopback or behind a proxy that ends TLS."""
    hosts: tuple[str, ...] = ()
    """More host names by which requests may call it."""
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    """Whose X-Forwarded-For is believed."""
    session_idle_s: Seconds = 8 * 3600.0
    """A browser's session ends when it is not used for so long."""
    session_absolute_s: Seconds = 7 * 24 * 3600.0
    """A browser's session ends so long after the login."""
    oidc: Oidc | None = None
    """OpenID Connect; absent: local users alone."""
    runs: RunSettings | None = None
    """Configuration runs over SSH ("run now"); absent: none."""

    @property
    def secure(self) -> bool:
        """Do browsers reach it by TLS, of its own or of a proxy?"""
        return self.base_url.startswith("https://")

    @property
    def database(self) -> str:
        """URL of the database."""
        return self.database_url or f"sqlite:///{self.state_dir / 'server.db'}"

    @property
    def host_names(self) -> frozenset[str]:
        """Names that a request's Host header may have, in lower case and without a port."""
        own = urlsplit(self.base_url).hostname
        assert own is not None
        names = {own, *(host.lower() for host in self.hosts)}
        return frozenset(names | LOOPBACK if own in LOOPBACK else names)


KEYS = tuple(one.name for one in fields(Settings))


def load(state_dir: Path, **options: Any) -> Settings:
    """Settings of the server whose state is in `state_dir`; `options` that are not None stand above its file.

    Raises SettingsError with every fault.
    """
    path = state_dir / FILE_NAME
    given = {"state_dir": state_dir} | _read(path) | {key: value for key, value in options.items() if value is not None}
    try:
        return TypeAdapter(Settings).validate_python(given)
    except ValidationError as error:
        faults = "\n".join(f"{path}: {'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise SettingsError(f"{faults}\nKeys: {', '.join(KEYS)}. See docs/server.md.") from None


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > FILE_LIMIT_BYTES:
            raise SettingsError(f"{path}: longer than {FILE_LIMIT_BYTES} bytes. See docs/server.md for its keys.")
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}. May this user read it?") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: no YAML: {error}") from None
    if read is None:
        return {}
    if not isinstance(read, dict) or not all(isinstance(key, str) for key in read):
        raise SettingsError(f"{path}: must be keys and values. Keys: {', '.join(KEYS)}.")
    return read
