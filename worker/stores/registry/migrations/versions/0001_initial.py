"""All tables of the registry."""

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
        "api_tokens",
        sa.Column("id", _sortable(32), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("created_at", _moment(), nullable=False),
        sa.Column("last_used_at", _moment()),
        sa.Column("expires_at", _moment()),
        sa.Column("revoked_at", _moment()),
        sa.PrimaryKeyConstraint("id", name="pk_api_tokens"),
    )
    op.create_table(
        "freshness",
        sa.Column("hour", _moment(), nullable=False),
        sa.Column("series", sa.String(32), nullable=False),
        sa.Column("active", sa.Integer(), nullable=False),
        sa.Column("complete", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("hour", "series", name="pk_freshness"),
    )
    op.create_table(
        "policies",
        sa.Column("since", sa.Date(), nullable=False),
        sa.Column("daily_every", sa.Integer(), nullable=False),
        sa.Column("curve_every", sa.Integer(), nullable=False),
        sa.Column("applied_at", _moment(), nullable=False),
        sa.Column("arithmetic", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("since", name="pk_policies"),
    )
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
    op.create_table(
        "tokens",
        sa.Column("id", _sortable(32), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("updated_at", _moment(), nullable=False),
        sa.Column("expires_at", _moment()),
        sa.Column("refreshing_since", _moment()),
        sa.PrimaryKeyConstraint("id", name="pk_tokens"),
    )
    op.create_index("ix_tokens_expires_at", "tokens", ["expires_at"])
    op.create_table(
        "consent_proofs",
        sa.Column("id", _sortable(32), nullable=False),
        sa.Column("account_id", _sortable(32), nullable=False),
        sa.Column("supplier", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("reference", sa.String(64)),
        sa.Column("consented_at", _moment(), nullable=False),
        sa.Column("consent_from", sa.Date()),
        sa.Column("consent_until", sa.Date()),
        sa.Column("sealed_usage_point", sa.Text()),
        sa.Column("ended_at", _moment()),
        sa.Column("end_reason", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_consent_proofs_account_id"),
        sa.PrimaryKeyConstraint("id", name="pk_consent_proofs"),
    )
    op.create_index("ix_consent_proofs_account_id", "consent_proofs", ["account_id"])
    op.create_index("ix_consent_proofs_ended_at", "consent_proofs", ["ended_at"])
    op.create_table(
        "corrections",
        sa.Column("account_id", _sortable(32), nullable=False),
        sa.Column("period", sa.String(8), nullable=False),
        sa.Column("key", _sortable(20), nullable=False),
        sa.Column("was_mwh", sa.BigInteger(), nullable=False),
        sa.Column("became_mwh", sa.BigInteger(), nullable=False),
        sa.Column("first_seen", _moment()),
        sa.Column("changed_at", _moment(), nullable=False),
        sa.Column("run_id", _sortable(64), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_corrections_account_id"),
        sa.PrimaryKeyConstraint("account_id", "period", "key", "was_mwh", "became_mwh", name="pk_corrections"),
    )
    op.create_index("ix_corrections_changed_at", "corrections", ["changed_at"])
    op.create_table(
        "notices",
        sa.Column("id", _sortable(32), nullable=False),
        sa.Column("key", _sortable(160), nullable=False),
        sa.Column("account_id", _sortable(32)),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("reason", sa.String(64), nullable=False),
        sa.Column("about", sa.String(64), nullable=False),
        sa.Column("channel", sa.String(16), nullable=False),
        sa.Column("created_at", _moment(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", _moment(), nullable=False),
        sa.Column("delivered_at", _moment()),
        sa.Column("last_error", sa.String(200), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_notices_account_id"),
        sa.PrimaryKeyConstraint("id", name="pk_notices"),
        sa.UniqueConstraint("key", name="uq_notices_key"),
    )
    op.create_index("ix_notices_account_id", "notices", ["account_id"])
    op.create_index("ix_notices_next_attempt_at", "notices", ["next_attempt_at"])
    op.create_table(
        "pending_refusals",
        sa.Column("account_id", _sortable(32), nullable=False),
        sa.Column("code", sa.String(64), nullable=False),
        sa.Column("first_seen", _moment(), nullable=False),
        sa.Column("last_seen", _moment(), nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_pending_refusals_account_id"),
        sa.PrimaryKeyConstraint("account_id", "code", name="pk_pending_refusals"),
    )
    op.create_index("ix_pending_refusals_code_last_seen", "pending_refusals", ["code", "last_seen"])
    op.create_table(
        "raw_answers",
        sa.Column("id", _sortable(32), nullable=False),
        sa.Column("account_id", _sortable(32), nullable=False),
        sa.Column("month", sa.String(7), nullable=False),
        sa.Column("first_at", _moment(), nullable=False),
        sa.Column("last_at", _moment(), nullable=False),
        sa.Column("packed", sa.Boolean(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_raw_answers_account_id"),
        sa.PrimaryKeyConstraint("id", name="pk_raw_answers"),
    )
    op.create_index("ix_raw_answers_account_id", "raw_answers", ["account_id", "month"])
    op.create_index("ix_raw_answers_last_at", "raw_answers", ["last_at"])
    op.create_index("ix_raw_answers_packed", "raw_answers", ["packed", "month", "account_id"])
    op.create_table(
        "series_outcomes",
        sa.Column("account_id", _sortable(32), nullable=False),
        sa.Column("series", sa.String(32), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("every", sa.SmallInteger(), nullable=False),
        sa.Column("asked_at", _moment(), nullable=False),
        sa.Column("last_answer", sa.String(16)),
        sa.Column("again_at", _moment()),
        sa.Column("failures", sa.SmallInteger(), nullable=False),
        sa.Column("history_due_at", _moment()),
        sa.Column("days", sa.Text(), nullable=False),
        sa.Column("next_ask", sa.Date()),
        sa.Column("last_complete", sa.Date()),
        sa.Column("last_day", sa.Date(), nullable=False),
        sa.Column("run_id", _sortable(64), nullable=False),
        sa.Column("last_code", sa.String(64)),
        sa.Column("last_message", sa.Text(), nullable=False),
        sa.Column("last_success_at", _moment()),
        sa.Column("ever_stored", sa.Boolean(), nullable=False),
        sa.Column("updated_at", _moment(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_series_outcomes_account_id"),
        sa.PrimaryKeyConstraint("account_id", "series", name="pk_series_outcomes"),
    )
    op.create_index(
        "ix_series_outcomes_again",
        "series_outcomes",
        ["again_at"],
        sqlite_where=sa.text("active = true AND again_at IS NOT NULL"),
        postgresql_where=sa.text("active = true AND again_at IS NOT NULL"),
    )
    op.create_index(
        "ix_series_outcomes_catch_up",
        "series_outcomes",
        ["series", "last_day", "account_id"],
        sqlite_where=sa.text("active = true"),
        postgresql_where=sa.text("active = true"),
    )
    op.create_index(
        "ix_series_outcomes_history",
        "series_outcomes",
        ["series", "history_due_at", "account_id"],
        sqlite_where=sa.text("active = true AND history_due_at IS NOT NULL"),
        postgresql_where=sa.text("active = true AND history_due_at IS NOT NULL"),
    )
    op.create_index(
        "ix_series_outcomes_nightly",
        "series_outcomes",
        ["series", "every", "asked_at", "account_id", "again_at"],
        sqlite_where=sa.text("active = true"),
        postgresql_where=sa.text("active = true"),
    )
    op.create_index(
        "ix_series_outcomes_repair",
        "series_outcomes",
        ["next_ask", "account_id"],
        sqlite_where=sa.text("active = true AND next_ask IS NOT NULL"),
        postgresql_where=sa.text("active = true AND next_ask IS NOT NULL"),
    )
    op.create_index("ix_series_outcomes_updated_at", "series_outcomes", ["updated_at"])
    op.create_table(
        "token_users",
        sa.Column("account_id", _sortable(32), nullable=False),
        sa.Column("token_id", _sortable(32), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_token_users_account_id"),
        sa.ForeignKeyConstraint(["token_id"], ["tokens.id"], name="fk_token_users_token_id"),
        sa.PrimaryKeyConstraint("account_id", name="pk_token_users"),
    )
    op.create_index("ix_token_users_token_id", "token_users", ["token_id"])
    op.create_table(
        "usage_points",
        sa.Column("account_id", _sortable(32), nullable=False),
        sa.Column("supplier", sa.String(32), nullable=False),
        sa.Column("usage_point_id", sa.String(32), nullable=False),
        sa.Column("direction", sa.String(16), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_usage_points_account_id"),
        sa.PrimaryKeyConstraint("account_id", name="pk_usage_points"),
        sa.UniqueConstraint("usage_point_id", "supplier", "direction", name="uq_usage_points_usage_point_id"),
    )


def downgrade() -> None:
    for table in (
        "usage_points",
        "token_users",
        "series_outcomes",
        "raw_answers",
        "pending_refusals",
        "notices",
        "corrections",
        "consent_proofs",
        "tokens",
        "quarantine",
        "policies",
        "freshness",
        "api_tokens",
        "accounts",
    ):
        op.drop_table(table)
