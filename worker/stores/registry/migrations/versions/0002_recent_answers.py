"""When each series was asked for lately: ``series_outcomes.answered``."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Text

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("series_outcomes", Column("answered", Text))
