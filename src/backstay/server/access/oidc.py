"""Logins by OpenID Connect: the authorization code flow with PKCE (S256), state and nonce, by authlib.

    begin -> the provider's page -> finish(code, state) -> claims -> role (rules.role_of) -> a session

The issuer is the one of the settings, the signature one of its algorithms with a key of its own; nothing in a token
chooses either (RFC 8725). What is under way is in the database: another server may finish it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from authlib.common.security import generate_token  # type: ignore[import-untyped]
from authlib.integrations.base_client import OAuthError  # type: ignore[import-untyped]
from authlib.integrations.httpx_client import AsyncOAuth2Client  # type: ignore[import-untyped]
from authlib.oidc.core import CodeIDToken  # type: ignore[import-untyped]
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry

from backstay.estate.secrets import SecretUnavailable, resolve
from backstay.server.access.model import User
from backstay.server.access.rules import check_user, role_of
from backstay.server.settings import Oidc

TIMEOUT_S = 10.0
DOCUMENT_LIMIT_BYTES = 1_000_000
METADATA_FRESH_S = 3600.0
LEEWAY_S = 60  # between the provider's clock and ours
CODE_LIMIT_CHARS = 4_096
SUBJECT_LIMIT_CHARS = 255  # OpenID Connect Core 1.0, 2

PATH = "/login/oidc"


class OidcError(Exception):
    """The provider does not answer, or what it says does not hold: what, and what next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """Where the browser goes, and what `finish` will need."""

    url: str
    state: str
    nonce: str
    verifier: str


