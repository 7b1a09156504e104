"""What a quota carries: how often a fleet can be asked for, and what is left for everything else.

Pure arithmetic.  A *night* asks a fleet for its look-back and may use what the other lanes' shares leave of its
hours; a *day* is 24 hours of quota.  One call brings up to 365 daily values or 7 days of curve, so a turn costs one
call a series however many nights lie between two.  Daily values are asked for apart from the curve and make the
totals; a curve does not stand in for them.  Source of the limits: upstream-apis, 1.8 and 1.12.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from worker.domain.fleet.lanes import USUAL_CEILINGS, USUAL_FLOORS, QuotaLane, Shares
from worker.domain.fleet.policy import MOST_NIGHTS, FleetPolicy
from worker.domain.measures.readings import Series
from worker.domain.measures.windows import DAILY_HISTORY_DAYS, MAX_WINDOW_DAYS

HOURS_A_DAY: Final = 24
USUAL_SHARES: Final = Shares.parse(USUAL_FLOORS, USUAL_CEILINGS)
_PACE: Final = 4, 5  # of the calls a second: the ledger spaces them so that a jitter never makes one too many

# In the order of what is given up: first fresh curves, then fresh totals; a curve is never fresher than its totals.
LADDER: Final = tuple(
    FleetPolicy(daily, curve) for daily in range(1, MOST_NIGHTS + 1) for curve in range(daily, MOST_NIGHTS + 1)
)


@dataclass(frozen=True, slots=True)
class Fleet:
    """``without_curve``: those of the accounts whose curve nobody has switched on.  ``history_days``: of curve."""

    accounts: int
    without_curve: int = 0
    history_days: int = 28

    def calls_a_night(self, policy: FleetPolicy) -> int:
        """Of an even night under ``policy``."""
        with_curve = self.accounts - self.without_curve
        daily, curve = policy.every(Series.DAILY), policy.every(Series.LOAD_CURVE)
        return _up(self.accounts, daily) + _up(with_curve, curve) + _up(self.without_curve, MOST_NIGHTS)

    @property
    def naive_calls_a_night(self) -> int:
        """Everything of everybody."""
        return 2 * self.accounts

    @property
    def first_screen_calls(self) -> int:
        """Of all accounts' daily histories, which make their totals."""
        return self.accounts * _up(DAILY_HISTORY_DAYS, MAX_WINDOW_DAYS[Series.DAILY])

    @property
    def history_calls(self) -> int:
        """Of all accounts' curves."""
        return self.accounts * _up(self.history_days, MAX_WINDOW_DAYS[Series.LOAD_CURVE])

    def of(self, accounts: int) -> Fleet:
        """A fleet like this one, larger or smaller."""
        return Fleet(accounts, accounts * self.without_curve // max(1, self.accounts), self.history_days)


@dataclass(frozen=True, slots=True)
class QuotaBudget:
    """Of one application, both series together; None is no limit.

    ``shares``: of each hour the night leaves the others their floors, and stops at its own ceiling.
    """

    per_hour: int | None
    per_second: int | None = 5
    night_hours: int = HOURS_A_DAY
    shares: Shares = USUAL_SHARES

    @property
    def nights_percent(self) -> int:
        """Of each hour, what a night may count on beside lanes that want all of theirs."""
        others = sum(self.shares.floor(lane) for lane in QuotaLane if lane is not QuotaLane.NIGHTLY)
        return max(1, min(self.shares.ceiling(QuotaLane.NIGHTLY), 100 - others))

    @property
    def paced(self) -> int | None:
        """Calls an hour at the ledger's pace."""
        return None if self.per_second is None else self.per_second * 3600 * _PACE[0] // _PACE[1]

    @property
    def hourly(self) -> int | None:
        """What an hour lets through, of whichever limit is the lower."""
        return min((limit for limit in (self.per_hour, self.paced) if limit is not None), default=None)

    @property
    def a_day(self) -> int | None:
        return None if self.hourly is None else self.hourly * HOURS_A_DAY

    @property
    def a_night(self) -> int | None:
        """The most calls that a night may take."""
        return None if self.hourly is None else self.hourly * self.night_hours * self.nights_percent // 100

    def hours_for(self, calls: int, percent: int = 100) -> float:
        """Until that many are made, of so many percent of each hour: the hour's count may be used up at once."""
        if self.hourly is None:
            return 0.0
        an_hour = None if self.per_hour is None else max(1, self.per_hour * percent // 100)
        if self.paced is not None and (an_hour is None or self.paced <= an_hour):
            return calls / self.paced
        assert an_hour is not None  # noqa: S101 - one limit there is
        whole = max(0, calls - 1) // an_hour
        return whole + ((calls - whole * an_hour) / self.paced if self.paced else 0.0)

    def needed_for(self, calls: int) -> int:
        """Calls an hour that let a night of ``calls`` end in time, beside the other lanes."""
        return _up(calls * 100, self.nights_percent * self.night_hours)


@dataclass(frozen=True, slots=True)
class Plan:
    """``policy``: the freshest that fits; where none does, the one that asks least."""

    fleet: Fleet
    quota: QuotaBudget
    policy: FleetPolicy

    @property
    def calls_a_night(self) -> int:
        return self.fleet.calls_a_night(self.policy)

    @property
    def fits(self) -> bool:
        return _fits(self.fleet, self.quota, self.policy)

    @property
    def hours(self) -> tuple[float, float]:
        """Of a night: with nothing else to do, and beside lanes that use all of their shares."""
        percents = (100, self.quota.nights_percent)
        alone, beside = (self.quota.hours_for(self.calls_a_night, percent) for percent in percents)
        return alone, beside

    @property
    def rooms(self) -> dict[str, int] | None:
        """Calls a day by lane; what the night doesn't need is the history's.  None without a limit."""
        if self.quota.a_day is None or self.quota.a_night is None:
            return None
        floors = (self.quota.shares.floor(lane) for lane in (QuotaLane.FIRST_SCREEN, QuotaLane.REPAIR))
        first, repair = (self.quota.a_day * percent // 100 for percent in floors)
        rest = self.quota.a_day - first - repair - min(self.calls_a_night, self.quota.a_night)
        return {"first_screen": first, "nightly": self.quota.a_night, "repair": repair, "history": rest}

    @property
    def backfill_days(self) -> float | None:
        """Until the histories of a fleet that came all at once are there, its nights going on meanwhile."""
        rooms = self.rooms
        calls = self.fleet.first_screen_calls + self.fleet.history_calls
        if rooms is None:
            return None
        return calls / max(1, rooms["first_screen"] + rooms["history"])

    def most_accounts(self, policy: FleetPolicy) -> int | None:
        """The largest fleet like this one whose nights fit under ``policy``; None for no limit."""
        if self.quota.a_night is None:
            return None
        return _largest(self.quota.a_night * MOST_NIGHTS, lambda n: _fits(self.fleet.of(n), self.quota, policy))

    def as_json(self) -> dict[str, Any]:
        fleet, quota, rooms = self.fleet, self.quota, self.rooms or {}
        needed = {"first_screen": fleet.first_screen_calls, "nightly": self.calls_a_night, "repair": None}
        needed["history"] = fleet.history_calls
        return {
            "accounts": fleet.accounts,
            "without_curve": fleet.without_curve,
            "history_days": fleet.history_days,
            "calls_per_hour": quota.per_hour,
            "calls_per_second": quota.per_second,
            "night_hours": quota.night_hours,
            "fits": self.fits,
            "policy": {"daily_every": self.policy.daily_every, "curve_every": self.policy.curve_every},
            "calls_a_night": self.calls_a_night,
            "naive_calls_a_night": fleet.naive_calls_a_night,
            "hours_a_night": [round(hours, 2) for hours in self.hours],
            "backfill_days": None if self.backfill_days is None else round(self.backfill_days, 1),
            "lanes": {lane: {"needed": needed[lane], "a_day": rooms.get(lane)} for lane in needed},
            "most_accounts": {name: self.most_accounts(policy) for name, policy in STEPS.items()},
            "calls_per_hour_needed": {
                name: quota.needed_for(fleet.calls_a_night(policy)) for name, policy in STEPS.items()
            },
        }


# The steps that a person wants to hear of.
STEPS: Final[Mapping[str, FleetPolicy]] = {
    "everything_every_night": FleetPolicy(1, 1),
    "totals_every_night": FleetPolicy(1, MOST_NIGHTS),
    "once_a_week": FleetPolicy(MOST_NIGHTS, MOST_NIGHTS),
}


def plan_fleet(fleet: Fleet, quota: QuotaBudget) -> Plan:
    """The freshest that the quota carries."""
    fitting = (policy for policy in LADDER if _fits(fleet, quota, policy))
    return Plan(fleet, quota, next(fitting, LADDER[-1]))


def _fits(fleet: Fleet, quota: QuotaBudget, policy: FleetPolicy) -> bool:
    return quota.a_night is None or fleet.calls_a_night(policy) <= quota.a_night


def _largest(bound: int, fits: Callable[[int], bool]) -> int:
    """The largest number up to ``bound`` that fits, where all smaller ones do."""
    low, high = 0, bound
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _up(number: int, by: int) -> int:
    """Divided and rounded up."""
    return -(-number // by)
