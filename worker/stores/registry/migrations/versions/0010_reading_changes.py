"""Migration: the journal that keeps each change of a stored reading."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from worker.stores.database import UtcDateTime, sortable
from worker.stores.registry.migrations import MigrationPhase

revision = "0010"
down_revision = "0009"
phase = MigrationPhase.EXPAND


def upgrade() -> None:
    """Create the empty table. The changes that 0.2.0 recorded stay in their own table."""
    op.create_table(
        "reading_changes",
        sa.Column("account_id", sortable(32), nullable=False),
        sa.Column("doctype", sa.String(32), nullable=False),
        sa.Column("key", sortable(20), nullable=False),
        sa.Column("changed_at", UtcDateTime, nullable=False),
        sa.Column("became_amount", sa.BigInteger, nullable=False),
        sa.Column("was_amount", sa.BigInteger, nullable=False),
        sa.Column("first_seen", UtcDateTime),
        sa.Column("run_id", sortable(64), nullable=False),
        sa.PrimaryKeyConstraint(
            "account_id", "doctype", "key", "changed_at", "became_amount", name="pk_reading_changes"
        ),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_reading_changes_account_id"),
    )
    op.create_index("ix_reading_changes_changed_at", "reading_changes", ["changed_at"])
