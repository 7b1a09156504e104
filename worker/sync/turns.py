"""When the series of an account are asked next: one reading of the registry for status, explanation and coverage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from functools import cache

from worker.domain.completeness import DayMark
from worker.domain.schedule import AskingHours, FleetPolicy, Turn, next_request
from worker.domain.series import Series
from worker.stores.registry.outcomes import SeriesOutcome
from worker.sync.history import History

Outcomes = Mapping[Series, SeriesOutcome]


def turns_of(
    history: History, load_outcomes: Callable[[], Outcomes], hours: AskingHours | None
) -> Callable[[Series], Turn]:
    """Return what decides when each series of an account is asked next; ``hours``: those of the account.

    Raises StoreUnavailable when called.
    """

    @cache  # Most accounts have no open day, and nothing is read for them.
    def load() -> tuple[Outcomes, FleetPolicy]:
        return load_outcomes(), history.registry.policies.load_current(history.today())

    def turn_of(series: Series) -> Turn:
        outcomes, policy = load()
        nights, outcome = policy.every(series), outcomes.get(series)
        if outcome is None:
            return Turn(nightly_at=history.nightly_at, nights=nights, hours=hours)
        return Turn(
            nightly_at=history.nightly_at,
            nights=max(nights, outcome.every),
            asked_at=outcome.asked_at,
            again_at=outcome.again_at,
            last_day=outcome.last_day,
            last_complete=outcome.last_complete,
            repair_on=outcome.repair_on,
            lacks_curve=outcome.every > 1,
            hours=hours,
        )

    return turn_of


def next_requests_of(
    history: History, load_outcomes: Callable[[], Outcomes], hours: AskingHours | None
) -> Callable[[Series, date, DayMark], datetime | None]:
    """Return when a day of an account is asked for next, by its series and its mark in the ledger."""
    turn_of, now = turns_of(history, load_outcomes, hours), history.now()
    return lambda series, day, mark: next_request(series, day, mark, now, turn_of(series)) if mark.open else None
