"""The server's own authority: who trusts what, what is renewed, what is never overwritten."""

from __future__ import annotations

import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backstay.server.certificates import (
    AuthorityFiles,
    CertificateError,
    check_pair,
    ends_at,
    issue,
    make_authority,
    names_of,
    renew,
)
from backstay.server.init import InitError, Wanted, initialise
from backstay.server.settings import load

NOW = datetime.now(UTC)


@pytest.fixture
def files(tmp_path: Path) -> AuthorityFiles:
    found = AuthorityFiles(folder=tmp_path / "tls")
    make_authority(found, NOW)
    issue(found, ["lb.example.com", "192.0.2.1", "localhost"], NOW)
    return found


def test_a_client_that_trusts_the_authority_trusts_the_server(files: AuthorityFiles) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(files.certificate, files.key)
    client = ssl.create_default_context(cafile=files.ca)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    pipes = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = client.wrap_bio(*pipes, server_hostname="lb.example.com")
    there = server.wrap_bio(pipes[1], pipes[0], server_side=True)
    done: set[ssl.SSLObject] = set()
    while len(done) < 2:
        for end in (here, there):
            try:
                end.do_handshake()
                done.add(end)
            except ssl.SSLWantReadError:
                continue
    assert here.version() == "TLSv1.3"


def test_keys_are_for_their_owner_alone(files: AuthorityFiles) -> None:
    for path in (files.key, files.ca_key):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_second_authority_is_never_made(files: AuthorityFiles) -> None:
    with pytest.raises(CertificateError, match="agents may trust it"):
        make_authority(files, NOW)


def test_a_certificate_is_renewed_for_the_same_names_before_it_ends(files: AuthorityFiles) -> None:
    names, until = names_of(files.certificate), ends_at(files.certificate)
    assert not renew(files, NOW)
    assert renew(files, until - timedelta(days=30))
    assert names_of(files.certificate) == names == ["lb.example.com", "localhost", "192.0.2.1"]
    assert ends_at(files.certificate) > until
    check_pair(files.certificate, files.key)


def test_a_key_of_another_certificate_is_told_apart(files: AuthorityFiles) -> None:
    with pytest.raises(CertificateError, match="not the key"):
        check_pair(files.certificate, files.ca_key)


@pytest.mark.parametrize("content", [b"", b"no PEM", b"\xff\xfe"])
def test_a_file_that_is_no_certificate_is_named(files: AuthorityFiles, content: bytes) -> None:
    files.certificate.write_bytes(content)
    with pytest.raises(CertificateError, match=r"server\.crt: no certificate"):
        check_pair(files.certificate, files.key)


# --- server init -----------------------------------------------------------------------------------------------------


def wanted(tmp_path: Path, **more: object) -> Wanted:
    return Wanted(**({"state_dir": tmp_path / "state", "names": ("lb.example.com", "192.0.2.1")} | more))  # type: ignore[arg-type]


def test_init_makes_what_run_needs_and_prints_the_way_in(tmp_path: Path) -> None:
    made = initialise(wanted(tmp_path), NOW)
    settings = load(tmp_path / "state")
    assert settings.base_url == "https://lb.example.com:8443"
    assert settings.tls is not None and made.ca is not None
    assert {"lb.example.com", "192.0.2.1", "127.0.0.1"} <= set(names_of(settings.tls.certificate))
    assert made.link.startswith("https://lb.example.com:8443/welcome/bsl_")
    assert {"lb.example.com", "192.0.2.1", "localhost"} <= settings.host_names


def test_init_never_touches_a_server_that_is_there(tmp_path: Path) -> None:
    initialise(wanted(tmp_path), NOW)
    before = {path: path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file()}
    with pytest.raises(InitError, match="made already"):
        initialise(wanted(tmp_path), NOW)
    assert {path: path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file()} == before


def test_init_takes_the_operators_own_certificate(tmp_path: Path, files: AuthorityFiles) -> None:
    made = initialise(wanted(tmp_path, certificate=files.certificate, key=files.key), NOW)
    assert made.ca is None and made.settings.tls is not None
    assert made.settings.tls.certificate == files.certificate


def test_init_wants_a_certificate_and_its_key_or_neither(tmp_path: Path, files: AuthorityFiles) -> None:
    with pytest.raises(InitError, match="go together"):
        initialise(wanted(tmp_path, certificate=files.certificate), NOW)


def test_init_says_what_is_wrong_with_the_database(tmp_path: Path) -> None:
    with pytest.raises(InitError, match="no database URL"):
        initialise(wanted(tmp_path, database_url="mysql://x"), NOW)
