"""The fingerprint by which a person vouches for a server's authority, typed or pasted once. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib

_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


def fingerprint_of(pem: str) -> str:
    """ "sha256:HEX" of the first certificate in `pem` (of its DER form, as openssl prints it). Raises ValueError."""
    body = pem.partition(_BEGIN)[2].partition(_END)[0]
    try:
        der = base64.b64decode("".join(body.split()), validate=True)
    except binascii.Error as error:
        raise ValueError(f"this is no certificate in PEM form: {error}") from None
    if not der:
        raise ValueError("this is no certificate in PEM form")
    return f"sha256:{hashlib.sha256(der).hexdigest()}"


def parse_fingerprint(text: str) -> str:
    """The same from "sha256:HEX", "AA:BB:..." or bare digits, as people paste it. Raises ValueError."""
    plain = text.strip().lower().removeprefix("sha256:").replace(":", "")
    if len(plain) != 64 or not set(plain) <= set("0123456789abcdef"):
        raise ValueError(f'"{text[:80]}" is no SHA-256 fingerprint. backstay server init prints it: sha256:HEX')
    return f"sha256:{plain}"
