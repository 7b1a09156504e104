"""Campaigns that ask households to consent again, and their recipients."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from worker.stores.database import UtcDateTime, sortable
from worker.stores.registry.migrations import MigrationPhase

revision = "0015"
down_revision = "0014"
phase = MigrationPhase.EXPAND


def upgrade() -> None:
    """Create the tables, empty."""
    op.create_table(
        "campaigns",
        sa.Column("id", sortable(32), nullable=False),
        sa.Column("created_by", sa.String(100), nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("choice", sa.String(200), nullable=False),
        sa.Column("per_day", sa.Integer, nullable=False),
        sa.Column("is_running", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_campaigns"),
    )
    times = ("claimed_at", "mailed_at", "opened_at", "asked_at", "answered_at")
    op.create_table(
        "campaign_recipients",
        sa.Column("id", sortable(32), nullable=False),
        sa.Column("campaign_id", sortable(32), nullable=False),
        sa.Column("account_id", sortable(32), nullable=False),
        sa.Column("mail_id", sortable(32), nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("household_id", sa.String(32)),
        sa.Column("sealed_address", sa.Text),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_attempt_at", UtcDateTime, nullable=False),
        *(sa.Column(name, UtcDateTime) for name in times),
        sa.Column("invitation_id", sa.String(32)),
        sa.Column("last_error", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_campaign_recipients"),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"], name="fk_campaign_recipients_campaign_id"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_campaign_recipients_account_id"),
        sa.Index("ix_campaign_recipients_account_id", "account_id"),
        sa.Index("ix_campaign_recipients_invitation_id", "invitation_id"),
        sa.Index("ix_campaign_recipients_mail_id", "mail_id"),
        sa.Index("ix_campaign_recipients_campaign_id", "campaign_id", "state", "next_attempt_at"),
        sa.Index("ix_campaign_recipients_claimed_at", "campaign_id", "claimed_at"),
    )
