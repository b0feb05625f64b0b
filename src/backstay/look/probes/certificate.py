"""What is wrong with a certificate, in words: expired on a date, for another name, from an unknown authority.

OpenSSL's error names the fault; the certificate itself, fetched once more without trust, gives the dates and names.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

# X509_V_ERR_* of OpenSSL's x509_vfy.h.
_EXPIRED, _NOT_YET_VALID = 10, 9
_UNKNOWN_AUTHORITY = {2: "", 18: " (self-signed)", 19: " (self-signed root in the chain)", 20: "", 21: ""}
_WRONG_NAME, _WRONG_ADDRESS = 62, 64
_NAMES_SHOWN = 5


async def fetch(address: str, port: int, name: str, source: str | None) -> Certificate | None:
    """The leaf certificate that the target shows, trusted or not; None when it shows none. Raises OSError."""
    from cryptography import x509  # 8 MB, and only when a certificate is bad

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # only to look at what was refused
    local = (source, 0) if source else None
    _, writer = await asyncio.open_connection(
        address, port, ssl=context, server_hostname=name, local_addr=local, limit=2**14
    )
    try:
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return x509.load_der_x509_certificate(shown) if shown else None
    except ValueError:
        return None
    finally:
        writer.transport.abort()


def describe(error: ssl.SSLCertVerificationError, name: str, leaf: Certificate | None) -> str:
    """What is wrong, with the dates and names of `leaf` where it is known. `name`: the name that was asked for."""
    code = error.verify_code
    if code == _EXPIRED:
        return "certificate expired" + (f" on {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC" if leaf else "")
    if code == _NOT_YET_VALID:
        when = f" before {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC" if leaf else ""
        return f"certificate not valid yet{when}"
    if code in (_WRONG_NAME, _WRONG_ADDRESS):
        return f"certificate is not for {name}" + (f", but for {', '.join(_names(leaf))}" if leaf else "")
    if code in _UNKNOWN_AUTHORITY:
        issuer = f": {leaf.issuer.rfc4514_string()}" if leaf else ""
        return f"certificate from an unknown authority{_UNKNOWN_AUTHORITY[code]}{issuer}"
    return f"certificate refused: {error.verify_message}"


def _names(leaf: Certificate) -> list[str]:
    from cryptography import x509

    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ["no name"]
    names = [*found.get_values_for_type(x509.DNSName), *map(str, found.get_values_for_type(x509.IPAddress))]
    return names[:_NAMES_SHOWN] + (["..."] if len(names) > _NAMES_SHOWN else [])
