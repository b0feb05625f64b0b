"""Logins by OpenID Connect, against a real provider on loopback; and everything that must not log anybody in."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from joserfc.jws import JWSRegistry

from access_rig import BASE_URL, Browser, Rig, an_app
from backstay.server.access.rules import ADDRESS
from backstay.server.access.shell import LoggedIn
from backstay.server.model import Role
from real_openid import Provider, consent, register, running
from server_rig import REASON

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:authlib")  # of the provider's own code
CALLBACK = f"{BASE_URL}/login/oidc/callback"
USERS: dict[str, dict[str, Any]] = {
    "1": {"preferred_username": "Alice", "groups": ["staff", "sre"]},
    "2": {"preferred_username": "bob", "groups": ["staff"]},
    "3": {"preferred_username": "mallory", "groups": ["interns"]},
    "4": {"groups": ["staff"]},  # without a name
}


@pytest.fixture(scope="module")
def running_provider() -> Iterator[Provider]:
    with running(USERS) as provider:
        yield provider


@pytest.fixture
def provider(running_provider: Provider) -> Provider:
    running_provider.tamper = lambda answer: answer
    return running_provider


@dataclass(slots=True)
class Site:
    rig: Rig
    provider: Provider
    client_id: str

    async def go(self, browser: Browser, back: str = "/") -> str:
        """Begin a login; the provider's page."""
        answer = await browser.get("/login/oidc", params={"next": back})
        assert answer.status_code == 303, answer.text
        return str(answer.headers["location"])

    async def login(self, subject: str | None, browser: Browser | None = None) -> httpx2.Response:
        browser = browser or self.rig.browser()
        return await browser.get(await consent(await self.go(browser, "/changes"), subject))

    def refusals(self) -> list[str]:
        return [event.reason for event in self.rig.journaled("access.refused")]


@pytest.fixture
async def site(tmp_path: Path, provider: Provider) -> AsyncIterator[Site]:
    client_id, secret = await register(provider.issuer, CALLBACK)
    (tmp_path / "oidc.secret").write_text(secret + "\n")
    oidc = {
        "issuer": provider.issuer,
        "client_id": client_id,
        "client_secret": {"file": "oidc.secret"},
        "label": "Example SSO",
        "roles": {"staff": "viewer", "sre": "operator"},
    }
    async with an_app(tmp_path, oidc=oidc) as rig:
        yield Site(rig, provider, client_id)


async def test_a_login_goes_there_and_back_with_the_role_that_the_provider_gives(site: Site) -> None:
    browser = site.rig.browser()
    assert "Log in by Example SSO" in (await browser.get("/login")).text
    url = await site.go(browser, "/changes?page=2")
    asked = {name: value[0] for name, value in parse_qs(urlsplit(url).query).items()}
    assert asked["redirect_uri"] == CALLBACK
    assert asked["code_challenge_method"] == "S256"
    assert len(asked["nonce"]) >= 32
    answer = await browser.get(await consent(url, "1"))
    assert (answer.status_code, answer.headers["location"]) == (303, "/changes?page=2")
    me = (await browser.get("/api/v1/me")).json()
    assert (me["name"], me["role"]) == ("alice", "operator")
    (user,) = site.rig.access.registry.people.users()
    assert (user.issuer, user.subject, user.has_password) == (site.provider.issuer, "1", False)
    assert [event.kind for event in site.rig.journaled("user.*")] == ["user.added", "user.logged_in"]


async def test_who_comes_again_is_the_same_user(site: Site) -> None:
    for _ in range(2):
        assert (await site.login("2")).status_code == 303
    assert [user.name for user in site.rig.access.registry.people.users()] == ["bob"]


@pytest.mark.parametrize(
    ("subject", "words"),
    [("3", "gives no role"), ("4", "gives no name"), (None, "began no such login")],  # a refusal comes without state
)
async def test_who_has_no_role_no_name_or_no_wish_is_not_let_in(site: Site, subject: str | None, words: str) -> None:
    answer = await site.login(subject)
    assert answer.status_code == 403
    assert words in answer.text
    assert site.refusals() == ["GET /login/oidc/callback: oidc"]
    assert site.rig.access.registry.people.users() == []


