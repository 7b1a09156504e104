"""Laws that must hold in every simulated week, whatever its numbers are."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from benchmarks.simulated.nights import Backlog
from benchmarks.simulated.week import FIRST_DAY, Week
from worker.domain.measures.readings import Series

LEAST_USE: Final = 0.97
_IDLE_US: Final = 36_000_000  # A hundredth of an hour, as between two windows of a chain.
_NIGHT: Final = 1  # Ages are whole nights: a turn of this morning has waited for one.


def busy_hours(week: Week) -> dict[int, float]:
    """Return the share of the quota used in each hour in which work waited and the supplier had no trouble."""
    hours = (hour for hour in range(week.options.hours) if week.workers.waiting_time.idle_us[hour] <= _IDLE_US)
    use = {hour: sum(week.supplier.by_hour[hour].values()) / week.options.per_hour for hour in hours}
    return {hour: share for hour, share in use.items() if hour not in week.troubled_hours}


def backlog(week: Week) -> dict[Series, Backlog]:
    last = FIRST_DAY + timedelta(days=week.options.nights - 1)
    return {series: week.nights.backlog(series, last) for series in Series}


def count_missed(week: Week) -> int:
    return sum(series_backlog.waiting for series_backlog in backlog(week).values())


def round_nights(share_waiting: float, every: int) -> float:
    """Return the nights that one round of the fleet takes, from the share of its accounts that wait for their turn.

    Where the round passed g nights ago, g / every of the accounts have had a turn since, and after ``every`` nights
    all of them.  Accounts lie evenly between 0 and a whole round of r nights, so r / (2 every) wait; when the round is
    longer than ``every``, 1 - every / (2 r) wait.  When a round gets slower, the result is more than it takes.
    """
    return every / (2 * max(1 - share_waiting, 1e-9)) if share_waiting > 0.5 else 2 * share_waiting * every


def ages_by_day(week: Week, series: Series) -> list[dict[str, int]]:
    """Return the ages at 08:00 of each day, when the next values come out."""
    return week.freshness[series][23::24]


def broken_laws(week: Week) -> Iterator[str]:
    """Yield a sentence for each law that is broken."""
    supplier, plan = week.supplier, week.plan
    if supplier.over_the_limit:
        yield f"the supplier refused calls over its limits: {dict(supplier.over_the_limit)}"
    if supplier.peaks.max_in_any_second > week.options.per_second:
        yield f"{supplier.peaks.max_in_any_second} calls in one second"
    if penalties := week.null_tables.refused_accounts + week.count_exhausted_windows():
        yield f"{penalties} accounts or windows pay for the supplier's troubles"
    if doubled := sum(ages.doubled for ages in week.ages.values()):
        yield f"{doubled} look-backs were asked for twice"
    if wasteful := {hour: round(use, 3) for hour, use in busy_hours(week).items() if use < LEAST_USE}:
        yield f"quota was left while work waited, by hour: {wasteful}"
    if plan.fits:
        yield from _laws_of_fitting_fleet(week)
    else:
        yield from _laws_of_large_fleet(week)


def _laws_of_fitting_fleet(week: Week) -> Iterator[str]:
    if missed := count_missed(week):
        yield f"{missed} look-backs were not asked for in their turn"
    for series, ages in week.ages.items():
        if ages.days_lost:
            yield f"{ages.days_lost} days of {series} fell between two look-backs"
        limit = week.plan.policy.every(series) + 1
        if late_days := {
            day: ages_of_day["max"]
            for day, ages_of_day in enumerate(ages_by_day(week, series), 1)
            if ages_of_day["max"] > limit
        }:
            yield f"{series} is older than {limit} days, by day: {late_days}"


def _laws_of_large_fleet(week: Week) -> Iterator[str]:
    """Yield a sentence for each series in which a turn waits for longer than one round of the fleet.

    A round asks each account once at most, which is ``every`` even nights of calls.  At the pace that the quota allows
    beside all other lanes no round is longer, except by the time of outages.  The length of the present round follows
    from the backlog.
    """
    plan, outages = week.plan, len(week.troubled_hours) / 24
    for series, series_backlog in backlog(week).items():
        every = plan.policy.every(series)
        slowest_round = every * plan.calls_a_night / (plan.quota.night_limit or plan.calls_a_night)
        round_length = (
            min(round_nights(series_backlog.waiting / max(1, series_backlog.accounts), every), slowest_round) + outages
        )
        oldest = series_backlog.oldest_nights
        if oldest > round_length + _NIGHT:
            yield f"{series} of some is passed over: waits for {oldest} nights, a round takes {round_length:.1f}"
