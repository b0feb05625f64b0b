"""Certificates for the agent's tests: an authority, and pairs that it signed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOUR = timedelta(hours=1)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Authority:
    """Signs what it is asked to."""

    def __init__(self, folder: Path) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.file = folder / "ca.crt"
        self._certificate = self._sign("test authority", self._key, _name("test authority"), HOUR * 24, ca=True)
        self.file.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def pair(self, certificate: Path, key: Path, host: str, *, lasts: timedelta = HOUR * 24 * 90) -> None:
        """Write a pair for `host`. A negative `lasts` makes it one that ended."""
        private = ec.generate_private_key(ec.SECP256R1())
        leaf = self._sign(host, private, self._certificate.subject, lasts, ca=False)
        certificate.write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
        key.write_bytes(pem_of(private))

    def _sign(
        self, subject: str, key: ec.EllipticCurvePrivateKey, issuer: x509.Name, lasts: timedelta, *, ca: bool
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(subject))
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - HOUR * 48)
            .not_valid_after(now + lasts)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if not ca:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(subject)]), critical=False)
        return builder.sign(self._key, hashes.SHA256())


def pem_of(key: ec.EllipticCurvePrivateKey, password: bytes | None = None) -> bytes:
    """PKCS 8, encrypted with `password` when there is one."""
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def other_key() -> bytes:
    """A key that belongs to no certificate."""
    return pem_of(ec.generate_private_key(ec.SECP256R1()))
