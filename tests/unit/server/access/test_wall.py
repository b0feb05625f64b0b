"""What stands before every request: limits, Host, deadlines; and the headers of every answer, also of errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from access_rig import Rig, an_app
from backstay.journal import JournalError
from backstay.server.access import wall
from backstay.server.access.wall import client_address, host_name

TLS = {"base_url": "https://backstay.example", "hosts": ("console.example",)}
NETS = (ip_network("10.0.0.0/8"), ip_network("::1/128"))


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with an_app(tmp_path, **TLS) as rig:

        @rig.app.get("/api/v1/bug")
        async def bug() -> None:
            raise ZeroDivisionError

        yield rig


async def test_every_answer_has_its_headers_whatever_went_wrong(rig: Rig) -> None:
    browser = rig.browser()
    for path, status in (("/login", 200), ("/account", 303), ("/nope", 404), ("/api/v1/me", 401), ("/api/v1/bug", 500)):
        answer = await browser.get(path)
        assert answer.status_code == status
        policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["form-action"] == "'self'"
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"


async def test_a_fault_of_ours_tells_nothing_of_itself(rig: Rig) -> None:
    answer = await rig.browser().get("/api/v1/bug")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "bug"
    assert "Zero" not in answer.text


async def test_without_tls_nothing_is_promised_that_would_lock_people_out(tmp_path: Path) -> None:
    async with an_app(tmp_path) as plain:
        assert "strict-transport-security" not in (await plain.browser().get("/login")).headers


async def test_only_our_own_names_are_answered(rig: Rig) -> None:
    browser = rig.browser()
    for host, status in (
        ("backstay.example", 200),
        ("BACKSTAY.example:8443", 200),
        ("console.example", 200),
        ("evil.example", 421),
        ("backstay.example.evil.example", 421),
        ("backstay.example@evil.example", 421),
        ("localhost", 421),
        ("", 421),
    ):
        assert (await browser.get("/login", headers={"Host": host})).status_code == status, host


@pytest.mark.parametrize(
    ("host", "name"),
    [("a.b", "a.b"), ("A.B:80", "a.b"), ("[::1]:80", "::1"), ("[::1", ""), ("a/b", ""), ("u@a.b", ""), ("", "")],
)
def test_the_name_in_a_host_header(host: str, name: str) -> None:
    assert host_name(host) == name


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("192.0.2.7", "198.51.100.1", "192.0.2.7"),  # a stranger's word
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "203.0.113.9, 198.51.100.1", "198.51.100.1"),  # the first one is the client's own invention
        ("10.0.0.1", "198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", "evil, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("::1", "2001:db8::5", "2001:db8::5"),
    ],
)
def test_only_trusted_proxies_are_believed(peer: str, forwarded: str, expected: str) -> None:
    headers = [(b"x-forwarded-for", forwarded.encode())] if forwarded else []
    assert client_address({"client": (peer, 1), "headers": headers}, NETS) == expected
    assert client_address({"client": (peer, 1), "headers": headers}, ()) == peer


async def test_what_is_too_long_is_refused(rig: Rig) -> None:
    browser = rig.browser()
    assert (await browser.get("/login?x=" + "y" * 9_000)).status_code == 414
    assert (await browser.get("/login", headers={f"X-{n}": "1" for n in range(70)})).status_code == 431
    for length in (str(wall.BODY_LIMIT_BYTES + 1), "-1", "many", "9" * 5_000):
        answer = await browser.post("/api/v1/users", content=b"", headers={"Content-Length": length})
        assert (answer.status_code, answer.json()["code"]) == (413, "too_long")

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1_000_000

    assert (await browser.post("/api/v1/users", content=endless())).status_code == 413


async def ask(rig: Rig, receive: Any) -> list[Any]:
    """One request to POST /login, whose body comes by `receive`."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "https",
        "path": "/login",
        "raw_path": b"/login",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"backstay.example")],
        "client": ("192.0.2.7", 1),
        "server": ("127.0.0.1", 443),
    }
    await asyncio.wait_for(rig.app(scope, receive, send), 30)
    return sent


async def test_a_body_that_drips_is_given_up(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wall, "BODY_TIMEOUT_S", 0.1)

    async def drip() -> dict[str, Any]:
        await asyncio.sleep(0.03)
        return {"type": "http.request", "body": b"x", "more_body": True}

    assert (await ask(rig, drip))[0]["status"] == 408


async def test_a_client_that_goes_before_it_has_asked_is_answered_nothing(rig: Rig) -> None:
    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    assert await ask(rig, gone) == []


async def test_a_handler_that_hangs_is_ended_but_a_stream_goes_on(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wall, "ANSWER_TIMEOUT_S", 0.1)
    from fastapi.responses import StreamingResponse

    @rig.app.get("/api/v1/hang")
    async def hang() -> None:
        await asyncio.sleep(60)

    @rig.app.get("/api/v1/stream-of-a-test")
    async def stream() -> StreamingResponse:
        async def words() -> AsyncIterator[bytes]:
            for _ in range(3):
                yield b"still here "
                await asyncio.sleep(0.1)

        return StreamingResponse(words())

    hung = await rig.browser().get("/api/v1/hang")
    assert (hung.status_code, hung.json()["code"]) == (503, "timeout")
    assert (await rig.browser().get("/api/v1/stream-of-a-test")).text == "still here " * 3


async def test_no_log_line_has_what_stood_in_an_address(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(rig.access.registry.people, "link", broken)
    answer = await rig.browser().get("/welcome/bsl_s3cr3t?also=s3cr3t")
    assert answer.status_code == 500
    (line,) = [one for one in rig.logged if one["event"] == "a request failed"]
    assert line["route"] == "/welcome/{secret}"
    assert "s3cr3t" not in str(line)


async def test_a_database_that_is_away_is_said_so_and_who_was_known_lately_is_known_on(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: str) -> None:
        raise JournalError("postgresql://db: could not be read: connection refused")

    carol, dave, erin = [await rig.user(name) for name in ("carol", "dave", "erin")]
    logged_out = erin.cookies["__Host-backstay"]
    for known in (carol, erin):
        assert (await known.get("/api/v1/me")).status_code == 200
    await erin.post("/logout")
    monkeypatch.setattr(rig.access.registry.people, "session", away)
    assert (await carol.get("/api/v1/me")).status_code == 200
    for unknown in (dave, rig.logged_in(logged_out)):
        answer = await unknown.get("/api/v1/me")
        assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "database", "5")
    rig.clock.move(901)
    page = await carol.get("/account")
    assert page.status_code == 503
    assert "connection refused" in page.text
