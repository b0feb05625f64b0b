"""Certificate files -> checked copies of our own -> DesiredTls.

The engine gets the copies (`STATE/tls/SERVICE/FINGERPRINT/`), never the files that somebody is just renewing: a half
written or mismatched pair must not stop the next reload, which may be a drain. A pair that does not hold is refused
with its reason, and the last good one goes on, across restarts too.

No certificate library: OpenSSL, which Python has loaded anyway, says whether the key matches (it loads the pair) and
whether the leaf is valid now (a TLS handshake with ourselves, in memory, that trusts the leaf and nothing else).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from backstay.balance.model import DesiredTls
from backstay.estate import locate
from backstay.estate.files import Unreadable, read_bytes
from backstay.estate.model import Service, Tls

PEM_LIMIT_BYTES = 1024 * 1024
KEPT_PAIRS = 3  # beside the one in use: an apply that is under way may still read an older one

Stamp = tuple[tuple[int, int, int], ...]  # of both files: inode, size, time of change in ns


class CertificateBroken(Exception):
    """A pair that must not be used: which file, what is wrong, what next."""


class Validity(NamedTuple):
    not_after: datetime | None  # None: the certificate is not valid now, see `fault`
    fault: str  # "" when it is valid


@dataclass(frozen=True, slots=True)
class Pair:
    """A good copy of a certificate and its key."""

    tls: DesiredTls
    not_after: datetime | None  # None: it is not valid now, and there is no better one
    fault: str = ""


class Certificates:
    """The certificates of one load balancer's services, looked at again whenever their files change."""

    def __init__(self, folder: Path) -> None:
        """`folder`: STATE/tls."""
        self._folder = folder
        self._stamps: dict[str, tuple[Tls, Stamp | None]] = {}
        self.pairs: dict[str, Pair] = {}  # by service: what the engine shall use
        self.faults: dict[str, str] = {}  # by service: why its files are not used as they are

    @property
    def tls(self) -> Mapping[str, DesiredTls]:
        return {service: pair.tls for service, pair in self.pairs.items()}

    def look(self, services: Mapping[str, Service], base: Path) -> list[str]:
        """Look at the files of `services`; names of those for which something changed: a new pair, or a new fault.

        Cheap when no file changed (two stats a service), so it is called every second or two.
        """
        wanted = {name: service.tls for name, service in services.items() if service.tls is not None}
        for gone in self.pairs.keys() - wanted.keys():
            del self.pairs[gone]
        self.faults = {name: fault for name, fault in self.faults.items() if name in wanted}
        self._stamps = {name: stamp for name, stamp in self._stamps.items() if name in wanted}
        return [name for name, tls in wanted.items() if self._look_at(name, tls, base)]

    def preview(self, services: Mapping[str, Service], base: Path) -> dict[str, DesiredTls]:
        """What `look` would come to for other services; alters nothing. One that does not hold is left out."""
        found: dict[str, DesiredTls] = {}
        for name, service in services.items():
            if service.tls is None:
                continue
            files = locate(base, service.tls.certificate), locate(base, service.tls.key.file)
            try:
                found[name] = self._adopt(name, service.tls, *files).tls
            except CertificateBroken:
                last = self.pairs.get(name) or self._last_good(name, service.tls)
                if last is not None:
                    found[name] = last.tls
        return found

    def _look_at(self, service: str, tls: Tls, base: Path) -> bool:
        files = locate(base, tls.certificate), locate(base, tls.key.file)
        seen = (tls, _stamp(*files))
        expiring = self._expired(service)
        if self._stamps.get(service) == seen and not expiring:
            return False
        self._stamps[service] = seen
        before = self.pairs.get(service), self.faults.get(service)
        try:
            pair = self._adopt(service, tls, *files)
        except CertificateBroken as broken:
            self.faults[service] = str(broken)
            last = self.pairs.get(service) or self._last_good(service, tls)
            if last is not None:
                self.pairs[service] = last
        else:
            self.pairs[service] = pair
            self.faults.pop(service, None)
            if pair.fault:
                self.faults[service] = pair.fault
        return (self.pairs.get(service), self.faults.get(service)) != before

    def _expired(self, service: str) -> bool:
        """The pair in use has run out since it was looked at."""
        pair = self.pairs.get(service)
        return pair is not None and pair.not_after is not None and pair.not_after <= datetime.now(UTC)

    def _adopt(self, service: str, tls: Tls, certificate: Path, key: Path) -> Pair:
        """Check the pair and keep a copy. Raises CertificateBroken; the pair in use is untouched then."""
        chain, secret = _read(service, certificate), _read(service, key)
        fingerprint = hashlib.sha256(len(chain).to_bytes(8, "big") + chain + secret).hexdigest()[:16]
        folder = self._folder / service / fingerprint
        try:
            _check_pem(chain, secret)
            if not folder.is_dir():
                _copy(folder, chain, secret)
            validity = check_pair(folder / "chain.pem", folder / "key.pem")
        except OSError as error:
            raise CertificateBroken(f"{folder}: {error.strerror}. The agent keeps its copy there.") from error
        except CertificateBroken as broken:
            shutil.rmtree(folder, ignore_errors=True)
            raise CertificateBroken(f"service {service}: {certificate} with {key}: {broken}") from None
        pair = _pair(folder, fingerprint, tls, validity)
        current = self.pairs.get(service)
        if validity.fault and current is not None and not current.fault and current.tls.fingerprint != fingerprint:
            raise CertificateBroken(f"service {service}: {certificate}: {validity.fault}. The one in use stays.")
        if validity.fault:
            pair = Pair(pair.tls, None, f"service {service}: {certificate}: {validity.fault}. Renew it.")
        with contextlib.suppress(OSError):
            os.utime(folder)  # the newest folder is the last good one
            self._forget_old(service)
        return pair

    def _last_good(self, service: str, tls: Tls) -> Pair | None:
        """The copy that was used last, for a start at which the files do not hold."""
        for folder in _by_age(self._folder / service):
            with contextlib.suppress(CertificateBroken, OSError):
                return _pair(folder, folder.name, tls, check_pair(folder / "chain.pem", folder / "key.pem"))
        return None

    def _forget_old(self, service: str) -> None:
        used = self.pairs.get(service)
        for folder in _by_age(self._folder / service)[KEPT_PAIRS:]:
            if used is None or folder.name != used.tls.fingerprint:
                shutil.rmtree(folder, ignore_errors=True)


