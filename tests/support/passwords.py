"""Operators' passwords in tests, with a cheap hash: a real one takes 64 MiB and a tenth of a second of all cores."""

from __future__ import annotations

from typing import Any, Final

import pytest
from argon2 import PasswordHasher, profiles

from worker.stores.registry import access_keys as operators

REAL_HASHER: Final = operators._HASHER
CHEAP_HASHER: Final = PasswordHasher.from_parameters(profiles.CHEAPEST)


def set_hasher(patch: pytest.MonkeyPatch, hasher: Any) -> None:
    """Hash with this one from here on."""
    patch.setattr(operators, "_HASHER", hasher)
