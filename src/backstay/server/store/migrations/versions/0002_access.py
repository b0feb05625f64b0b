"""Users, sessions, links, API tokens, join tokens, credentials; failed logins, logins under way, kept answers."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_TIME = sa.String(27)
_DIGEST = sa.String(64)
_NAME = sa.String(64)
_ID = sa.String(26)


def upgrade() -> None:
    _create_people()
    _create_tokens()
    _create_gates()
    for table, column in (
        ("session", "user"),
        ("session", "seen_at"),
        ("link", "user"),
        ("credential", "lb"),
        ("bucket", "last"),
        ("passage", "created_at"),
        ("answer", "created_at"),
    ):
        op.create_index(f"ix_access_{table}_{column}", f"access_{table}", [column])


def _create_people() -> None:
    op.create_table(
        "access_user",
        sa.Column("name", _NAME, primary_key=True),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("password", sa.Text),
        sa.Column("issuer", sa.Text),
        sa.Column("subject", sa.Text),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("last_login", _TIME),
    )
    op.create_table(
        "access_session",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("digest", _DIGEST, nullable=False, unique=True),
        sa.Column("user", _NAME, nullable=False),
        sa.Column("via", sa.String(16), nullable=False),
        sa.Column("address", _NAME, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("seen_at", _TIME, nullable=False),
    )
    op.create_table(
        "access_link",
        sa.Column("digest", _DIGEST, primary_key=True),
        sa.Column("user", _NAME, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
    )


def _create_tokens() -> None:
    op.create_table(
        "access_token",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("digest", _DIGEST, nullable=False, unique=True),
        sa.Column("name", _NAME, nullable=False, unique=True),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("rooms", sa.Text),
        sa.Column("owner", _NAME),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME),
        sa.Column("last_used", _TIME),
        sa.Column("revoked_at", _TIME),
    )
    op.create_table(
        "access_join",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("digest", _DIGEST, nullable=False, unique=True),
        sa.Column("lb", _NAME, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
    )
    op.create_table(
        "access_credential",
        sa.Column("digest", _DIGEST, primary_key=True),
        sa.Column("lb", _NAME, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("used", sa.Boolean, nullable=False),
    )


def _create_gates() -> None:
    op.create_table(
        "access_bucket",
        sa.Column("name", sa.String(160), primary_key=True),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("last", _TIME, nullable=False),
    )
    op.create_table(
        "access_passage",
        sa.Column("digest", _DIGEST, primary_key=True),
        sa.Column("nonce", sa.Text, nullable=False),
        sa.Column("verifier", sa.Text, nullable=False),
        sa.Column("back", sa.Text, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
    )
    op.create_table(
        "access_answer",
        sa.Column("principal", sa.String(80), primary_key=True),
        sa.Column("key", _NAME, primary_key=True),
        sa.Column("request", _DIGEST, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("media_type", sa.String(100)),
        sa.Column("body", sa.LargeBinary),
    )


def downgrade() -> None:
    for name in ("answer", "passage", "bucket", "credential", "join", "token", "link", "session", "user"):
        op.drop_table(f"access_{name}")
