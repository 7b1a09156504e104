"""How thoroughly tests explore: few examples at the desk, all of them in CI or with TEST_PROFILE=full."""

from __future__ import annotations

import os
from typing import Final

from hypothesis import settings

FULL: Final = bool(os.environ.get("CI")) or os.environ.get("TEST_PROFILE") == "full"
DESK_EXAMPLES: Final = 20

settings.register_profile("desk", max_examples=DESK_EXAMPLES)
settings.register_profile("full")


def load_profile() -> None:
    settings.load_profile("full" if FULL else "desk")


def examples(number: int) -> int:
    """Return how many examples a test takes that wants so many in the full run."""
    return number if FULL else min(number, DESK_EXAMPLES)
