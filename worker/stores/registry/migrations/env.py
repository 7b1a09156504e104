"""The Alembic environment: it runs the steps in the transaction that ``migrations.upgrade_schema`` has opened."""

from __future__ import annotations

from alembic import context

from worker.stores.registry.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    render_as_batch=True,  # SQLite changes a table by rebuilding it.
)
with context.begin_transaction():
    context.run_migrations()
