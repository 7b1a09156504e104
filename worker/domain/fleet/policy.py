"""The fleet policy: how often each series of an account is asked for, every night or every k-th one.

With a small quota a night asks for a share of the accounts, the longest unasked first (``worker.sync.due``), so that
each has its turn within k nights.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time
from typing import Final

from worker.domain.measures.readings import ONE_DAY, PARIS
from worker.domain.measures.series import Series

# One call returns seven days of curve. With more nights between two turns, each turn would cost two calls.
MOST_NIGHTS: Final = 7


def night_start(now: datetime, nightly_at: time) -> datetime:
    """Return the beginning of the night that is under way: the last moment at which the clock showed ``nightly_at``."""
    local = now.astimezone(PARIS)
    start = datetime.combine(local.date(), nightly_at, PARIS)
    return start if start <= local else datetime.combine(local.date() - ONE_DAY, nightly_at, PARIS)


@dataclass(frozen=True, slots=True)
class FleetPolicy:
    """Ask for daily values every ``daily_every``-th night, for curves every ``curve_every``-th (1 to 7).

    ``supplier``: whose series it is for; those of others have their turn by their cadence alone, as far as the quota of
    theirs carries, the longest unasked first.
    """

    daily_every: int = 1
    curve_every: int = 1
    supplier: str = "enedis"

    def __post_init__(self) -> None:
        if not all(1 <= nights <= MOST_NIGHTS for nights in (self.daily_every, self.curve_every)):
            raise ValueError(f"each series is asked for every 1 to {MOST_NIGHTS} nights")

    def every(self, series: Series) -> int:
        """Return the nights from one turn to the next, at least those of the series' own cadence."""
        if series.description.supplier != self.supplier:
            return series.description.cadence_nights
        policy = self.curve_every if series.has_steps else self.daily_every
        return max(policy, series.description.cadence_nights)
