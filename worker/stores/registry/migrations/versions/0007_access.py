"""Households with their sessions, codes and addresses, operators with names, and the audit log."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, ForeignKey, String, Text, text

from worker.stores.database import UtcDateTime
from worker.stores.registry.access.append_only import make_append_only

revision = "0007"
down_revision = "0006"


def _key(length: int = 32) -> String:
    return String(length).with_variant(String(length, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "households",
        Column("id", _key(), primary_key=True),
        Column("sealed", Text, nullable=False),
        Column("created_at", UtcDateTime, nullable=False),
    )
    op.create_table(
        "household_accounts",
        Column("household_id", _key(), ForeignKey("households.id"), primary_key=True),
        Column("account_id", _key(), ForeignKey("accounts.id"), primary_key=True),
    )
    op.create_index("ix_household_accounts_account_id", "household_accounts", ["account_id"])
    op.create_table(
        "mail_addresses",
        Column("household_id", _key(), ForeignKey("households.id"), primary_key=True),
        Column("hash", String(64), nullable=False),
        Column("sealed", Text, nullable=False),
        Column("language", String(8), nullable=False),
        Column("confirmed_at", UtcDateTime, nullable=False),
    )
    op.create_index("ix_mail_addresses_hash", "mail_addresses", ["hash"])
    op.create_table(
        "operators",
        Column("id", _key(), primary_key=True),
        Column("name", _key(), nullable=False),
        Column("sealed", Text, nullable=False),
        Column("created_at", UtcDateTime, nullable=False),
        Column("signed_in_at", UtcDateTime),
        Column("ended_at", UtcDateTime),
    )
    living = text("ended_at IS NULL")
    op.create_index(
        "ix_operators_name", "operators", ["name"], unique=True, sqlite_where=living, postgresql_where=living
    )
    op.create_table(
        "access_keys",
        Column("id", _key(), primary_key=True),
        Column("kind", String(16), nullable=False),
        Column("owner", _key(), nullable=False),
        Column("sealed", Text, nullable=False),
        Column("device", String(100), nullable=False),
        Column("created_at", UtcDateTime, nullable=False),
        Column("last_seen_at", UtcDateTime, nullable=False),
        Column("expires_at", UtcDateTime),
    )
    op.create_index("ix_access_keys_owner", "access_keys", ["owner", "kind"])
    op.create_index("ix_access_keys_last_seen_at", "access_keys", ["last_seen_at"])
    op.create_table(
        "audit_log",
        Column("id", _key(), primary_key=True),
        Column("at", UtcDateTime, nullable=False),
        Column("tenant", _key()),
        Column("actor_kind", String(16), nullable=False),
        Column("actor", String(100), nullable=False),
        Column("action", String(64), nullable=False),
        Column("account_id", _key()),
        Column("subject", String(100)),
        Column("address", String(64)),
        Column("outcome", String(64), nullable=False),
    )
    op.create_index("ix_audit_log_at", "audit_log", ["at"])
    op.create_index("ix_audit_log_account_id", "audit_log", ["account_id", "at"])
    make_append_only(op.get_bind())
