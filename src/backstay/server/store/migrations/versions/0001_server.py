"""What people changed, what agents said, and one row that counts both."""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_TIME = sa.String(27)
_NAME = sa.String(63)
_ID = sa.String(64)


def upgrade() -> None:
    state = op.create_table(
        "server_state",
        sa.Column("one", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("identity", _ID, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("agents", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(state, [{"one": 1, "identity": secrets.token_hex(16), "revision": 0, "agents": 0}])
    op.create_table(
        "server_estate",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("altered", sa.BigInteger, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("sha256", _ID, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at", _TIME, nullable=False),
    )
    _create_changes()
    op.create_table(
        "server_order",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("place", sa.Integer, nullable=False),
        sa.Column("altered", sa.BigInteger, nullable=False),
        sa.Column("lb", _NAME, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.Column("event", _ID),
        sa.Column("outcome", sa.Text),
    )
    op.create_index("server_order_created_at", "server_order", ["created_at"])
    op.create_index("server_order_altered", "server_order", ["altered"])
    op.create_table(
        "server_agent",
        sa.Column("lb", _NAME, primary_key=True),
        sa.Column("mark", sa.BigInteger, nullable=False),
        sa.Column("enrolled_at", _TIME, nullable=False),
        sa.Column("revoked_at", _TIME),
        sa.Column("reported_at", _TIME),
        sa.Column("report", sa.Text),
    )
    op.create_index("server_agent_mark", "server_agent", ["mark"])
    op.create_table(
        "server_seen",
        sa.Column("lb", _NAME, primary_key=True),
        sa.Column("at", _TIME, nullable=False),
    )


def _create_changes() -> None:
    op.create_table(
        "server_change",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("place", sa.Integer, nullable=False),
        sa.Column("altered", sa.BigInteger, nullable=False),
        sa.Column("batch", _ID, nullable=False),
        sa.Column("selector", sa.Text, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("node", _NAME, nullable=False),
        sa.Column("pool", _NAME),
        sa.Column("factor", sa.Float),
        sa.Column("parameter", sa.Text),
        sa.Column("value", sa.Text),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME),
        sa.Column("forced", sa.Boolean, nullable=False),
        sa.Column("event", _ID),
        sa.Column("ended_by", sa.String(16)),
        sa.Column("ended_at", _TIME),
        sa.Column("ended_actor", sa.Text),
        sa.Column("ended_reason", sa.Text),
    )
    op.create_index("server_change_batch", "server_change", ["batch"])
    op.create_index("server_change_altered", "server_change", ["altered"])
    op.create_index("server_change_ended_at", "server_change", ["ended_at"])


def downgrade() -> None:
    for name in ("seen", "agent", "order", "change", "estate", "state"):
        op.drop_table(f"server_{name}")
