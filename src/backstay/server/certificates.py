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
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_LASTS = timedelta(days=3_650)
SERVER_LASTS = timedelta(days=397)  # more is refused by browsers (CA/Browser Forum, SC-031)
RENEW_BEFORE = timedelta(days=60)
SKEW = timedelta(hours=1)  # valid on a clock that is a little late


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
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Backstay {now:%Y-%m-%d} authority")])
    certificate = (
        _builder(name, name, key.public_key(), now, AUTHORITY_LASTS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    files.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write_key(files.ca_key, key)
    _write(files.ca, _pem(certificate), 0o644)


def issue(files: AuthorityFiles, names: Sequence[str], now: datetime) -> None:
    """A certificate of the server for these host names and addresses, and its key."""
    authority, signer = _read_certificate(files.ca), _read_key(files.ca_key)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    identifier = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(
        authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    )
    certificate = (
        _builder(subject, authority.subject, key.public_key(), now, SERVER_LASTS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(identifier, critical=False)  # Python 3.13 insists on it (VERIFY_X509_STRICT)
        .sign(signer, hashes.SHA256())
    )
    # The key first: a server that reads between the two keeps what it has, for the pair does not match.
    _write_key(files.key, key)
    _write(files.certificate, _pem(certificate) + _pem(authority), 0o644)


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


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, lasts: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + lasts)
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    encoded = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write(path, encoded, 0o600)


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