async def test_an_error_of_the_providers_ends_the_login(site: Site) -> None:
    browser = site.rig.browser()
    state = parse_qs(urlsplit(await site.go(browser)).query)["state"][0]
    for words in ("access_denied", "finished before"):
        answer = await browser.get("/login/oidc/callback", params={"error": "access_denied", "state": state})
        assert words in answer.text


async def test_a_disabled_user_and_one_with_somebody_elses_name_stay_out(site: Site) -> None:
    registry = site.rig.access.registry
    registry.add_user("alice", Role.ADMIN, actor="root", reason=REASON)
    assert "another user&#39;s name" in (await site.login("1")).text
    await site.login("2")
    registry.set_enabled("bob", False, actor="root", reason=REASON)
    assert (await site.login("2")).status_code == 403


async def test_a_password_does_not_let_in_who_belongs_to_the_provider(site: Site) -> None:
    await site.login("2")
    found = await site.rig.access.login("bob", "", "192.0.2.8")
    assert not isinstance(found, LoggedIn)


async def test_a_login_that_another_browser_began_is_refused(site: Site) -> None:
    back = await consent(await site.go(site.rig.browser()), "1")
    assert (await site.rig.browser().get(back)).status_code == 403
    other = site.rig.browser()
    await site.go(other)
    assert (await other.get(back)).status_code == 403


async def test_a_login_is_finished_once_and_in_time(site: Site) -> None:
    browser = site.rig.browser()
    back = await consent(await site.go(browser), "1")
    state = browser.cookies["backstay-login"]
    assert (await browser.get(back)).status_code == 303
    browser.cookies.set("backstay-login", state)
    assert (await browser.get(back)).status_code == 403
    late = site.rig.browser()
    back = await consent(await site.go(late), "1")
    site.rig.clock.move(600)
    assert "took too long" in (await late.get(back)).text


async def test_a_code_of_another_login_does_not_fit_this_ones_verifier(site: Site) -> None:
    victim, attacker = site.rig.browser(), site.rig.browser()
    stolen = parse_qs(urlsplit(await consent(await site.go(victim), "1")).query)["code"][0]
    own = parse_qs(urlsplit(await site.go(attacker)).query)["state"][0]
    answer = await attacker.get("/login/oidc/callback", params={"code": stolen, "state": own})
    assert "refused the code" in answer.text


async def test_an_answer_that_names_another_issuer_is_refused(site: Site) -> None:
    browser = site.rig.browser()
    back = await consent(await site.go(browser), "1")
    assert "another issuer" in (await browser.get(back + "&iss=https%3A%2F%2Fevil.example")).text


def claims_of(token: str) -> dict[str, Any]:
    body = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return found


def header_of(token: str) -> dict[str, Any]:
    head = token.split(".", maxsplit=1)[0]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    return found


