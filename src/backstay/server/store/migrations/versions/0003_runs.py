"""Configuration runs over SSH: runs, their nodes, what was printed."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_TIME = sa.String(27)


def upgrade() -> None:
    op.create_table(
        "run_run",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("selector", sa.Text, nullable=False),
        sa.Column("command", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("event", sa.String(64), nullable=False),
        sa.Column("alive_at", _TIME, nullable=False),
        sa.Column("ended_at", _TIME),
    )
    op.create_index("ix_run_run_at", "run_run", ["at"])
    op.create_table(
        "run_node",
        sa.Column("run", sa.String(64), primary_key=True),
        sa.Column("node", sa.String(63), primary_key=True),
        sa.Column("place", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("exit_code", sa.Integer),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("started_at", _TIME),
        sa.Column("ended_at", _TIME),
    )
    op.create_table(
        "run_output",
        sa.Column("run", sa.String(64), primary_key=True),
        sa.Column("node", sa.String(63), primary_key=True),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("left_out", sa.Integer, nullable=False),
    )


def downgrade() -> None:
    for name in ("output", "node", "run"):
        op.drop_table(f"run_{name}")
