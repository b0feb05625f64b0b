"""The audit: its results, which server collects, what people asked of it."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_TIME = sa.String(27)


def upgrade() -> None:
    op.create_table(
        "audit_result",
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("cluster", sa.String(63), primary_key=True),
        sa.Column("indicator", sa.String(300), primary_key=True),
        sa.Column("span", sa.String(4), primary_key=True),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("head", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "audit_lease",
        sa.Column("one", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("holder", sa.String(64), nullable=False),
        sa.Column("until", _TIME, nullable=False),
    )
    op.create_table(
        "audit_ask",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("taken_at", _TIME),
        sa.Column("taken_by", sa.String(64)),
        sa.Column("answer", sa.Text),
    )
    op.create_index("audit_ask_at", "audit_ask", ["at"])


def downgrade() -> None:
    for name in ("ask", "lease", "result"):
        op.drop_table(f"audit_{name}")
