"""The scopes of API tokens: what a client of the API may do."""

from __future__ import annotations

from enum import StrEnum


class Scope(StrEnum):
    """The permissions that an API token can have."""

    READ_ACCOUNTS = "read:accounts"  # List accounts, their states, and the progress of their first sync.
    READ_MEASURES = "read:measures"
    WRITE_ACCOUNTS = "write:accounts"  # Add, invite, pause, resume and stop; it permits no reading.
    READ_AUDIT = "read:audit"  # Read who did what to what belongs to the token's tenant.
    ERASE_ACCOUNTS = "erase:accounts"  # Erase accounts with their measures, for good; it permits nothing else.
