"""What Alembic runs for each command: our connection, our tables, one transaction."""

from __future__ import annotations

from alembic import context

from coordinator.store.schema import VERSION_TABLE
from coordinator.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    # SQLite alters little in place: Alembic rebuilds the table instead.
    render_as_batch=True,
    # Ours to say for SQLite, where the driver would commit DDL but database.py prevents it.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