def packed(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def forge(kind: str, token: str, jwks: dict[str, Any]) -> str | None:
    """The ID token as an attacker would have it."""
    head, claims = header_of(token), claims_of(token)
    better = claims | {"groups": ["sre"], "sub": "1"}
    match kind:
        case "unsigned":
            return f"{packed({'alg': 'none'})}.{packed(better)}."
        case "altered":
            first, _, last = token.split(".")
            return f"{first}.{packed(better)}.{last}"
        case "another key":
            return jwt.encode(head, better, RSAKey.generate_key(2048))
        case "key of its own":
            own = RSAKey.generate_key(2048)
            return jwt.encode(head | {"jwk": own.as_dict(private=False)}, better, own,
                              registry=JWSRegistry(strict_check_header=False))  # fmt: skip
        case "public key as a shared secret":
            secret = OctKey.import_key(json.dumps(jwks["keys"][0]))
            return jwt.encode(head | {"alg": "HS256"}, better, secret)
        case "none at all":
            return None
        case _:
            return "nonsense"


@pytest.mark.parametrize(
    "kind",
    [
        "unsigned",
        "altered",
        "another key",
        "key of its own",
        "public key as a shared secret",
        "none at all",
        "nonsense",
    ],
)
async def test_a_forged_id_token_logs_nobody_in(site: Site, kind: str) -> None:
    async with httpx2.AsyncClient(trust_env=False) as client:
        jwks = (await client.get(f"{site.provider.issuer}/jwks")).json()
    site.provider.tamper = lambda answer: answer | {"id_token": forge(kind, answer["id_token"], jwks)}
    answer = await site.login("2")
    assert answer.status_code == 403
    assert "ID token" in answer.text
    assert site.rig.access.registry.people.users() == []
    assert site.rig.access.registry.people.sessions("bob") == []


async def test_a_genuine_id_token_of_another_login_or_another_client_logs_nobody_in(site: Site, tmp_path: Path) -> None:
    kept: list[str] = []

    def keep(answer: dict[str, Any]) -> dict[str, Any]:
        kept.append(answer["id_token"])
        return answer

    site.provider.tamper = keep
    assert (await site.login("1")).status_code == 303
    site.provider.tamper = lambda answer: answer | {"id_token": kept[0]}
    replayed = await site.login("2")
    assert replayed.status_code == 403
    assert "nonce" in replayed.text
    client = site.rig.app.state.oidc
    with pytest.raises(Exception, match="aud"):
        other = type(client)(
            site.rig.settings.oidc.__class__(issuer=site.provider.issuer, client_id="another"), BASE_URL, tmp_path
        )
        async with await other._client() as http:
            metadata = await other._metadata(http)
            await other._claims(http, metadata, {"id_token": kept[0]}, claims_of(kept[0])["nonce"])


async def test_an_id_token_that_has_expired_logs_nobody_in(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    browser = site.rig.browser()
    back = await consent(await site.go(browser), "1")

    def later(answer: dict[str, Any]) -> dict[str, Any]:
        monkeypatch.setattr(time, "time", lambda: real() + 7_200)
        return answer

    site.provider.tamper = later
    answer = await browser.get(back)
    monkeypatch.undo()
    assert answer.status_code == 403
    assert "expired" in answer.text


@pytest.mark.parametrize(
    ("alter", "words"),
    [
        ({"issuer": "http://127.0.0.1:9"}, "does not answer"),
        ({"client_secret": {"file": "nowhere"}}, "client secret"),
    ],
)
async def test_a_provider_that_cannot_be_used_is_said_so(
    tmp_path: Path, provider: Provider, alter: dict[str, Any], words: str
) -> None:
    oidc = {"issuer": provider.issuer, "client_id": "x", "roles": {"staff": "viewer"}} | alter
    async with an_app(tmp_path, oidc=oidc) as rig:
        answer = await rig.browser().get("/login/oidc")
        assert answer.status_code == 502
        assert words in answer.text
        assert (await rig.browser().get("/login")).status_code == 200


async def test_a_provider_by_another_name_than_its_own_is_refused(tmp_path: Path, provider: Provider) -> None:
    oidc = {"issuer": f"{provider.issuer}/", "client_id": "x"}
    async with an_app(tmp_path, oidc=oidc) as rig:
        assert "Write that one in server.yaml" in (await rig.browser().get("/login/oidc")).text


async def test_logins_that_are_begun_and_never_finished_are_throttled(site: Site) -> None:
    browser = site.rig.browser()
    await site.go(browser)
    for _ in range(ADDRESS.free - 1):
        assert site.rig.access.registry.gates.try_login({"address/192.0.2.7": ADDRESS}, site.rig.clock()) == 0
    assert (await browser.get("/login/oidc")).status_code == 429
    site.rig.clock.move(2)
    await site.go(browser)
