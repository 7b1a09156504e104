"""What must hold of a simulated week, whatever its numbers are."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from benchmarks.simulated.nights import Backlog
from benchmarks.simulated.week import FIRST_DAY, Week
from worker.domain.measures.readings import Series

LEAST_USE: Final = 0.97
_IDLE_US: Final = 36_000_000  # a hundredth of an hour: between two windows of a chain
_NIGHT: Final = 1  # ages are told in whole nights: a turn that came this morning has waited for one


def busy_hours(week: Week) -> dict[int, float]:
    """Share of the quota used in each hour in which work waited and nothing was wrong with the supplier."""
    waited = (hour for hour in range(week.options.hours) if week.workers.waiting.nothing_us[hour] <= _IDLE_US)
    use = {hour: sum(week.supplier.by_hour[hour].values()) / week.options.per_hour for hour in waited}
    return {hour: share for hour, share in use.items() if hour not in week.troubled}


def backlog(week: Week) -> dict[Series, Backlog]:
    last = FIRST_DAY + timedelta(days=week.options.nights - 1)
    return {series: week.nights.backlog(series, last) for series in Series}


def missed(week: Week) -> int:
    return sum(each.waiting for each in backlog(week).values())


def round_nights(share_waiting: float, every: int) -> float:
    """How long once around the fleet takes, of whose accounts that share waits in its turn.

    Where the round came by g nights ago, g / every of the accounts have had a turn since, and from every nights on
    all of them.  Places lie evenly between 0 and a whole round of r nights, so r / (2 every) wait, or, of a round
    longer than every, 1 - every / (2 r).  A round that gets slower has passed more places long ago: this is then
    more than it takes.
    """
    return every / (2 * max(1 - share_waiting, 1e-9)) if share_waiting > 0.5 else 2 * share_waiting * every


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
    """Nobody is passed over: a turn waits for one round of the fleet at most, and what waits is spread evenly.

    A round comes by each account once and asks it once at most, which are ``every`` even nights of calls: at the pace
    that the quota carries beside all other lanes no round is longer, but by what an outage took of it.  How long
    the present one is the backlog tells.  So the newest value of an account is as old as from one turn to the next and
    a round, and a day more, for yesterday's comes out today; of one whose window was given back, a second round.
    """
    plan, outages = week.plan, len(week.troubled) / 24
    for series, each in backlog(week).items():
        every = plan.policy.every(series)
        slowest = every * plan.calls_a_night / (plan.quota.a_night or plan.calls_a_night)
        takes = min(round_nights(each.waiting / max(1, each.accounts), every), slowest) + outages
        if each.oldest_nights > takes + _NIGHT:
            yield f"{series} of some is passed over: waits for {each.oldest_nights} nights, a round takes {takes:.1f}"
