"""`backstay server init`: a state folder with settings, certificates, a database, and the first way in."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import yaml

from backstay.journal import JournalError
from backstay.journal.store import Database
from backstay.server.access.registry import Registry, link_path
from backstay.server.certificates import AuthorityFiles, CertificateError, check_pair, issue, make_authority
from backstay.server.model import Role
from backstay.server.ports import StoreError
from backstay.server.settings import FILE_NAME, Settings, SettingsError, load
from backstay.server.store import DatabaseStore

FIRST_USER = "admin"
_HEAD = """# Settings of this Backstay server: docs/server.md has every key.
# Options of `backstay server run` stand above them.
"""


class InitError(Exception):
    """What, where, what next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What `init` is asked for."""

    state_dir: Path
    names: tuple[str, ...]  # host names and addresses by which it is reached; the first one is in its URL
    listen: str = "0.0.0.0"
    port: int = 8443
    database_url: str | None = None
    certificate: Path | None = None  # of the operator's, with `key`; None: signed by an authority of our own
    key: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Initialised:
    settings: Settings
    ca: Path | None  # for browsers and agents to trust; None: the operator's own
    user: str
    link: str  # sets the first user's password, once


def initialise(wanted: Wanted, now: datetime) -> Initialised:
    """Make it all. Nothing that is there is overwritten; what a run that broke off has made is used.

    Raises InitError.
    """
    path = wanted.state_dir / FILE_NAME
    if path.exists():
        raise InitError(f"{path}: this server was made already. Start it: backstay server run")
    try:
        wanted.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        certificate, key, ca = _certificates(wanted, now)
        text = _HEAD + yaml.safe_dump(_keys(wanted, certificate, key), sort_keys=False)
        settings = load(wanted.state_dir, **_keys(wanted, certificate, key))
        link = _first_link(settings)
        _write(path, text)
    except (OSError, CertificateError, SettingsError) as error:
        raise InitError(str(error)) from error
    except (JournalError, StoreError) as error:
        raise InitError(f"The database cannot be used: {error}") from error
    return Initialised(settings=settings, ca=ca, user=FIRST_USER, link=link)


def _certificates(wanted: Wanted, now: datetime) -> tuple[Path, Path, Path | None]:
    """The server's certificate and key, and the authority's certificate when it is ours."""
    if wanted.certificate is not None and wanted.key is not None:
        check_pair(wanted.certificate, wanted.key)
        return wanted.certificate.resolve(), wanted.key.resolve(), None
    if wanted.certificate is not None or wanted.key is not None:
        raise InitError("A certificate and its key go together: --tls-certificate FILE --tls-key FILE.")
    files = AuthorityFiles(folder=(wanted.state_dir / "tls").resolve())
    if not files.ca_key.exists():
        make_authority(files, now)
    issue(files, _with_loopback(wanted.names), now)
    return files.certificate, files.key, files.ca


def _with_loopback(names: Sequence[str]) -> list[str]:
    """Commands on the machine itself reach it, too."""
    return list(dict.fromkeys([*names, "localhost", "127.0.0.1"]))


def _keys(wanted: Wanted, certificate: Path, key: Path) -> dict[str, object]:
    host = f"[{wanted.names[0]}]" if ":" in wanted.names[0] else wanted.names[0]
    port = "" if wanted.port == 443 else f":{wanted.port}"
    keys: dict[str, object] = {
        "base_url": f"https://{host}{port}",
        "listen": wanted.listen,
        "port": wanted.port,
        "hosts": [*wanted.names[1:], "localhost", "127.0.0.1"],
        "tls": {"certificate": str(certificate), "key": str(key)},
    }
    return keys if wanted.database_url is None else keys | {"database_url": wanted.database_url}


def _first_link(settings: Settings) -> str:
    """The address at which the first admin sets a password, once, within a day."""
    database = Database(settings.database)
    try:
        DatabaseStore(database)
        registry = Registry(database, lambda: datetime.now(UTC))
        if registry.people.user(FIRST_USER) is None:
            registry.add_user(FIRST_USER, Role.ADMIN, actor="server", reason="the first start")
        secret, _ = registry.make_link(FIRST_USER, actor="server", reason="the first start")
    finally:
        database.close()
    return settings.base_url + link_path(secret)


def _write(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - of a descriptor that was made with its mode
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
