"""The registry's tables.  What changes here needs a migration; a test compares the two.

The usage point id is personal data.  It stands in the clear in ``usage_points`` and nowhere else:
the registry must find an account by it, and a keyed index would break when keys are rotated.  The
row goes when the account is removed; everything else, here and elsewhere, knows only the account id.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment: zone-aware in, UTC in the database, zone-aware UTC out.  SQLite itself keeps no zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("a moment without its zone can't be stored")
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _sortable(length: int) -> String:
    """Text that sorts byte by byte on every server, as it does in Python."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


METADATA = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)

ACCOUNTS = Table(
    "accounts",
    METADATA,
    Column("id", _sortable(32), primary_key=True),
    Column("supplier", String(32), nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", String(64), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("state_since", UtcDateTime, nullable=False),
    Column("consent_from", Date),
    Column("consent_until", Date),
    Index("ix_accounts_state_id", "state", "id"),  # paging through the active ones, counting by state
)

USAGE_POINTS = Table(
    "usage_points",
    METADATA,
    Column("account_id", _sortable(32), ForeignKey("accounts.id"), primary_key=True),
    Column("supplier", String(32), nullable=False),  # as the account's: electricity and gas number apart
    Column("usage_point_id", String(32), nullable=False),
    Column("direction", String(16), nullable=False),
    UniqueConstraint("usage_point_id", "supplier", "direction"),
)

TOKENS = Table(
    "tokens",
    METADATA,
    Column("id", _sortable(32), primary_key=True),
    Column("sealed", Text, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),  # of the access token inside; none where the supplier doesn't tell
    Column("refreshing_since", UtcDateTime),  # a renewal was begun, and its answer has not been read
    Index("ix_tokens_expires_at", "expires_at"),  # renewal ahead of the end
)

TOKEN_USERS = Table(
    "token_users",
    METADATA,
    Column("account_id", _sortable(32), ForeignKey("accounts.id"), primary_key=True),
    Column("token_id", _sortable(32), ForeignKey("tokens.id"), nullable=False),
    Index("ix_token_users_token_id", "token_id"),
)

SERIES_OUTCOMES = Table(
    "series_outcomes",
    METADATA,
    Column("account_id", _sortable(32), ForeignKey("accounts.id"), primary_key=True),
    Column("series", String(32), primary_key=True),
    Column("run_id", _sortable(64), nullable=False),
    Column("last_code", String(64)),
    Column("last_message", Text, nullable=False),
    Column("last_success_at", UtcDateTime),
    Column("last_day", Date),
    Column("ever_stored", Boolean, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Index("ix_series_outcomes_updated_at", "updated_at"),  # how many accounts were tried lately
)

CONSENT_PROOFS = Table(
    "consent_proofs",
    METADATA,
    Column("id", _sortable(32), primary_key=True),
    Column("account_id", _sortable(32), ForeignKey("accounts.id"), nullable=False),
    Column("supplier", String(32), nullable=False),
    Column("kind", String(16), nullable=False),  # what the callback brought: a ConsentKind
    Column("reference", String(64)),  # the supplier's own number of the consent, where it has one
    Column("consented_at", UtcDateTime, nullable=False),
    Column("consent_from", Date),
    Column("consent_until", Date),
    Column("sealed_usage_point", Text),  # goes with the account; what is left proves a consent, not whose meter
    Column("ended_at", UtcDateTime),
    Column("end_reason", String(64), nullable=False),
    Index("ix_consent_proofs_account_id", "account_id"),
    Index("ix_consent_proofs_ended_at", "ended_at"),
)

DOUBTS = Table(
    "doubts",
    METADATA,
    Column("account_id", _sortable(32), ForeignKey("accounts.id"), primary_key=True),
    Column("code", String(64), primary_key=True),
    Column("first_seen", UtcDateTime, nullable=False),
    Column("last_seen", UtcDateTime, nullable=False),
    Column("times", Integer, nullable=False),  # 0: seen, and found to be the supplier's fault
    Index("ix_doubts_code_last_seen", "code", "last_seen"),  # how many accounts share a doubt
)

NOTICES = Table(
    "notices",
    METADATA,
    Column("id", _sortable(32), primary_key=True),
    Column("key", _sortable(160), nullable=False),  # what must be told once
    Column("account_id", _sortable(32), ForeignKey("accounts.id")),  # none: to the operator, about all
    Column("kind", String(32), nullable=False),
    Column("reason", String(64), nullable=False),
    Column("about", String(64), nullable=False),
    Column("channel", String(16), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", UtcDateTime, nullable=False),
    Column("delivered_at", UtcDateTime),
    Column("last_error", String(200), nullable=False),
    UniqueConstraint("key"),
    Index("ix_notices_account_id", "account_id"),
    Index("ix_notices_next_attempt_at", "next_attempt_at"),
)

API_TOKENS = Table(
    "api_tokens",
    METADATA,
    Column("id", _sortable(32), primary_key=True),
    Column("name", String(100), nullable=False),
    Column(
        "hash", String(64), nullable=False
    ),  # SHA-256, hex (worker/stores/registry/api_tokens.py says why that is enough)
    Column("scopes", Text, nullable=False),  # words with a space between them
    Column("created_at", UtcDateTime, nullable=False),
    Column("last_used_at", UtcDateTime),
    Column("expires_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
)

COMPLETENESS = Table(
    "completeness",
    METADATA,
    Column("account_id", _sortable(32), ForeignKey("accounts.id"), primary_key=True),
    Column("series", String(32), primary_key=True),
    Column("days", Text, nullable=False),  # a Ledger's text: runs of days, for a healthy meter some 20 bytes
    Column("next_ask", Date),  # when the first open day is to be asked for again; none while nothing is open
    Column("last_complete", Date),
    Index("ix_completeness_next_ask", "next_ask", "account_id"),  # the repair's way through the fleet
)

CORRECTIONS = Table(
    "corrections",
    METADATA,
    Column("account_id", _sortable(32), ForeignKey("accounts.id"), primary_key=True),
    Column("period", String(8), primary_key=True),
    Column("key", _sortable(20), primary_key=True),
    Column("was_mwh", BigInteger, primary_key=True),  # milliwatt-hours; in the key, so that a repeat adds nothing
    Column("became_mwh", BigInteger, primary_key=True),
    Column("first_seen", UtcDateTime),  # when the old value's day was stored first
    Column("changed_at", UtcDateTime, nullable=False),  # when the supplier told the new one
    Column("run_id", _sortable(64), nullable=False),
    Index("ix_corrections_changed_at", "changed_at"),  # what is too old goes
)

FRESHNESS = Table(
    "freshness",
    METADATA,
    Column("hour", UtcDateTime, primary_key=True),
    Column("series", String(32), primary_key=True),
    Column("active", Integer, nullable=False),
    Column("complete", Integer, nullable=False),  # those of them whose yesterday is whole
)

RAW_ANSWERS = Table(
    "raw_answers",
    METADATA,
    Column("id", _sortable(32), primary_key=True),
    Column("account_id", _sortable(32), ForeignKey("accounts.id"), nullable=False),
    Column("month", String(7), nullable=False),  # when they were told, in UTC
    Column("first_at", UtcDateTime, nullable=False),
    Column("last_at", UtcDateTime, nullable=False),
    Column("packed", Boolean, nullable=False),  # whether the month's rows were made one
    Column("sealed", LargeBinary, nullable=False),  # domain.told.pack_told, sealed: it holds the meter's number
    Index("ix_raw_answers_account_id", "account_id", "month"),
    Index("ix_raw_answers_packed", "packed", "month", "account_id"),  # what is to be made one
    Index("ix_raw_answers_last_at", "last_at"),  # what is too old goes
)

QUARANTINE = Table(
    "quarantine",
    METADATA,
    Column("fingerprint", _sortable(16), primary_key=True),
    Column("kind", String(32), nullable=False),
    Column("place", String(200), nullable=False),
    Column("detail", String(64), nullable=False),
    Column("preset", String(32), nullable=False),
    Column("first_seen", UtcDateTime, nullable=False),
    Column("last_seen", UtcDateTime, nullable=False),
    Column("times", BigInteger, nullable=False),
    Column("sealed_sample", LargeBinary, nullable=False),  # domain.samples.to_sample; without a meter's number
)

POLICIES = Table(
    "policies",
    METADATA,
    Column("since", Date, primary_key=True),  # the first night it holds for
    Column("daily_every", Integer, nullable=False),
    Column("curve_every", Integer, nullable=False),
    Column("applied_at", UtcDateTime, nullable=False),
    Column("arithmetic", Text, nullable=False),  # JSON: the plan it was chosen by
)

# What a removal takes away beside the account's token.
PERSONAL = (SERIES_OUTCOMES, USAGE_POINTS, COMPLETENESS, CORRECTIONS, RAW_ANSWERS)
