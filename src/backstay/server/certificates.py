"""The server's own certificate authority: browsers and agents trust it, and it renews what it has signed.

    STATE/tls/ca.crt, ca.key           the authority; clients get ca.crt
    STATE/tls/server.crt, server.key   signed by it, for the names of this server

An operator's certificates stand in the settings instead, and nothing here touches them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from backstay.signing import certificate_pem, key_pem, new_key, sign_authority, sign_leaf

AUTHORITY_LASTS = timedelta(days=3_650)
SERVER_LASTS = timedelta(days=397)  # more is refused by browsers (CA/Browser Forum, SC-031)
RENEW_BEFORE = timedelta(days=60)


class CertificateError(Exception):
    """What is wrong with which file, and what next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityFiles:
    """Where they are, below STATE/tls."""

    folder: Path

    @property
    def ca(self) -> Path:
        return self.folder / "ca.crt"

    @property
    def ca_key(self) -> Path:
        return self.folder / "ca.key"

    @property
    def certificate(self) -> Path:
        return self.folder / "server.crt"

    @property
    def key(self) -> Path:
        return self.folder / "server.key"


def make_authority(files: AuthorityFiles, now: datetime) -> None:
    """A new authority (ECDSA P-256). Raises CertificateError when there is one already."""
    if files.ca_key.exists():
        raise CertificateError(f"{files.ca_key}: there is an authority already, and agents may trust it. Keep it.")
    key = new_key()
    certificate = sign_authority(f"Backstay {now:%Y-%m-%d} authority", key, now=now, ends=now + AUTHORITY_LASTS)
    files.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write(files.ca_key, key_pem(key), 0o600)
    _write(files.ca, certificate_pem(certificate), 0o644)


def issue(files: AuthorityFiles, names: Sequence[str], now: datetime) -> None:
    """A certificate of the server for these host names and addresses, and its key."""
    authority, signer = _read_certificate(files.ca), _read_key(files.ca_key)
    key = new_key()
    certificate = sign_leaf(names, key, authority=authority, signer=signer, now=now, ends=now + SERVER_LASTS)
    # The key first: a server that reads between the two keeps what it has, for the pair does not match.
    _write(files.key, key_pem(key), 0o600)
    _write(files.certificate, certificate_pem(certificate) + certificate_pem(authority), 0o644)


def renew(files: AuthorityFiles, now: datetime) -> bool:
    """Issue the server's certificate anew, for the same names, when it ends soon. Raises CertificateError."""
    if ends_at(files.certificate) - now > RENEW_BEFORE or not files.ca_key.exists():
        return False
    issue(files, names_of(files.certificate), now)
    return True


def ends_at(certificate: Path) -> datetime:
    """UTC. Raises CertificateError."""
    return _read_certificate(certificate).not_valid_after_utc


def names_of(certificate: Path) -> list[str]:
    """Host names and addresses that a certificate is for. Raises CertificateError."""
    try:
        found = _read_certificate(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return [*found.value.get_values_for_type(x509.DNSName), *map(str, found.value.get_values_for_type(x509.IPAddress))]


def check_pair(certificate: Path, key: Path) -> None:
    """Raises CertificateError when the key is not the certificate's, or one of them cannot be read."""
    if _read_certificate(certificate).public_key() != _read_key(key).public_key():
        raise CertificateError(f"{key}: not the key of {certificate}. Give both of one pair.")
    if ends_at(certificate) < datetime.now(UTC):
        raise CertificateError(f"{certificate}: it ended at {ends_at(certificate)}. Give one that is valid.")


def _read_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CertificateError(f"{path}: no certificate: {error}. Give a PEM file, the leaf first.") from None


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise CertificateError(f"{path}: no private key: {error}. Give a PEM file without a password.") from None
    return key  # type: ignore[return-value]  # an operator's may be RSA: it is compared, not used to sign


def _write(path: Path, data: bytes, mode: int) -> None:
    """Replaced in one step: who reads it gets the old one or the new one."""
    scratch = path.with_name(path.name + ".new")
    scratch.unlink(missing_ok=True)
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - of a descriptor that was made with its mode
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
