"""What a client of the API may be allowed to do."""

from __future__ import annotations

from enum import StrEnum


class Scope(StrEnum):
    READ_ACCOUNTS = "read:accounts"  # who there is, how they stand, how far their first sync is
    READ_MEASURES = "read:measures"
    WRITE_ACCOUNTS = "write:accounts"  # add, pause, resume, remove; opens nothing to read
