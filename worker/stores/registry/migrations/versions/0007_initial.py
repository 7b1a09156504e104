"""The tables of 0.2.0, the first release; a new registry gets its tables directly from ``tables.py``."""

from __future__ import annotations

from worker.stores.registry.migrations import MigrationPhase


revision = "0007"  # Registries from the weeks before 0.2.0 have the same tables, and this number.
down_revision = None
phase = MigrationPhase.EXPAND

def upgrade() -> None:
    """Do nothing, because upgrades begin at this step."""
