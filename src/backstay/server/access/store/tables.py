"""The tables of access, as the newest migration leaves them. Times are text (ISO 8601, UTC), which sorts as time."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Integer, LargeBinary, MetaData, String, Table, Text

metadata = MetaData()

TIME = String(27)
DIGEST = String(64)  # SHA-256 of a secret

user = Table(
    "access_user",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("role", String(16), nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("password", Text),  # argon2id, with its parameters
    Column("issuer", Text),
    Column("subject", Text),
    Column("created_at", TIME, nullable=False),
    Column("last_login", TIME),
)

session = Table(
    "access_session",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("digest", DIGEST, nullable=False, unique=True),
    Column("user", String(64), nullable=False, index=True),
    Column("via", String(16), nullable=False),
    Column("address", String(64), nullable=False),
    Column("created_at", TIME, nullable=False),
    Column("seen_at", TIME, nullable=False, index=True),
)

link = Table(
    "access_link",
    metadata,
    Column("digest", DIGEST, primary_key=True),
    Column("user", String(64), nullable=False, index=True),
    Column("expires_at", TIME, nullable=False),
)

token = Table(
    "access_token",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("digest", DIGEST, nullable=False, unique=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("role", String(16), nullable=False),
    Column("rooms", Text),  # JSON list; null: all
    Column("owner", String(64)),  # the user whose it is; null: a machine's, made by an admin
    Column("created_at", TIME, nullable=False),
    Column("expires_at", TIME),
    Column("last_used", TIME),
    Column("revoked_at", TIME),
)

join = Table(
    "access_join",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("digest", DIGEST, nullable=False, unique=True),
    Column("lb", String(64), nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_at", TIME, nullable=False),
    Column("expires_at", TIME, nullable=False),
)

# What an agent shows. Two rows of one load balancer while the older is being replaced: the first use of the newer
# removes it.
credential = Table(
    "access_credential",
    metadata,
    Column("digest", DIGEST, primary_key=True),
    Column("lb", String(64), nullable=False, index=True),
    Column("created_at", TIME, nullable=False),
    Column("used", Boolean, nullable=False),
)

# Failed logins. Bounded: what rested for an hour is removed, and the oldest beyond BUCKETS_LIMIT.
bucket = Table(
    "access_bucket",
    metadata,
    Column("name", String(160), primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("last", TIME, nullable=False, index=True),
)

# Logins by OpenID Connect that are under way, for minutes.
passage = Table(
    "access_passage",
    metadata,
    Column("digest", DIGEST, primary_key=True),  # of the state
    Column("nonce", Text, nullable=False),
    Column("verifier", Text, nullable=False),  # PKCE
    Column("back", Text, nullable=False),  # the page that asked for a login
    Column("created_at", TIME, nullable=False, index=True),
)

# Answers to mutations, by their Idempotency-Key; `status` is null while the first is under way.
answer = Table(
    "access_answer",
    metadata,
    Column("principal", String(80), primary_key=True),
    Column("key", String(64), primary_key=True),
    Column("request", DIGEST, nullable=False),
    Column("created_at", TIME, nullable=False, index=True),
    Column("status", Integer),
    Column("media_type", String(100)),
    Column("body", LargeBinary),
)
