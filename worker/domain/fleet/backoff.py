"""How long to wait before the next try."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

FIRST_DELAY_S: Final = 2.0
LONGEST_DELAY_S: Final = 60.0  # a longer wait is the reconciler's, not a countdown's: see stack-trials, 4.3


def retry_delay_s(retries: int, asked_s: float | None, jitter: Callable[[], float]) -> float:
    """Seconds before try number ``retries`` + 2: doubled each time, spread by ``jitter`` (0 to 1).

    The wait that the other side asked for is kept to, never shortened; a little is added so that those
    who wait for the same instant don't all come at once.
    """
    if asked_s is not None:
        return asked_s * (1 + 0.1 * jitter())
    ceiling = min(FIRST_DELAY_S * float(2 ** min(retries, 10)), LONGEST_DELAY_S)
    return ceiling * (0.5 + 0.5 * jitter())
