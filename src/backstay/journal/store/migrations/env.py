"""Run by Alembic (`database.migrate`), which hands over the connection and its open transaction."""

from alembic import context

from backstay.journal.store.schema import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, version_table=VERSION_TABLE
)
context.run_migrations()
