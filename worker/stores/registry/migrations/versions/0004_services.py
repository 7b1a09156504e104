"""Services side by side: tenants, the memory of erasures, clients of the consent proxy, tokens to revoke."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, Date, ForeignKey, String, Text, UniqueConstraint

from worker.stores.database import UtcDateTime

revision = "0004"
down_revision = "0003"


def _key(length: int = 32) -> String:
    return String(length).with_variant(String(length, collation="C"), "postgresql")


def upgrade() -> None:
    for table in ("accounts", "invitations", "api_tokens"):
        op.add_column(table, Column("tenant", _key(), nullable=False, server_default="default"))
    op.create_index("ix_accounts_tenant_id", "accounts", ["tenant", "id"])
    op.add_column("tokens", Column("revoke_since", UtcDateTime))
    op.create_index("ix_tokens_revoke_since", "tokens", ["revoke_since"])
    op.create_table(
        "tenants",
        Column("id", _key(), primary_key=True),
        Column("title", String(100), nullable=False),
        Column("sealed_webhook", Text),
        Column("created_at", UtcDateTime, nullable=False),
    )
    op.create_table(
        "erasures",
        Column("meter", String(64), primary_key=True),
        Column("erased_at", UtcDateTime, nullable=False),
        Column("forget_on", Date, nullable=False),
    )
    op.create_index("ix_erasures_forget_on", "erasures", ["forget_on"])
    _create_evidence_tables()
    _create_proxy_tables()


def _create_evidence_tables() -> None:
    # The rows of consent_proofs are moved by the first process that has the keys: this step must not need them.
    op.create_table(
        "consent_evidence",
        Column("sequence", BigInteger, primary_key=True, autoincrement=False),
        Column("event", String(16), nullable=False),
        Column("consent_id", _key(), nullable=False),
        Column("account_id", _key(), ForeignKey("accounts.id"), nullable=False),
        Column("tenant", _key(), nullable=False),
        Column("supplier", String(32), nullable=False),
        Column("kind", String(16), nullable=False),
        Column("proof", String(16), nullable=False),
        Column("actor", String(100)),
        Column("browser", String(64)),
        Column("recorded_at", UtcDateTime, nullable=False),
        Column("consent_from", Date),
        Column("consent_until", Date),
        Column("dates_from", String(16)),
        Column("line", String(200)),
        Column("end_reason", String(64), nullable=False),
        Column("personal_digest", String(64), nullable=False),
        Column("sealed_personal", Text),
        Column("previous_hash", String(64), nullable=False),
        Column("hash", String(64), nullable=False),
        UniqueConstraint("consent_id", "event"),
    )
    op.create_index("ix_consent_evidence_account_id", "consent_evidence", ["account_id"])
    op.create_table(
        "consent_chain",
        Column("name", _key(8), primary_key=True),
        Column("sequence", BigInteger, nullable=False),
        Column("hash", String(64), nullable=False),
        Column("sealed", Text, nullable=False),
    )


def _create_proxy_tables() -> None:
    op.create_table(
        "proxy_clients",
        Column("id", _key(), primary_key=True),
        Column("tenant", _key(), nullable=False, server_default="default"),
        Column("name", String(100), nullable=False),
        Column("hash", String(64), nullable=False),
        Column("redirect_uris", Text, nullable=False),
        Column("pkce", Boolean, nullable=False),
        Column("created_at", UtcDateTime, nullable=False),
        Column("revoked_at", UtcDateTime),
    )
    op.create_table(
        "proxy_grants",
        Column("id", _key(), primary_key=True),
        Column("client_id", _key(), ForeignKey("proxy_clients.id"), nullable=False),
        Column("supplier", String(32), nullable=False),
        Column("meter", String(64), nullable=False),
        Column("proof", String(16), nullable=False),
        Column("vouched_by", String(100)),
        Column("granted_at", UtcDateTime, nullable=False),
        Column("browser", String(64)),
        Column("data_from", Date),
        Column("consent_until", Date),
        Column("access_hash", String(64), nullable=False),
        Column("access_expires_at", UtcDateTime, nullable=False),
        Column("ended_at", UtcDateTime),
        Column("end_reason", String(64), nullable=False),
    )
    op.create_index("ix_proxy_grants_meter", "proxy_grants", ["meter"])
    op.create_index("ix_proxy_grants_client_id", "proxy_grants", ["client_id"])
    op.create_table(
        "proxy_refresh_tokens",
        Column("hash", String(64), primary_key=True),
        Column("grant_id", _key(), ForeignKey("proxy_grants.id"), nullable=False),
        Column("issued_at", UtcDateTime, nullable=False),
        Column("used_at", UtcDateTime),
    )
    op.create_index("ix_proxy_refresh_tokens_grant_id", "proxy_refresh_tokens", ["grant_id"])
