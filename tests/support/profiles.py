"""How thoroughly tests explore: with few examples, or with all of them where TEST_PROFILE=full (`make test-rest`).

No example has a deadline, because tests do not measure time.
"""

from __future__ import annotations

import os
from typing import Final

from hypothesis import settings

FULL: Final = os.environ.get("TEST_PROFILE") == "full"
DESK_EXAMPLES: Final = 10

settings.register_profile("desk", max_examples=DESK_EXAMPLES, deadline=None)
settings.register_profile("full", deadline=None)


def load_profile() -> None:
    settings.load_profile("full" if FULL else "desk")


def examples(number: int, desk: int = DESK_EXAMPLES) -> int:
    """Return how many examples a test takes that wants so many in the full run, and ``desk`` at the desk."""
    return number if FULL else min(number, desk)