class OidcClient:
    """This server as a client of one provider. One a process: it remembers the provider's documents for an hour."""

    def __init__(self, settings: Oidc, base_url: str, folder: Path) -> None:
        """`folder`: what a secret's relative path starts from."""
        self.label = settings.label
        self._settings = settings
        self._redirect = f"{base_url}{PATH}/callback"
        self._folder = folder
        self._documents: dict[str, tuple[float, dict[str, Any]]] = {}

    async def begin(self, state: str) -> Begun:
        """Raises OidcError."""
        nonce, verifier = generate_token(43), generate_token(64)
        async with await self._client() as client:
            metadata = await self._metadata(client)
            url, _ = client.create_authorization_url(
                metadata["authorization_endpoint"], state=state, code_verifier=verifier, nonce=nonce
            )
        return Begun(url=str(url), state=state, nonce=nonce, verifier=verifier)

    async def finish(self, code: str, *, nonce: str, verifier: str, issuer: str | None) -> Mapping[str, Any]:
        """The claims of who logged in, checked. `issuer`: as the callback names it (RFC 9207). Raises OidcError."""
        if issuer is not None and issuer != self._settings.issuer:
            raise OidcError(f"the answer is of another issuer, {issuer[:200]}")
        if len(code) > CODE_LIMIT_CHARS:
            raise OidcError("the provider's code is too long")
        async with await self._client() as client:
            metadata = await self._metadata(client)
            try:
                token = await client.fetch_token(metadata["token_endpoint"], code=code, code_verifier=verifier)
            except OAuthError as error:
                raise OidcError(f"the provider refused the code: {error.error}") from None
            except Exception as error:  # the library names no family: transport, JSON, types of an odd answer
                raise OidcError(f"the provider's token endpoint: {type(error).__name__}: {error}") from error
            return await self._claims(client, metadata, token, nonce)

    def user_of(self, claims: Mapping[str, Any], now: datetime) -> User:
        """Who the claims are of, with the role that they give. Raises OidcError for who has none, or no name."""
        settings = self._settings
        role = role_of(claims, settings.role_claim, settings.roles)
        if role is None:
            raise OidcError(f"the provider's claim {settings.role_claim} gives no role here. An admin maps it")
        name = claims.get(settings.name_claim)
        subject = claims.get("sub")
        if not isinstance(name, str) or not isinstance(subject, str) or len(subject) > SUBJECT_LIMIT_CHARS:
            raise OidcError(f"the provider's claim {settings.name_claim} gives no name")
        return User(name=check_user(name), role=role, issuer=settings.issuer, subject=subject, created_at=now)

    async def _claims(
        self, client: AsyncOAuth2Client, metadata: Mapping[str, Any], token: Mapping[str, Any], nonce: str
    ) -> Mapping[str, Any]:
        """Of the ID token (OpenID Connect Core 1.0, 3.1.3.7)."""
        raw = token.get("id_token")
        if not isinstance(raw, str):
            raise OidcError("the provider gave no ID token. Is the scope openid among its scopes?")
        registry = JWSRegistry(algorithms=list(self._settings.algorithms), strict_check_header=False)
        try:
            keys = KeySet.import_key_set(await self._document(client, metadata["jwks_uri"]))  # type: ignore[arg-type]
            try:
                decoded = jwt.decode(raw, keys, registry=registry)
            except (JoseError, ValueError):  # perhaps it signs with a new key: look once more
                document = await self._document(client, metadata["jwks_uri"], fresh=True)
                decoded = jwt.decode(raw, KeySet.import_key_set(document), registry=registry)  # type: ignore[arg-type]
            claims = CodeIDToken(
                decoded.claims,
                decoded.header,
                {
                    "iss": {"essential": True, "value": self._settings.issuer},
                    "aud": {"essential": True, "value": self._settings.client_id},
                    "nonce": {"essential": True, "value": nonce},
                },
                {"nonce": nonce, "client_id": self._settings.client_id, "access_token": token.get("access_token")},
            )
            claims.validate(leeway=LEEWAY_S)
        except (JoseError, ValueError) as error:
            raise OidcError(f"the ID token does not hold: {error}") from None
        return dict(claims)

    async def _client(self) -> AsyncOAuth2Client:
        secret = None
        if self._settings.client_secret is not None:
            try:
                secret = await resolve(self._settings.client_secret, self._folder)
            except SecretUnavailable as error:
                raise OidcError(f"the client secret: {error}") from None
        return AsyncOAuth2Client(
            client_id=self._settings.client_id,
            client_secret=secret,
            token_endpoint_auth_method="client_secret_basic" if secret is not None else "none",
            scope=" ".join(self._settings.scopes),
            redirect_uri=self._redirect,
            code_challenge_method="S256",
            timeout=TIMEOUT_S,
            follow_redirects=False,
            trust_env=False,
        )

    async def _metadata(self, client: AsyncOAuth2Client) -> Mapping[str, Any]:
        """The provider's discovery document, checked."""
        url = f"{self._settings.issuer.rstrip('/')}/.well-known/openid-configuration"
        found = await self._document(client, url)
        if found.get("issuer") != self._settings.issuer:
            raise OidcError(f"{url} is of the issuer {str(found.get('issuer'))[:200]}. Write that one in server.yaml.")
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            value = found.get(name)
            scheme = urlsplit(self._settings.issuer).scheme
            if not isinstance(value, str) or urlsplit(value).scheme not in ("https", scheme):
                raise OidcError(f"{url}: {name} is no https address")
        return found

    async def _document(self, client: AsyncOAuth2Client, url: str, *, fresh: bool = False) -> dict[str, Any]:
        at, kept = self._documents.get(url, (0.0, {}))
        if kept and not fresh and time.monotonic() - at < METADATA_FRESH_S:
            return kept
        try:
            answer = await client.request("GET", url, withhold_token=True)
            answer.raise_for_status()
            found = answer.json() if len(answer.content) <= DOCUMENT_LIMIT_BYTES else None
        except Exception as error:  # the library names no family: transport, status, JSON
            raise OidcError(f"{url} does not answer: {type(error).__name__}: {error}") from error
        if not isinstance(found, dict):
            raise OidcError(f"{url}: no JSON object, or longer than {DOCUMENT_LIMIT_BYTES} bytes")
        self._documents[url] = (time.monotonic(), found)
        return found
