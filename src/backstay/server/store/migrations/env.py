"""Run by Alembic (`Database.migrate`), which hands over the connection and its open transaction."""

from alembic import context

from backstay.server.store.schema import MIGRATIONS, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=MIGRATIONS.version_table,
)
context.run_migrations()
