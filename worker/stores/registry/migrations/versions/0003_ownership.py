"""Whose meter it is: invitations, what proves a consent, sessions that can be ended, no call after a consent's end."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Date, ForeignKey, Integer, String, Text, text

from worker.stores.database import UtcDateTime

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("accounts", Column("data_from", Date))
    op.add_column("accounts", Column("session_number", Integer, nullable=False, server_default="1"))
    op.add_column("consent_proofs", Column("proof", String(16), nullable=False, server_default="none"))
    op.add_column("consent_proofs", Column("vouched_by", String(100)))
    op.add_column("consent_proofs", Column("browser", String(64)))
    op.add_column("series_outcomes", Column("ask_until", Date))
    op.execute(
        text(
            "UPDATE series_outcomes SET ask_until = "
            "(SELECT consent_until FROM accounts WHERE accounts.id = series_outcomes.account_id)"
        )
    )
    # The order of the nights is read from the index alone, and so must be whether a row may be asked.
    op.drop_index("ix_series_outcomes_nightly", "series_outcomes")
    active = text("active = true")
    op.create_index(
        "ix_series_outcomes_nightly",
        "series_outcomes",
        ["series", "every", "asked_at", "account_id", "again_at", "ask_until"],
        sqlite_where=active,
        postgresql_where=active,
    )
    op.execute(text("UPDATE consent_proofs SET kind = 'asserted', proof = 'asserted' WHERE kind = 'by_hand'"))
    key = String(32).with_variant(String(32, collation="C"), "postgresql")
    op.create_table(
        "invitations",
        Column("id", key, primary_key=True),
        Column("hash", String(64), nullable=False),
        Column("purpose", String(16), nullable=False),
        Column("supplier", String(32), nullable=False),
        Column("account_id", key, ForeignKey("accounts.id")),
        Column("sealed_usage_point", Text),
        Column("created_by", String(100), nullable=False),
        Column("created_at", UtcDateTime, nullable=False),
        Column("expires_at", UtcDateTime, nullable=False),
        Column("opened_at", UtcDateTime),
        Column("browser", String(64)),
        Column("used_at", UtcDateTime),
        Column("revoked_at", UtcDateTime),
    )
    op.create_index("ix_invitations_account_id", "invitations", ["account_id"])
    op.create_index("ix_invitations_expires_at", "invitations", ["expires_at"])
