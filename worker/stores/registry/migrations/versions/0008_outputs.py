"""Migration: the table of outputs, and the outbox, which is the table of changes that are still to be sent."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from worker.stores.database import UtcDateTime, sortable
from worker.stores.registry.migrations import MigrationPhase


revision = "0008"
down_revision = "0007"
phase = MigrationPhase.EXPAND

def upgrade() -> None:
    """Create both tables, without rows."""
    op.create_table(
        "outputs",
        sa.Column("id", sortable(32), nullable=False),
        sa.Column("tenant", sortable(32), nullable=False, server_default="default"),
        sa.Column("account_id", sortable(32)),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("sealed", sa.Text, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("last_sent_at", UtcDateTime),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("failing_since", UtcDateTime),
        sa.Column("next_try_at", UtcDateTime),
        sa.Column("last_code", sa.String(64), nullable=False),
        sa.Column("last_error", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_outputs"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_outputs_account_id"),
    )
    op.create_index("ix_outputs_account_id", "outputs", ["account_id"])
    op.create_index("ix_outputs_tenant", "outputs", ["tenant"])
    op.create_table(
        "output_changes",
        sa.Column("output_id", sortable(32), nullable=False),
        sa.Column("account_id", sortable(32), nullable=False),
        sa.Column("series", sa.String(32), nullable=False),
        sa.Column("first_at", UtcDateTime, nullable=False),
        sa.Column("last_at", UtcDateTime, nullable=False),
        sa.Column("writers", sa.Integer, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("since", UtcDateTime, nullable=False),
        sa.Column("turn_at", UtcDateTime, nullable=False),
        sa.Column("noted_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("output_id", "account_id", "series", name="pk_output_changes"),
        sa.ForeignKeyConstraint(["output_id"], ["outputs.id"], name="fk_output_changes_output_id"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_output_changes_account_id"),
    )
    op.create_index("ix_output_changes_output_id", "output_changes", ["output_id", "turn_at", "account_id"])
    op.create_index("ix_output_changes_account_id", "output_changes", ["account_id"])
