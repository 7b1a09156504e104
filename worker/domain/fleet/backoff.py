"""How often what failed is tried again, and after which delays: the one table of retries.

Not here, because they count something else: the days after which a gap is asked for again
(``domain.measures.completeness``), the probes of an incident (``domain.fleet.incidents``) and the gate after a 429
(``worker.quota.ledger``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final

# A window's step, by its task or by a command's --inline: after 2, 4, 8 and 16 s (``retry_delay_s``).
MAX_RETRIES: Final = 4
FIRST_DELAY_S: Final = 2.0
# A worker holds a delayed message in memory until it is due, so longer waits are left to the next scheduled run.
LONGEST_DELAY_S: Final = 60.0
# A window whose tries have ended, after the first failure, the second …; after the last of them the series waits for
# its next night.
WINDOW_DELAYS: Final = tuple(timedelta(minutes=minutes) for minutes in (5, 15, 30, 60, 120))
# A notice: the first seven delays add up to about a day, and the last one follows an attempt that was given up.
NOTICE_DELAYS: Final = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 15, 60, 180, 360, 720, 720))
# An output that took nothing, after the first failure, the second …; the last delay stays: nothing is given up.
OUTPUT_DELAYS: Final = tuple(timedelta(minutes=minutes) for minutes in (1, 2, 5, 15, 30))
# Publishing a message, in kombu's words.  A finished step outlasts a restart of the broker, some 20 s; a person who
# waits for an answer does not.
PUBLISH_POLICY: Final[Mapping[str, float]] = {
    "max_retries": 23,
    "interval_start": 0.1,
    "interval_step": 0.2,
    "interval_max": 1.0,
}
SHORT_PUBLISH_POLICY: Final[Mapping[str, float]] = {
    "max_retries": 2,
    "interval_start": 0.1,
    "interval_step": 0.2,
    "interval_max": 0.5,
}
# A command to Redis, after a time-out or a lost connection: doubled from the first delay on, with jitter.
REDIS_RETRIES: Final = 3
REDIS_FIRST_DELAY_S: Final = 0.05
REDIS_LONGEST_DELAY_S: Final = 1.0
# What a browser or an API client is asked to wait while a server of ours is away.
CLIENT_DELAY_S: Final = 5.0


def retry_delay_s(retries: int, asked_s: float | None, jitter: Callable[[], float]) -> float:
    """Return the seconds to wait after ``retries`` earlier retries: doubled each time, spread by ``jitter`` (0 to 1).

    ``asked_s`` is the wait that the other side asked for. It is never shortened; up to the doubled delay is added, so
    that clients that wait for the same moment do not all return at once: the more come, the further they spread.
    """
    ceiling = min(FIRST_DELAY_S * float(2 ** min(retries, 10)), LONGEST_DELAY_S)
    if asked_s is not None:
        return asked_s + ceiling * jitter()
    return ceiling * (0.5 + 0.5 * jitter())
