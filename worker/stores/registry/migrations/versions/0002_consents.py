"""Tables of consent proofs, pending refusals and notices."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def _sortable(length: int) -> sa.String:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def _moment() -> sa.DateTime:
    return sa.DateTime(timezone=True)


def _account(table: str, nullable: bool = False) -> tuple[sa.Column[str], sa.ForeignKeyConstraint]:
    return (
        sa.Column("account_id", _sortable(32), nullable=nullable),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=f"fk_{table}_account_id"),
    )


def upgrade() -> None:
    op.create_index("ix_series_outcomes_updated_at", "series_outcomes", ["updated_at"])
    op.create_table(
        "consent_proofs",
        sa.Column("id", _sortable(32), nullable=False),
        *_account("consent_proofs"),
        sa.Column("supplier", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("reference", sa.String(64)),
        sa.Column("consented_at", _moment(), nullable=False),
        sa.Column("consent_from", sa.Date()),
        sa.Column("consent_until", sa.Date()),
        sa.Column("sealed_usage_point", sa.Text()),
        sa.Column("ended_at", _moment()),
        sa.Column("end_reason", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_consent_proofs"),
    )
    op.create_index("ix_consent_proofs_account_id", "consent_proofs", ["account_id"])
    op.create_index("ix_consent_proofs_ended_at", "consent_proofs", ["ended_at"])
    op.create_table(
        "pending_refusals",
        *_account("pending_refusals"),
        sa.Column("code", sa.String(64), nullable=False),
        sa.Column("first_seen", _moment(), nullable=False),
        sa.Column("last_seen", _moment(), nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "code", name="pk_pending_refusals"),
    )
    op.create_index("ix_pending_refusals_code_last_seen", "pending_refusals", ["code", "last_seen"])
    op.create_table(
        "notices",
        sa.Column("id", _sortable(32), nullable=False),
        sa.Column("key", _sortable(160), nullable=False),
        *_account("notices", nullable=True),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("reason", sa.String(64), nullable=False),
        sa.Column("about", sa.String(64), nullable=False),
        sa.Column("channel", sa.String(16), nullable=False),
        sa.Column("created_at", _moment(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", _moment(), nullable=False),
        sa.Column("delivered_at", _moment()),
        sa.Column("last_error", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_notices"),
        sa.UniqueConstraint("key", name="uq_notices_key"),
    )
    op.create_index("ix_notices_account_id", "notices", ["account_id"])
    op.create_index("ix_notices_next_attempt_at", "notices", ["next_attempt_at"])


def downgrade() -> None:
    for table in ("notices", "pending_refusals", "consent_proofs"):
        op.drop_table(table)
    op.drop_index("ix_series_outcomes_updated_at", "series_outcomes")
