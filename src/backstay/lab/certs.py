"""The lab's own certificate authority and the certificates it signs. Nothing outside the lab trusts it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from backstay.signing import certificate_pem, key_pem, new_key, sign_authority, sign_leaf

LIFETIME = timedelta(days=30)


class Authority:
    """Signs certificates until `now` + LIFETIME. Its key is never written."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._key = new_key()
        self._certificate = sign_authority("Backstay lab authority", self._key, now=now, ends=now + LIFETIME)

    def write(self, file: Path) -> None:
        """Write the authority's certificate, for clients to trust."""
        file.write_bytes(certificate_pem(self._certificate))

    def issue(
        self, names: Sequence[str], certificate_file: Path, key_file: Path, *, ends: datetime | None = None
    ) -> None:
        """Write a certificate for these hostnames and addresses, and its key (mode 0600).

        `ends`: when it expires, UTC; None: with the authority.
        """
        key = new_key()
        ends = ends or self._now + LIFETIME
        leaf = sign_leaf(names, key, authority=self._certificate, signer=self._key, now=self._now, ends=ends)
        certificate_file.write_bytes(certificate_pem(leaf))
        key_file.touch(mode=0o600)
        key_file.write_bytes(key_pem(key))
