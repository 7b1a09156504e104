"""The tables of 0.2.0, the first release, which a new registry gets from ``tables.py``."""

from __future__ import annotations

from worker.stores.registry.migrations import MigrationPhase


revision = "0007"  # Registries from the weeks before the release have the same tables under this number.
down_revision = None
phase = MigrationPhase.EXPAND

def upgrade() -> None:
    """Do nothing: this is where upgrades begin."""
