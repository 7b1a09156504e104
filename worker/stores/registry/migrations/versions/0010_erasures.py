"""Whose account an erased meter was, and what the registry knows of the ledger of erasures."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from worker.stores.registry.migrations import MigrationPhase


revision = "0010"
down_revision = "0009"
phase = MigrationPhase.EXPAND

def upgrade() -> None:
    """Add the column, unknown for older erasures, and the table, empty."""
    op.add_column("erasures", sa.Column("tenant", sa.String(32)))
    op.create_table(
        "ledger_end",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("entries", sa.Integer, nullable=False),
        sa.Column("signature", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_ledger_end"),
    )
