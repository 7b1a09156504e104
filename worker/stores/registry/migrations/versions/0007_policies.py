"""The table of fleet policies that an operator has chosen."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "policies",
        sa.Column("since", sa.Date(), nullable=False),
        sa.Column("daily_every", sa.Integer(), nullable=False),
        sa.Column("curve_every", sa.Integer(), nullable=False),
        sa.Column("applied_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("arithmetic", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("since", name="pk_policies"),
    )


def downgrade() -> None:
    op.drop_table("policies")
