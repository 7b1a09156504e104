"""Whether a household wants the figures of its months by mail."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from worker.stores.registry.migrations import MigrationPhase

revision = "0013"
down_revision = "0012"
phase = MigrationPhase.EXPAND


def upgrade() -> None:
    """Add the column, empty."""
    op.add_column("mail_addresses", sa.Column("sealed_month", sa.Text))
