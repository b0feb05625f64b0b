"""The fingerprint of an authority, as people paste it."""

from __future__ import annotations

import hashlib
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backstay.lab.certs import Authority
from backstay.link.fingerprint import fingerprint_of, parse_fingerprint


def test_it_is_that_of_the_der_form_whatever_stands_around_the_certificate(tmp_path: Path) -> None:
    Authority(datetime(2026, 11, 23, tzinfo=UTC)).write(tmp_path / "ca.crt")
    pem = (tmp_path / "ca.crt").read_text(encoding="ascii")
    wanted = "sha256:" + hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
    assert fingerprint_of(pem) == wanted
    assert fingerprint_of(f"subject=Backstay\r\n{pem}\n{pem}") == wanted


@pytest.mark.parametrize("text", ["sha256:" + "aB" * 32, " " + ":".join(["AB"] * 32), "ab" * 32])
def test_it_is_read_as_people_paste_it(text: str) -> None:
    assert parse_fingerprint(text) == "sha256:" + "ab" * 32


@pytest.mark.parametrize("text", ["", "sha256:", "sha256:12", "g" * 64, "sha1:" + "ab" * 20])
def test_what_is_none_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(ValueError, match="no SHA-256 fingerprint"):
        parse_fingerprint(text)


@pytest.mark.parametrize("pem", ["", "-----BEGIN CERTIFICATE-----", "-----BEGIN CERTIFICATE-----\n?\n-----END"])
def test_what_is_no_certificate_is_refused_with_a_reason(pem: str) -> None:
    with pytest.raises(ValueError, match="no certificate"):
        fingerprint_of(pem)
