"""Tables of raw answers and of deviations in them (the quarantine)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def _sortable(length: int) -> sa.String:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def _moment() -> sa.DateTime:
    return sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "raw_answers",
        sa.Column("id", _sortable(32), nullable=False),
        sa.Column("account_id", _sortable(32), nullable=False),
        sa.Column("month", sa.String(7), nullable=False),
        sa.Column("first_at", _moment(), nullable=False),
        sa.Column("last_at", _moment(), nullable=False),
        sa.Column("packed", sa.Boolean(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_raw_answers"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_raw_answers_account_id"),
    )
    op.create_index("ix_raw_answers_account_id", "raw_answers", ["account_id", "month"])
    op.create_index("ix_raw_answers_packed", "raw_answers", ["packed", "month", "account_id"])
    op.create_index("ix_raw_answers_last_at", "raw_answers", ["last_at"])
    op.create_table(
        "quarantine",
        sa.Column("fingerprint", _sortable(16), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("place", sa.String(200), nullable=False),
        sa.Column("detail", sa.String(64), nullable=False),
        sa.Column("preset", sa.String(32), nullable=False),
        sa.Column("first_seen", _moment(), nullable=False),
        sa.Column("last_seen", _moment(), nullable=False),
        sa.Column("times", sa.BigInteger(), nullable=False),
        sa.Column("sealed_sample", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("fingerprint", name="pk_quarantine"),
    )


def downgrade() -> None:
    for table in ("quarantine", "raw_answers"):
        op.drop_table(table)
