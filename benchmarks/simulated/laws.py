"""What must hold of a simulated week, whatever its numbers are."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from benchmarks.simulated.week import FIRST_DAY, Week
from worker.domain.readings import Series

LEAST_USE: Final = 0.97
_IDLE_US: Final = 36_000_000  # a hundredth of an hour: between two windows of a chain
_TAIL: Final = 2  # nights that the oldest may be behind twice the median


def busy_hours(week: Week) -> dict[int, float]:
    """Share of the quota used in each hour in which work waited and nothing was wrong with the supplier."""
    waited = (hour for hour in range(week.options.hours) if week.workers.waiting.nothing_us[hour] <= _IDLE_US)
    use = {hour: sum(week.supplier.by_hour[hour].values()) / week.options.per_hour for hour in waited}
    return {hour: share for hour, share in use.items() if hour not in week.troubled}


def missed(week: Week) -> int:
    return week.nights.missed(FIRST_DAY + timedelta(days=week.options.nights - 1))


def by_day(week: Week, series: Series) -> list[dict[str, int]]:
    """At 08:00, when the next day's values come out."""
    return week.freshness[series][23::24]


def broken(week: Week) -> Iterator[str]:
    """What did not hold, in words."""
    supplier, plan = week.supplier, week.plan
    if supplier.over_the_limit:
        yield f"the supplier refused calls over its limits: {dict(supplier.over_the_limit)}"
    if supplier.peaks.max_in_any_second > week.options.per_second:
        yield f"{supplier.peaks.max_in_any_second} calls in one second"
    if penalties := week.nobody.refused_accounts + week.spent_tries():
        yield f"{penalties} accounts or windows pay for the supplier's troubles"
    if doubled := sum(ages.doubled for ages in week.ages.values()):
        yield f"{doubled} look-backs were asked for twice"
    if wasteful := {hour: round(use, 3) for hour, use in busy_hours(week).items() if use < LEAST_USE}:
        yield f"quota was left while work waited, by hour: {wasteful}"
    if plan.fits:
        yield from _of_a_fleet_that_fits(week)
    else:
        yield from _of_one_too_large(week)


def _of_a_fleet_that_fits(week: Week) -> Iterator[str]:
    if left := missed(week):
        yield f"{left} look-backs were not asked for in their turn"
    for series, ages in week.ages.items():
        if ages.days_lost:
            yield f"{ages.days_lost} days of {series} fell between two look-backs"
        most = week.plan.policy.every(series) + 1
        if late := {day: told["max"] for day, told in enumerate(by_day(week, series), 1) if told["max"] > most}:
            yield f"{series} is older than {most} days, by day: {late}"


def _of_one_too_large(week: Week) -> Iterator[str]:
    """All ages from the youngest to the oldest are equally frequent, so the oldest is twice the median's."""
    for series in week.ages:
        days = enumerate(by_day(week, series), 1)
        if starved := {day: told for day, told in days if told["max"] > 2 * told["p50"] + _TAIL}:
            yield f"{series} of some accounts is left behind, by day: {starved}"
