"""What is told about accounts, the default prices of tenants, and copies of published files."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from worker.stores.database import UtcDateTime, sortable
from worker.stores.registry.migrations import MigrationPhase

revision = "0012"
down_revision = "0011"
phase = MigrationPhase.EXPAND


def upgrade() -> None:
    """Create the tables and the column, empty."""
    op.create_table(
        "account_details",
        sa.Column("account_id", sortable(32), nullable=False),
        sa.Column("kind", sortable(32), nullable=False),
        sa.Column("sealed", sa.Text, nullable=False),
        sa.Column("sealed_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("account_id", "kind", name="pk_account_details"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_account_details_account_id"),
    )
    op.add_column("tenants", sa.Column("prices", sa.Text))
    op.create_table(
        "public_files",
        sa.Column("name", sortable(64), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("copied_on", sa.Date, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_public_files"),
    )
