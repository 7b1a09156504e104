"""Delays between the retries of a failed task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

FIRST_DELAY_S: Final = 2.0
# A worker holds a delayed message in memory until it is due, so longer waits are left to the next scheduled run.
LONGEST_DELAY_S: Final = 60.0


def retry_delay_s(retries: int, asked_s: float | None, jitter: Callable[[], float]) -> float:
    """Return the seconds to wait after ``retries`` earlier retries: doubled each time, spread by ``jitter`` (0 to 1).

    ``asked_s`` is the wait that the other side asked for. It is never shortened; up to the doubled delay is added, so
    that clients that wait for the same moment do not all return at once: the more come, the further they spread.
    """
    ceiling = min(FIRST_DELAY_S * float(2 ** min(retries, 10)), LONGEST_DELAY_S)
    if asked_s is not None:
        return asked_s + ceiling * jitter()
    return ceiling * (0.5 + 0.5 * jitter())
