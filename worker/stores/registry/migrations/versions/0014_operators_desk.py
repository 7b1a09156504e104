"""Accounts found by reference, pauses that end on a day, and the indexes of the operator's lists.

On PostgreSQL, creating the indexes of a million accounts makes writers of these two tables wait about twenty seconds.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from worker.stores.registry.migrations import MigrationPhase

revision = "0014"
down_revision = "0013"
phase = MigrationPhase.EXPAND
_INDEXES = (
    ("accounts", "reference", ["reference", "id"], None),
    ("accounts", "reason", ["reason", "id"], "reason <> ''"),
    ("accounts", "consent_until", ["consent_until", "id"], "consent_until IS NOT NULL"),
    ("accounts", "paused_until", ["paused_until", "id"], "paused_until IS NOT NULL"),
    (
        "series_outcomes",
        "last_code",
        ["last_code", "account_id", "series", "switch", "updated_at"],
        "last_code IS NOT NULL",
    ),
    ("series_outcomes", "last_complete", ["series", "last_complete", "account_id"], "active = true"),
)


def upgrade() -> None:
    """Add the columns, empty, and the indexes."""
    op.add_column("accounts", sa.Column("reference", sa.String(64)))
    op.add_column("accounts", sa.Column("paused_until", sa.Date))
    for table, name, columns, condition in _INDEXES:
        where = None if condition is None else sa.text(condition)
        op.create_index(f"ix_{table}_{name}", table, columns, sqlite_where=where, postgresql_where=where)
