"""Links, their head, and triggers that refuse to alter or remove a link."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_POSTGRESQL = """
CREATE FUNCTION journal_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'the journal is append-only'; END $$;
CREATE TRIGGER journal_link_append_only BEFORE UPDATE OR DELETE ON journal_link
FOR EACH ROW EXECUTE FUNCTION journal_append_only();
"""
_SQLITE = """
CREATE TRIGGER journal_link_no_{verb} BEFORE {verb} ON journal_link
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END
"""


def upgrade() -> None:
    op.create_table(
        "journal_link",
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("id", sa.String(64), nullable=False, unique=True),
        sa.Column("time", sa.String(27), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.Column("cause", sa.String(64)),
        sa.Column("previous", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False, unique=True),
    )
    for column in ("time", "kind", "subject", "cause"):
        op.create_index(f"journal_link_{column}", "journal_link", [column])
    head = op.create_table(
        "journal_head",
        sa.Column("one", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
    )
    op.bulk_insert(head, [{"one": 1, "seq": 0, "hash": "0" * 64}])
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_POSTGRESQL)
        return
    for verb in ("update", "delete"):
        op.execute(_SQLITE.format(verb=verb))


def downgrade() -> None:
    op.drop_table("journal_head")
    op.drop_table("journal_link")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION journal_append_only()")
