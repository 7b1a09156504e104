"""The tables of 0.2.0, the first release, which a new registry gets from ``tables.py``."""

from __future__ import annotations

from worker.stores.registry.migrations import MigrationPhase


revision = "0007"  # The number that they had before: a registry of the weeks before the release has these very tables.
down_revision = None
phase = MigrationPhase.EXPAND

def upgrade() -> None:
    """Do nothing: this is where upgrades begin."""
