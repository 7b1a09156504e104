"""Further series: which ones each account has, the contract's activation, corrections of any doctype."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, Date, Integer, SmallInteger, String, true

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("accounts", Column("activated_on", Date))
    op.add_column("series_outcomes", Column("switch", String(8), nullable=False, server_default="fleet"))
    op.add_column("series_outcomes", Column("switch_before", String(8)))
    op.add_column("series_outcomes", Column("collected", Boolean, nullable=False, server_default=true()))
    with op.batch_alter_table("corrections") as table:
        table.alter_column("period", new_column_name="doctype", existing_type=String(8), type_=String(32))
        for name in ("was", "became"):
            table.alter_column(f"{name}_mwh", new_column_name=f"{name}_amount", existing_type=BigInteger)
    _create_reading_tries()


def _create_reading_tries() -> None:
    op.create_table(
        "reading_tries",
        Column("meter", String(64), primary_key=True),
        Column("day", Date, nullable=False),
        Column("tries", SmallInteger, nullable=False),
        Column("wrong", Integer, nullable=False),
    )
