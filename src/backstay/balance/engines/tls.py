"""Mozilla's server-side TLS profiles as data, one definition for every engine; pure.

Source: wiki.mozilla.org/Security/Server_Side_TLS, guidelines 5.7. The DHE suites of `intermediate` and `old` are left
out: they need a parameter file and serve only clients that speak ECDHE as well.
"""

from __future__ import annotations

from dataclasses import dataclass

from backstay.estate.model import TlsProfile


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    protocols: tuple[str, ...]  # oldest first
    ciphers: str  # OpenSSL names, for TLS 1.2 and older; "" when there is none
    prefer_server_ciphers: bool
    curves: str = "X25519:prime256v1:secp384r1"


_INTERMEDIATE_CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)
# OpenSSL 3 allows TLS 1.0 and 1.1 at security level 0 only.
_OLD_CIPHERS = (
    f"@SECLEVEL=0:{_INTERMEDIATE_CIPHERS}:"
    "ECDHE-ECDSA-AES128-SHA256:ECDHE-RSA-AES128-SHA256:ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA:"
    "ECDHE-ECDSA-AES256-SHA384:ECDHE-RSA-AES256-SHA384:ECDHE-ECDSA-AES256-SHA:ECDHE-RSA-AES256-SHA:"
    "AES128-GCM-SHA256:AES256-GCM-SHA384:AES128-SHA256:AES256-SHA256:AES128-SHA:AES256-SHA:DES-CBC3-SHA"
)

PROFILES: dict[TlsProfile, Profile] = {
    TlsProfile.MODERN: Profile(protocols=("TLSv1.3",), ciphers="", prefer_server_ciphers=False),
    TlsProfile.INTERMEDIATE: Profile(
        protocols=("TLSv1.2", "TLSv1.3"), ciphers=_INTERMEDIATE_CIPHERS, prefer_server_ciphers=False
    ),
    TlsProfile.OLD: Profile(
        protocols=("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"), ciphers=_OLD_CIPHERS, prefer_server_ciphers=True
    ),
}


def certificate_path(fingerprint: str) -> str:
    """Where a generation keeps the chain, relative to the generation's folder; the key is beside it, with `.key`."""
    return f"tls/{fingerprint}.pem"
