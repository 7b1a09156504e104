"""The registry's tables.  What changes here needs a migration; a test compares the two.

The usage point id is personal data.  It stands in the clear in ``usage_points`` and nowhere else:
the registry must find an account by it, and a keyed index would break when keys are rotated.  The
row goes when the account is removed; everything else, here and elsewhere, knows only the account id.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    Boolean,
    Column,
    Date,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
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
    Column("account_id", _sortable(32), ForeignKey("accounts.id"), primary_key=True),
    Column("sealed", Text, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
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
)

# What is known of an account beyond its tombstone, in the order in which a removal takes it away.
PERSONAL = (SERIES_OUTCOMES, TOKENS, USAGE_POINTS)
