"""Tables of accounts, usage points, tokens and the last outcome of each series."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
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
        "accounts",
        sa.Column("id", _sortable(32), nullable=False),
        sa.Column("supplier", sa.String(32), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(64), nullable=False),
        sa.Column("created_at", _moment(), nullable=False),
        sa.Column("state_since", _moment(), nullable=False),
        sa.Column("consent_from", sa.Date()),
        sa.Column("consent_until", sa.Date()),
        sa.PrimaryKeyConstraint("id", name="pk_accounts"),
    )
    op.create_index("ix_accounts_state_id", "accounts", ["state", "id"])
    op.create_table(
        "usage_points",
        *_account("usage_points"),
        sa.Column("supplier", sa.String(32), nullable=False),
        sa.Column("usage_point_id", sa.String(32), nullable=False),
        sa.Column("direction", sa.String(16), nullable=False),
        sa.PrimaryKeyConstraint("account_id", name="pk_usage_points"),
        sa.UniqueConstraint(
            "usage_point_id", "supplier", "direction", name="uq_usage_points_usage_point_id"
        ),
    )
    op.create_table(
        "tokens",
        *_account("tokens"),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("updated_at", _moment(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", name="pk_tokens"),
    )
    op.create_table(
        "series_outcomes",
        *_account("series_outcomes"),
        sa.Column("series", sa.String(32), nullable=False),
        sa.Column("run_id", _sortable(64), nullable=False),
        sa.Column("last_code", sa.String(64)),
        sa.Column("last_message", sa.Text(), nullable=False),
        sa.Column("last_success_at", _moment()),
        sa.Column("last_day", sa.Date()),
        sa.Column("ever_stored", sa.Boolean(), nullable=False),
        sa.Column("updated_at", _moment(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "series", name="pk_series_outcomes"),
    )


def downgrade() -> None:
    for table in ("series_outcomes", "tokens", "usage_points", "accounts"):
        op.drop_table(table)