def check_pair(chain: Path, key: Path) -> Validity:
    """Does the key match the leaf, and is the leaf valid now? Raises CertificateBroken for a pair of no use at all."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # An encrypted key would ask for its password on the terminal; there is none.
        server.load_cert_chain(chain, key, password=lambda: b"")
    except ssl.SSLError as error:
        raise CertificateBroken(_words(error)) from None
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.load_verify_locations(cafile=chain)
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # trust the leaf itself
    try:
        leaf = _shake_hands(server, client)
    except ssl.SSLCertVerificationError as error:
        return Validity(None, error.verify_message)
    except ssl.SSLError as error:
        raise CertificateBroken(_words(error)) from None
    return Validity(datetime.fromtimestamp(ssl.cert_time_to_seconds(leaf), UTC), "")


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> str:
    """Both ends of a handshake, in memory; `notAfter` of the leaf that the client accepted."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server, server_side=False),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    for _ in range(8):  # TLS 1.3 needs two rounds, 1.2 three
        for end in ends:
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
    shown = ends[0].getpeercert() or {}
    return str(shown.get("notAfter"))


def _words(error: ssl.SSLError) -> str:
    reasons = {
        "KEY_VALUES_MISMATCH": "the key does not belong to the certificate. Give the pair that belongs together.",
        "EE_KEY_TOO_SMALL": "the key is too small for today's TLS. Use RSA with 2048 bits or more, or EC.",
        "CA_MD_TOO_WEAK": "a signature in the chain is too weak for today's TLS. Have it signed anew.",
    }
    if error.reason is None:  # Python hides what OpenSSL found in the PEM
        return "one of the two is damaged. Write both anew."
    return reasons.get(error.reason, f"OpenSSL refuses it: {error.reason.lower().replace('_', ' ')}.")


def _check_pem(chain: bytes, key: bytes) -> None:
    """What OpenSSL would refuse without a word of why. Raises CertificateBroken."""
    if b"-----BEGIN CERTIFICATE-----" not in chain:
        raise CertificateBroken("the first has no PEM certificate in it. Both files must be PEM.")
    if b"PRIVATE KEY-----" not in key:
        raise CertificateBroken("the second has no PEM key in it. Both files must be PEM.")
    if b"ENCRYPTED" in key:
        raise CertificateBroken("the key is encrypted. Give an unencrypted one that only root can read.")


def _read(service: str, path: Path) -> bytes:
    try:
        data = read_bytes(path, PEM_LIMIT_BYTES)
    except Unreadable as error:
        raise CertificateBroken(f"service {service}: {path}: {error}") from None
    if len(data) > PEM_LIMIT_BYTES:
        raise CertificateBroken(f"service {service}: {path}: over {PEM_LIMIT_BYTES} bytes, so it is no certificate.")
    return data


def _stamp(*files: Path) -> Stamp | None:
    """None when one of them is not there."""
    try:
        return tuple((s.st_ino, s.st_size, s.st_mtime_ns) for s in (path.stat() for path in files))
    except OSError:
        return None


def _copy(folder: Path, chain: bytes, key: bytes) -> None:
    """All or nothing: a folder with the name of a fingerprint is complete."""
    scratch = folder.with_name(folder.name + ".new")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(mode=0o700, parents=True)
    for name, data in (("chain.pem", chain), ("key.pem", key)):
        fd = os.open(scratch / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(fd)
    scratch.rename(folder)


def _pair(folder: Path, fingerprint: str, tls: Tls, validity: Validity) -> Pair:
    desired = DesiredTls(
        certificate_file=str((folder / "chain.pem").absolute()),
        key_file=str((folder / "key.pem").absolute()),
        fingerprint=fingerprint,
        profile=tls.profile,
        hsts_max_age_s=tls.hsts_max_age_s,
    )
    return Pair(desired, validity.not_after, validity.fault)


def _by_age(folder: Path) -> list[Path]:
    """The copies of a service, the newest first."""
    try:
        found = [path for path in folder.iterdir() if path.is_dir() and not path.name.endswith(".new")]
        return sorted(found, key=lambda path: path.stat().st_mtime_ns, reverse=True)
    except OSError:
        return []
