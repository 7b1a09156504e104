"""The fleet policy: how often each series of an account is asked for, every night or every k-th one.

With a small quota an account has a *turn* once in any k nights in a row, at a night that a hash of its id selects. So
each night has an even share of the accounts. Both series use the same hash: an account that is asked for both in one
night needs one token renewal.

A policy is valid from a first night on, ``since``, and knows the one ``before`` it. If the first turn after a change
is too late for the look-back to reach the last one, the account is asked once in between. So a change of policy never
skips a day.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from hashlib import blake2b
from typing import Any, Final

from worker.domain.measures.readings import ONE_DAY, DateWindow, Series
from worker.domain.measures.windows import LOOK_BACK_DAYS, plan_look_back

# One call returns seven days of curve. With more nights between two turns, each turn would cost two calls.
MOST_NIGHTS: Final = 7
_MAX_POLICY_AGE: Final = timedelta(days=max(LOOK_BACK_DAYS.values()))


@dataclass(frozen=True, slots=True)
class FleetPolicy:
    """Ask for daily values every ``daily_every``-th night, for the load curve every ``curve_every``-th (1 to 7)."""

    daily_every: int = 1
    curve_every: int = 1
    since: date | None = None
    before: FleetPolicy | None = None

    def __post_init__(self) -> None:
        if not all(1 <= nights <= MOST_NIGHTS for nights in (self.daily_every, self.curve_every)):
            raise ValueError(f"each series is asked for every 1 to {MOST_NIGHTS} nights")

    def every(self, series: Series) -> int:
        """Return the nights from one turn to the next."""
        return self.daily_every if series is Series.DAILY else self.curve_every

    def is_turn(self, account_id: str, series: Series, day: date, *, curve_off: bool = False) -> bool:
        """Return whether this series of the account has its turn in the night of ``day``."""
        return self.last_turn(account_id, series, day, curve_off=curve_off) == day

    def last_turn(self, account_id: str, series: Series, day: date, *, curve_off: bool = False) -> date:
        """Return the last night of its turn, up to ``day``; a series that was not asked for since then is due.

        With ``curve_off`` the supplier does not collect the account's curve, so it is asked for once a week. If the
        collection begins, one call returns all of it.
        """
        off = curve_off and series is Series.LOAD_CURVE
        # Most fleets ask for everything every night and need no hash of a million ids.
        if self.before is None and self.every(series) == 1 and not off:
            return day
        place = _night_hash(account_id)
        if off:
            return _last_turn_before(place, MOST_NIGHTS, day + ONE_DAY)
        return self._last_night_before(place, series, day + ONE_DAY)

    def _last_night_before(self, place: int, series: Series, end: date) -> date:
        """Return the last night before ``end`` that was its turn, under this policy or an earlier one."""
        if self.since is None or self.before is None:
            return _last_turn_before(place, self.every(series), end)
        last = self.before._last_night_before(place, series, min(self.since, end))
        if end <= self.since:
            return last
        turn = _last_turn_before(place, self.every(series), end)
        if turn >= self.since:
            return turn
        return self._between(place, series, last, end)

    def _between(self, place: int, series: Series, last: date, end: date) -> date:
        """Return the extra night before this policy's first turn, if its look-back would not reach ``last``."""
        assert self.since is not None  # noqa: S101 - the caller has checked it
        every, look_back_length = self.every(series), timedelta(days=LOOK_BACK_DAYS[series])
        first_turn = _last_turn_before(place, every, self.since) + timedelta(days=every)
        extra = max(self.since, last + look_back_length)
        return extra if first_turn - last > look_back_length and extra < end else last

    def after(self, earlier: FleetPolicy) -> FleetPolicy:
        """Return this policy with ``earlier`` as the one before it, without policies too old to matter."""
        if self.since is None:
            return replace(self, before=None)
        # A policy that was replaced before its first night was never used.
        while earlier.since is not None and earlier.since >= self.since:
            earlier = earlier.before or FleetPolicy()
        return replace(self, before=earlier._without_older_than(self.since - _MAX_POLICY_AGE))

    def _without_older_than(self, oldest: date) -> FleetPolicy:
        if self.since is None or self.since < oldest or self.before is None:
            return replace(self, since=None, before=None)
        return replace(self, before=self.before._without_older_than(oldest))

    def as_json(self) -> dict[str, Any]:
        return {
            "daily_every": self.daily_every,
            "curve_every": self.curve_every,
            "since": self.since.isoformat() if self.since else None,
            "before": self.before.as_json() if self.before else None,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> FleetPolicy:
        """Read what ``as_json`` returned; raises ValueError, KeyError or TypeError for anything else."""
        since, before = document.get("since"), document.get("before")
        return cls(
            daily_every=int(document["daily_every"]),
            curve_every=int(document["curve_every"]),
            since=date.fromisoformat(since) if since else None,
            before=cls.from_json(before) if before else None,
        )


def look_back(today: date, series: Series) -> DateWindow:
    """Return the days that a turn asks for; they reach back to the last turn under any policy.

    After at most 7 nights, 30 daily values leave three weeks for late and corrected ones. 7 days of curve leave no
    gap after 7 nights and overlap after fewer.
    """
    return plan_look_back(today, series)


def _night_hash(account_id: str) -> int:
    """Return the hash that selects an account's nights: the same on every host, and evenly spread."""
    return int.from_bytes(blake2b(account_id.encode(), digest_size=8).digest(), "big")


def _last_turn_before(place: int, every: int, end: date) -> date:
    """Return the last turn before ``end``; turns are ``every`` nights apart."""
    newest = end - ONE_DAY
    return newest - timedelta(days=(newest.toordinal() + place) % every)
