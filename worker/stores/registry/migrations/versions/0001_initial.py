"""The tables of the first release, which a new registry gets from ``tables.py``."""

from __future__ import annotations

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Do nothing: this is where upgrades begin."""
