"""Migration: columns for the rules of proxy clients, for grants and for an erasure's tenant; table ``ledger_end``."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from worker.stores.registry.migrations import MigrationPhase

revision = "0009"
down_revision = "0008"
phase = MigrationPhase.EXPAND


def upgrade() -> None:
    """Add the columns and the empty table. The columns' defaults keep the former rules for existing clients."""
    op.add_column("proxy_clients", sa.Column("strict", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("proxy_clients", sa.Column("numbers_in_redirect", sa.Boolean, nullable=False, server_default=sa.true()))
    op.add_column("proxy_grants", sa.Column("code_hash", sa.String(64)))
    op.add_column("proxy_grants", sa.Column("last_used_on", sa.Date))
    op.create_index("ix_proxy_grants_code_hash", "proxy_grants", ["code_hash"])
    op.add_column("erasures", sa.Column("tenant", sa.String(32)))
    op.create_table(
        "ledger_end",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("entries", sa.Integer, nullable=False),
        sa.Column("signature", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_ledger_end"),
    )
