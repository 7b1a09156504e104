"""Tables of day ledgers, corrections by the supplier and freshness counts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def _sortable(length: int) -> sa.String:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def _moment() -> sa.DateTime:
    return sa.DateTime(timezone=True)


def _account(table: str) -> tuple[sa.Column[str], sa.ForeignKeyConstraint]:
    return (
        sa.Column("account_id", _sortable(32), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=f"fk_{table}_account_id"),
    )


def upgrade() -> None:
    op.create_table(
        "completeness",
        *_account("completeness"),
        sa.Column("series", sa.String(32), nullable=False),
        sa.Column("days", sa.Text(), nullable=False),
        sa.Column("next_ask", sa.Date()),
        sa.Column("last_complete", sa.Date()),
        sa.PrimaryKeyConstraint("account_id", "series", name="pk_completeness"),
    )
    op.create_index("ix_completeness_next_ask", "completeness", ["next_ask", "account_id"])
    op.create_table(
        "corrections",
        *_account("corrections"),
        sa.Column("period", sa.String(8), nullable=False),
        sa.Column("key", _sortable(20), nullable=False),
        sa.Column("was_mwh", sa.BigInteger(), nullable=False),
        sa.Column("became_mwh", sa.BigInteger(), nullable=False),
        sa.Column("first_seen", _moment()),
        sa.Column("changed_at", _moment(), nullable=False),
        sa.Column("run_id", _sortable(64), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "period", "key", "was_mwh", "became_mwh", name="pk_corrections"),
    )
    op.create_index("ix_corrections_changed_at", "corrections", ["changed_at"])
    op.create_table(
        "freshness",
        sa.Column("hour", _moment(), nullable=False),
        sa.Column("series", sa.String(32), nullable=False),
        sa.Column("active", sa.Integer(), nullable=False),
        sa.Column("complete", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("hour", "series", name="pk_freshness"),
    )


def downgrade() -> None:
    for table in ("freshness", "corrections", "completeness"):
        op.drop_table(table)
