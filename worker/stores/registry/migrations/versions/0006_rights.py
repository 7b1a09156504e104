"""Rights of access that a supplier registers, and homes that a household has joined."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Boolean, Column, Date, ForeignKey, String, Text

from worker.stores.database import UtcDateTime

revision = "0006"
down_revision = "0005"


def _key(length: int = 32) -> String:
    return String(length).with_variant(String(length, collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("accounts", Column("home", String(32)))
    op.create_table(
        "rights",
        Column("id", _key(), primary_key=True),
        Column("tenant", _key(), nullable=False, server_default="default"),
        Column("supplier", String(32), nullable=False),
        Column("account_id", _key(), ForeignKey("accounts.id")),
        Column("meter", String(64), nullable=False),
        Column("sealed", Text, nullable=False),
        Column("sealed_at", UtcDateTime, nullable=False),
        Column("role", String(16), nullable=False),
        Column("state", String(16), nullable=False),
        Column("state_since", UtcDateTime, nullable=False),
        Column("opened_at", UtcDateTime),
        Column("proof", String(16)),
        Column("proof_until", Date),
        Column("first_day", Date),
        Column("last_day", Date),
        Column("vouched_by", String(100)),
        Column("invited_at", UtcDateTime),
        Column("for_new_holder", Boolean, nullable=False),
        Column("is_found", Boolean, nullable=False),
        Column("browser", String(64)),
        Column("line", String(200)),
        Column("begun_at", UtcDateTime),
        Column("declared_at", UtcDateTime),
        Column("checked_at", UtcDateTime),
        Column("withdraw_since", UtcDateTime),
    )
    for name in ("account_id", "browser", "meter", "withdraw_since"):
        op.create_index(f"ix_rights_{name}", "rights", [name])
    op.create_index("ix_rights_supplier_state", "rights", ["supplier", "state", "id"])
