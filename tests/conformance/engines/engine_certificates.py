"""Certificates for the conformance suite, made with `cryptography`."""

from __future__ import annotations

import hashlib
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from backstay.balance.model import DesiredTls
from backstay.estate.model import TlsProfile


def make_certificate(folder: Path, name: str, *hosts: str) -> DesiredTls:
    """A self-signed certificate for `hosts` in `folder`, as the estate would name it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / f"{name}.crt", folder / f"{name}.key"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return tls_of(certificate_file, key_file)


def tls_of(certificate_file: Path, key_file: Path, profile: TlsProfile = TlsProfile.INTERMEDIATE) -> DesiredTls:
    contents = certificate_file.read_bytes() + key_file.read_bytes()
    return DesiredTls(
        certificate_file=str(certificate_file),
        key_file=str(key_file),
        fingerprint=hashlib.sha256(contents).hexdigest()[:16],
        profile=profile,
        hsts_max_age_s=63_072_000,
    )


def client_context(
    tls: DesiredTls,
    *,
    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
    maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> ssl.SSLContext:
    """A client that trusts this certificate alone."""
    context = ssl.create_default_context(cafile=tls.certificate_file)
    if minimum < ssl.TLSVersion.TLSv1_2:
        context.set_ciphers("DEFAULT:@SECLEVEL=0")  # OpenSSL 3 speaks TLS 1.0 and 1.1 at level 0 only
    context.minimum_version, context.maximum_version = minimum, maximum
    return context
