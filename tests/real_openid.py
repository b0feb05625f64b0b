"""A real OpenID provider on loopback, the package oidc-provider-mock: it registers clients, asks for consent by a form,
and signs ID tokens by RS256. It leaves PKCE out, so `Provider` holds it (RFC 7636); a test may tamper with its answers.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import werkzeug.serving

Tamper = Callable[[dict[str, Any]], dict[str, Any]]


class Provider:
    """WSGI before the provider: PKCE, and `tamper` with the token endpoint's answer."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._challenges: dict[str, str] = {}  # by code
        self.tamper: Tamper = lambda answer: answer
        self.issuer = ""  # when it listens

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/oauth2/authorize" and environ["REQUEST_METHOD"] == "POST":
            return self._authorize(environ, start_response)
        if path == "/oauth2/token":
            return self._token(environ, start_response)
        found: Iterable[bytes] = self._inner(environ, start_response)
        return found

    def _authorize(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        query = parse_qs(environ["QUERY_STRING"])
        assert query["code_challenge_method"] == ["S256"]
        assert query["response_type"] == ["code"]
        status, headers, body = self._ask(environ)
        code = parse_qs(urlsplit(dict(headers).get("Location", "")).query).get("code")
        if code:
            self._challenges[code[0]] = query["code_challenge"][0]
        start_response(status, headers)
        return [body]

    def _token(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        sent = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        form = parse_qs(sent.decode())
        hashed = hashlib.sha256(form["code_verifier"][0].encode()).digest()
        if self._challenges.get(form["code"][0]) != base64.urlsafe_b64encode(hashed).rstrip(b"=").decode():
            start_response("400 Bad Request", [("Content-Type", "application/json")])
            return [b'{"error": "invalid_grant"}']
        status, headers, body = self._ask(environ | {"wsgi.input": io.BytesIO(sent)})
        if status.startswith("200"):
            body = json.dumps(self.tamper(json.loads(body))).encode()
            headers = [one for one in headers if one[0] != "Content-Length"]
        start_response(status, headers)
        return [body]

    def _ask(self, environ: dict[str, Any]) -> tuple[str, list[tuple[str, str]], bytes]:
        answered: list[Any] = []

        def start(status: str, headers: list[tuple[str, str]], _: Any = None) -> None:
            answered.extend((status, list(headers)))

        body = b"".join(self._inner(environ, start))
        return answered[0], answered[1], body


@contextmanager
def running(users: dict[str, dict[str, Any]]) -> Iterator[Provider]:
    """`users`: their claims by subject."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of authlib's older half, which the provider is made with
        from oidc_provider_mock import User, app

    claims = [User(sub=sub, claims=claims) for sub, claims in users.items()]
    provider = Provider(app(require_client_registration=True, require_nonce=True, user_claims=claims))
    server = werkzeug.serving.make_server("127.0.0.1", 0, provider, threaded=True)  # type: ignore[arg-type]
    provider.issuer = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join(30)
        server.server_close()


async def register(issuer: str, redirect_uri: str) -> tuple[str, str]:
    """A client's id and secret."""
    async with httpx2.AsyncClient(trust_env=False) as client:
        answer = await client.post(f"{issuer}/oauth2/clients", json={"redirect_uris": [redirect_uri]})
    assert answer.status_code == 201, answer.text
    return answer.json()["client_id"], answer.json()["client_secret"]


async def consent(url: str, subject: str | None) -> str:
    """What a person does on the provider's page: log in as `subject` (None: refuse). Where they are sent back to."""
    async with httpx2.AsyncClient(trust_env=False) as client:
        form = {"action": "deny"} if subject is None else {"sub": subject}
        answer = await client.post(url, data=form)
    assert answer.status_code in (302, 303), answer.text
    return str(answer.headers["location"])
