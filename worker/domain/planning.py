"""Capacity planning: how often a quota allows a fleet to be read, and how much quota remains for the other lanes.

A *night* requests the look-back of each account. It leaves the other lanes their guaranteed shares (*floors*), and may
use the rest of the quota of its hours. A *day* is 24 hours of quota. A *turn* of a series is a night in which it is
requested; a series has turns no more often than its cadence allows. One call returns up to 365 daily values or 7 days
of curve, and two turns of a curve are at most 7 nights apart, so each turn costs one call. Monthly totals are computed
from daily values, so the call for the curve doesn't replace the call for daily values.
Each supplier has its own quota, so a fleet is planned for one supplier at a time.
Source of the limits: Enedis, guide d'implémentation Data Connect v5, and its 2026 swagger (mesure_synchrone_auto v2);
the presets of GRDF for gas.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from worker.domain.lanes import QUOTA_LANES, USUAL_CEILINGS, USUAL_FLOORS, Lane, Shares
from worker.domain.schedule import MOST_NIGHTS, FleetPolicy
from worker.domain.series import Series, curve_of, daily_of, usual_series
from worker.domain.windows import history_length

HOURS_A_DAY: Final = 24
_CURVE: Final = curve_of(daily_of())
USUAL_SHARES: Final = Shares.parse(USUAL_FLOORS, USUAL_CEILINGS)
# The quota ledger uses four fifths of the allowed calls per second, so that jitter never makes it exceed the limit.
_PACE: Final = 4, 5
# If the quota is too small, curves are requested less often; if that isn't enough, daily values are too. Curves are
# never requested more often than daily values.
POLICIES_FRESHEST_FIRST: Final = tuple(
    FleetPolicy(daily, curve) for daily in range(1, MOST_NIGHTS + 1) for curve in range(daily, MOST_NIGHTS + 1)
)


@dataclass(frozen=True, slots=True)
class Fleet:
    """The size of a fleet whose accounts all have the same supplier.

    ``without_curve``: the number of accounts whose curve the supplier doesn't collect. ``history_days``: how many days
    of the curve are backfilled. ``asked``: the number of accounts for which each series is requested; None if the usual
    series are requested for all accounts.
    """

    accounts: int
    without_curve: int = 0
    history_days: int = 28
    asked: Mapping[Series, int] | None = None
    supplier: str = "enedis"

    @property
    def numbers(self) -> Mapping[Series, int]:
        """The number of accounts for which each series is requested."""
        if self.asked is None:
            return dict.fromkeys(usual_series(self.supplier), self.accounts)
        return self.asked

    def calls_a_night(self, policy: FleetPolicy) -> int:
        """Return the calls of an average night under ``policy``."""
        calls = 0
        for series, number in self.numbers.items():
            without = min(number, self.without_curve) if series is _CURVE else 0
            calls += _divide_rounding_up(number - without, policy.every(series))
            calls += _divide_rounding_up(without, MOST_NIGHTS)
        return calls

    @property
    def naive_calls_a_night(self) -> int:
        """The calls of an average night if each series of each account is requested as often as its cadence allows."""
        return sum(
            _divide_rounding_up(number, series.description.cadence_nights) for series, number in self.numbers.items()
        )

    def history_calls(self, series: Series) -> int:
        """Return the calls needed to load the histories of a series for all accounts."""
        days = history_length(series, self.history_days)
        return self.numbers.get(series, 0) * _divide_rounding_up(days, series.description.max_window_days)

    def history_calls_in(self, lane: Lane) -> int:
        """Return the calls needed to load the histories that a lane loads."""
        return sum(self.history_calls(series) for series in self.numbers if series.description.history_lane is lane)

    def scaled_to(self, accounts: int) -> Fleet:
        """Return this fleet scaled to ``accounts`` accounts.

        The accounts without a curve, and the accounts of each series, keep their shares of the fleet.
        """
        of = max(1, self.accounts)
        asked = self.asked and {series: -(-number * accounts // of) for series, number in self.asked.items()}
        without_curve = accounts * self.without_curve // of
        return Fleet(accounts, without_curve, self.history_days, asked, self.supplier)


@dataclass(frozen=True, slots=True)
class QuotaBudget:
    """The quota of one application for all series together. A limit that is None doesn't exist.

    A night leaves the other lanes their floors of each hour and each day. It never exceeds its own ceiling.
    ``shares``: the floors and ceilings of all lanes.
    """

    per_hour: int | None
    per_second: int | None = 5
    night_hours: int = HOURS_A_DAY
    shares: Shares = USUAL_SHARES
    per_day: int | None = None

    @property
    def nights_percent(self) -> int:
        """The percentage of an hour's calls that is left for the night if every other lane uses its whole floor.

        It is at most the night's ceiling.
        """
        others = sum(self.shares.floor(lane) for lane in QUOTA_LANES if lane is not Lane.NIGHTLY)
        return max(1, min(self.shares.ceiling(Lane.NIGHTLY), 100 - others))

    @property
    def pace_limit(self) -> int | None:
        """The calls per hour that ``per_second`` allows at the ledger's pace (``_PACE``); None without this limit."""
        return None if self.per_second is None else self.per_second * 3600 * _PACE[0] // _PACE[1]

    @property
    def hour_limit(self) -> int | None:
        """The calls that an hour allows: ``per_hour``, or ``pace_limit`` if lower; None if both are None."""
        return min((limit for limit in (self.per_hour, self.pace_limit) if limit is not None), default=None)

    @property
    def day_limit(self) -> int | None:
        """The calls that 24 hours allow: 24 times ``hour_limit``, or ``per_day`` if lower; None if both are None."""
        of_hours = None if self.hour_limit is None else self.hour_limit * HOURS_A_DAY
        return min((limit for limit in (of_hours, self.per_day) if limit is not None), default=None)

    @property
    def night_limit(self) -> int | None:
        """The largest number of calls that a night may make; None without a limit."""
        calls = (None if self.hour_limit is None else self.hour_limit * self.night_hours, self.per_day)
        return min((limit * self.nights_percent // 100 for limit in calls if limit is not None), default=None)

    def hours_for(self, calls: int, percent: int = 100) -> float:
        """Return the hours that ``calls`` take if they may use ``percent`` of each hour's limit; 0 without a limit."""
        if self.hour_limit is None:
            return 0.0
        an_hour = None if self.per_hour is None else max(1, self.per_hour * percent // 100)
        if self.pace_limit is not None and (an_hour is None or self.pace_limit <= an_hour):
            return calls / self.pace_limit
        assert an_hour is not None  # noqa: S101 - One of the two limits exists.
        # The calls of an hour may be made at the full pace. So the last hour's calls don't take the whole hour.
        whole_hours = max(0, calls - 1) // an_hour
        return whole_hours + ((calls - whole_hours * an_hour) / self.pace_limit if self.pace_limit else 0.0)

    def hour_limit_for(self, calls: int) -> int:
        """Return the limit per hour that a night of ``calls`` needs to end in time if other lanes use their floors."""
        return _divide_rounding_up(calls * 100, self.nights_percent * self.night_hours)

    def day_limit_for(self, calls: int) -> int:
        """Return the limit per day that a night of ``calls`` needs if the other lanes use their floors."""
        return _divide_rounding_up(calls * 100, self.nights_percent)


@dataclass(frozen=True, slots=True)
class Plan:
    """A fleet's plan: the freshest policy that fits its quota, or the policy with the fewest calls if none fits."""

    fleet: Fleet
    quota: QuotaBudget
    policy: FleetPolicy

    @property
    def calls_a_night(self) -> int:
        """The calls of an average night under the plan's policy."""
        return self.fleet.calls_a_night(self.policy)

    @property
    def fits(self) -> bool:
        """Whether the quota is enough for the nights of this policy."""
        return self.quota.night_limit is None or self.calls_a_night <= self.quota.night_limit

    @property
    def hours(self) -> tuple[float, float]:
        """The hours that a night takes without other work, and the hours if the other lanes use all of their floors."""
        percents = (100, self.quota.nights_percent)
        alone, beside = (self.quota.hours_for(self.calls_a_night, percent) for percent in percents)
        return alone, beside

    @property
    def daily_calls_by_lane(self) -> dict[str, int] | None:
        """The calls that each lane may make per day; None without a limit. The backfill gets the rest."""
        if self.quota.day_limit is None or self.quota.night_limit is None:
            return None
        floors = (self.quota.shares.floor(lane) for lane in (Lane.FIRST_SCREEN, Lane.REPAIR))
        first_screen, repair = (self.quota.day_limit * percent // 100 for percent in floors)
        rest = self.quota.day_limit - first_screen - repair - min(self.calls_a_night, self.quota.night_limit)
        return {"first_screen": first_screen, "nightly": self.quota.night_limit, "repair": repair, "backfill": rest}

    @property
    def backfill_days(self) -> float | None:
        """The days until all histories are loaded, if all accounts are added at once; None without a limit.

        The nightly runs go on meanwhile.
        """
        lanes = self.daily_calls_by_lane
        calls = sum(self.fleet.history_calls(series) for series in self.fleet.numbers)
        if lanes is None:
            return None
        return calls / max(1, lanes["first_screen"] + lanes["backfill"])

    def most_accounts(self, policy: FleetPolicy) -> int | None:
        """Return the size of the largest fleet whose nights fit under ``policy``; None without a limit."""
        if self.quota.night_limit is None:
            return None
        bound = self.quota.night_limit * MOST_NIGHTS
        # If a fleet fits, all smaller fleets fit too, so bisection finds the largest.
        fleets = range(1, bound + 2)
        return bisect_left(fleets, True, key=lambda size: not Plan(self.fleet.scaled_to(size), self.quota, policy).fits)

    def as_json(self) -> dict[str, Any]:
        """Return the object that ``releve plan --json`` prints."""
        fleet, quota, calls_by_lane = self.fleet, self.quota, self.daily_calls_by_lane or {}
        policies = {name: replace(policy, supplier=fleet.supplier) for name, policy in TYPICAL_POLICIES.items()}
        calls = {name: fleet.calls_a_night(policy) for name, policy in policies.items()}
        of_days = {name: quota.day_limit_for(number) for name, number in calls.items()}
        needed = {
            "first_screen": fleet.history_calls_in(Lane.FIRST_SCREEN),
            "nightly": self.calls_a_night,
            "repair": None,
            "backfill": fleet.history_calls_in(Lane.BACKFILL),
        }
        return {
            "accounts": fleet.accounts,
            "without_curve": fleet.without_curve,
            "series": {series.value: number for series, number in fleet.numbers.items()},
            "history_days": fleet.history_days,
            "calls_per_hour": quota.per_hour,
            "calls_per_second": quota.per_second,
            **({"calls_per_day": quota.per_day} if quota.per_day else {}),
            "night_hours": quota.night_hours,
            "fits": self.fits,
            "policy": {"daily_every": self.policy.daily_every, "curve_every": self.policy.curve_every},
            "calls_a_night": self.calls_a_night,
            "naive_calls_a_night": fleet.naive_calls_a_night,
            "hours_a_night": [round(hours, 2) for hours in self.hours],
            "backfill_days": None if self.backfill_days is None else round(self.backfill_days, 1),
            "lanes": {lane: {"needed": needed[lane], "a_day": calls_by_lane.get(lane)} for lane in needed},
            "most_accounts": {name: self.most_accounts(policy) for name, policy in policies.items()},
            "calls_per_hour_needed": {name: quota.hour_limit_for(number) for name, number in calls.items()},
            **({"calls_per_day_needed": of_days} if quota.per_day else {}),
        }


# For each of these policies, a plan shows the largest fleet that fits, and the hourly limit that its own fleet needs.
TYPICAL_POLICIES: Final[Mapping[str, FleetPolicy]] = {
    "everything_every_night": FleetPolicy(1, 1),
    "totals_every_night": FleetPolicy(1, MOST_NIGHTS),
    "once_a_week": FleetPolicy(MOST_NIGHTS, MOST_NIGHTS),
}


def plan_fleet(fleet: Fleet, quota: QuotaBudget) -> Plan:
    """Return the plan with the freshest policy that fits the quota, else with the policy of the fewest calls."""
    policies = [replace(policy, supplier=fleet.supplier) for policy in POLICIES_FRESHEST_FIRST]
    plans = (Plan(fleet, quota, policy) for policy in policies)
    return next((plan for plan in plans if plan.fits), Plan(fleet, quota, policies[-1]))


def _divide_rounding_up(number: int, by: int) -> int:
    return -(-number // by)
