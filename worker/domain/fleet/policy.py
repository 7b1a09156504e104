"""Which accounts a night asks for: all of them, or every k-th where the quota doesn't carry more.

Pure.  An account's *turn* comes once in any k nights in a row, told by a hash of its id, so every night has its
even share and none is always last.  Both series share the hash: fewer tokens are renewed for accounts asked for
both in one night.

A policy holds from a first night on, ``since``, and knows the one ``before`` it.  Where the turn after a change
would come too late for the look-back to reach the last night, the account is asked once in between, so no change
leaves a day out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from hashlib import blake2b
from typing import Any, Final

from worker.domain.measures.readings import ONE_DAY, DateWindow, Series
from worker.domain.measures.windows import LOOK_BACK_DAYS, plan_look_back

MOST_NIGHTS: Final = 7  # a curve call serves seven days: a night more between two, and each would cost two calls
_REMEMBERED: Final = timedelta(days=max(LOOK_BACK_DAYS.values()))


@dataclass(frozen=True, slots=True)
class FleetPolicy:
    """Daily values every ``daily_every``-th night, the load curve every ``curve_every``-th; 1 to 7."""

    daily_every: int = 1
    curve_every: int = 1
    since: date | None = None
    before: FleetPolicy | None = None

    def __post_init__(self) -> None:
        if not all(1 <= nights <= MOST_NIGHTS for nights in (self.daily_every, self.curve_every)):
            raise ValueError(f"each series is asked for every 1 to {MOST_NIGHTS} nights")

    def every(self, series: Series) -> int:
        """Nights from one turn to the next."""
        return self.daily_every if series is Series.DAILY else self.curve_every

    def wants(self, account_id: str, series: Series, day: date, *, curve_off: bool = False) -> bool:
        """Whether it is the turn of this series of the account in the night of ``day``."""
        return self.last_turn(account_id, series, day, curve_off=curve_off) == day

    def last_turn(self, account_id: str, series: Series, day: date, *, curve_off: bool = False) -> date:
        """The newest night up to ``day`` that was its turn: what was not asked for since then is still due.

        ``curve_off``: nobody has switched the collection of its curve on, so to look once a week is enough: what
        has begun meanwhile, that one call brings.
        """
        off = curve_off and series is Series.LOAD_CURVE
        if self.before is None and self.every(series) == 1 and not off:  # most fleets: a million need no hash
            return day
        place = _place(account_id)
        if off:
            return _turn_before(place, MOST_NIGHTS, day + ONE_DAY)
        return self._asked_before(place, series, day + ONE_DAY)

    def _asked_before(self, place: int, series: Series, end: date) -> date:
        """The last night before ``end`` whose turn it was."""
        if self.since is None or self.before is None:
            return _turn_before(place, self.every(series), end)
        last = self.before._asked_before(place, series, min(self.since, end))
        if end <= self.since:
            return last
        turn = _turn_before(place, self.every(series), end)
        if turn >= self.since:
            return turn
        return self._between(place, series, last, end)

    def _between(self, place: int, series: Series, last: date, end: date) -> date:
        """Before the first turn of this policy: the one night more, where the look-back wouldn't reach ``last``."""
        assert self.since is not None  # noqa: S101 - told by the caller
        every, reach = self.every(series), timedelta(days=LOOK_BACK_DAYS[series])
        first_turn = _turn_before(place, every, self.since) + timedelta(days=every)
        extra = max(self.since, last + reach)
        return extra if first_turn - last > reach and extra < end else last

    def after(self, earlier: FleetPolicy) -> FleetPolicy:
        """This policy, knowing what held before; of that, only what still can matter."""
        if self.since is None:
            return replace(self, before=None)
        while earlier.since is not None and earlier.since >= self.since:  # it never held for a night
            earlier = earlier.before or FleetPolicy()
        return replace(self, before=earlier._shortened(self.since - _REMEMBERED))

    def _shortened(self, oldest: date) -> FleetPolicy:
        if self.since is None or self.since < oldest or self.before is None:
            return replace(self, since=None, before=None)
        return replace(self, before=self.before._shortened(oldest))

    def as_json(self) -> dict[str, Any]:
        return {
            "daily_every": self.daily_every,
            "curve_every": self.curve_every,
            "since": self.since.isoformat() if self.since else None,
            "before": self.before.as_json() if self.before else None,
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> FleetPolicy:
        """What ``as_json`` gave.  Raises ValueError, KeyError or TypeError where it didn't."""
        since, before = told.get("since"), told.get("before")
        return cls(
            daily_every=int(told["daily_every"]),
            curve_every=int(told["curve_every"]),
            since=date.fromisoformat(since) if since else None,
            before=cls.from_json(before) if before else None,
        )


def look_back(today: date, series: Series) -> DateWindow:
    """The days that a turn asks for.

    They reach the last turn under any policy: 30 daily values after at most 7 nights leave late and corrected ones
    three weeks to come in; 7 days of curve after 7 nights just meet, after fewer they overlap.
    """
    return plan_look_back(today, series)


def _place(account_id: str) -> int:
    """Where an account stands in the row: the same on every host, evenly spread."""
    return int.from_bytes(blake2b(account_id.encode(), digest_size=8).digest(), "big")


def _turn_before(place: int, every: int, end: date) -> date:
    """The last of the turns, ``every`` nights apart, that comes before ``end``."""
    newest = end - ONE_DAY
    return newest - timedelta(days=(newest.toordinal() + place) % every)
