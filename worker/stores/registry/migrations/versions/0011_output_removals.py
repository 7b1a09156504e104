"""Migration: the table of readings that were removed from the measures but may still exist in outputs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from worker.stores.database import sortable
from worker.stores.registry.migrations import MigrationPhase

revision = "0011"
down_revision = "0010"
phase = MigrationPhase.EXPAND


def upgrade() -> None:
    """Create the table, without rows."""
    op.create_table(
        "output_removals",
        sa.Column("output_id", sortable(32), nullable=False),
        sa.Column("account_id", sortable(32), nullable=False),
        sa.Column("series", sa.String(32), nullable=False),
        sa.Column("key", sortable(20), nullable=False),
        sa.Column("day", sa.String(10)),
        sa.PrimaryKeyConstraint("output_id", "account_id", "series", "key", name="pk_output_removals"),
        sa.ForeignKeyConstraint(["output_id"], ["outputs.id"], name="fk_output_removals_output_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_output_removals_account_id"),
    )
    op.create_index("ix_output_removals_account_id", "output_removals", ["account_id"])
